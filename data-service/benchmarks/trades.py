"""What a busy day of trades costs on one core: checked page by page, stored, and read again by the hour.

The trades are simulated.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import pyarrow as pa
from _market import TRADES_PARTITION, TRADES_ROWS, trades
from _report import machine, parser, table, write

from cb_trade_data.exchange_source.facts import Bounds, EventPaging
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.event_validation import check_events, settle_events
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import rows_before, slice_range
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.stored_partition import Change, StoredPartition

_PAGE_ROWS: Final = 1_000
_ROUNDS: Final = 3
_LAYOUTS: Final[dict[str, type[Layout]]] = {"arrow": ArrowLayout, "parquet": ParquetLayout}

_DAY: Final = TRADES_PARTITION.range
_HOUR: Final = TimeRange(_DAY.start + timedelta(hours=10), _DAY.start + timedelta(hours=11))
_PAGING: Final = EventPaging(page_limit_rows=_PAGE_ROWS, bounds=Bounds("startTime", "endTime"))


def _pages(rows: pa.Table) -> Iterator[tuple[TimeRange, pa.Table]]:
    """Yield windows and what the exchange answers: as many rows as it sends at once, cut where they happen to end."""
    first, start = 0, _DAY.start
    while (count := min(_PAGE_ROWS, rows.num_rows - first)) == _PAGE_ROWS:
        yield TimeRange(start, _DAY.end), rows.slice(first, count)
        # Of the millisecond at which it was cut there may be more.
        last_ms = rows.column("timestamp")[first + count - 1].value
        first, start = rows_before(rows, last_ms), from_ms(last_ms)
    yield TimeRange(start, _DAY.end), rows.slice(first, count)


def _checked(pages: list[tuple[TimeRange, pa.Table]]) -> list[Change]:
    now = _DAY.end + timedelta(days=1)
    return [
        settle_events(check_events(Page(rows), window, Kind.TRADES, _PAGING, now), [window], Kind.TRADES, now, ())
        for window, rows in pages
    ]


async def _round(layout: type[Layout], rows: pa.Table) -> list[float]:
    """Return the seconds to check all pages, to add them up, to store them, to read an hour and to read the day."""
    pages = list(_pages(rows))
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalFileStorage(Path(folder), layout())
        marks = [time.perf_counter()]
        changes = _checked(pages)
        marks.append(time.perf_counter())
        state = StoredPartition.empty(TRADES_PARTITION)
        for change in changes:
            state = state.with_changes([change])
            state.rows_in(change.segments[0].range)  # as who waits for it does
        marks.append(time.perf_counter())
        await StorageManagerImpl(storage).commit(StoredPartition.empty(TRADES_PARTITION), changes)
        marks.append(time.perf_counter())
        for wanted in (_HOUR, None):
            # As another process reads it: every checksum is compared.
            found = await LocalFileStorage(Path(folder), layout()).read_partition(TRADES_PARTITION, wanted)
            marks.append(time.perf_counter())
            expected = rows if wanted is None else slice_range(rows, wanted)
            if not found.rows_in(wanted or _DAY).equals(expected):
                raise SystemExit("not the same trades after a round trip")
            del found
            marks.append(time.perf_counter())
        spent = [end - begin for begin, end in pairwise(marks)]
        return [*spent[:4], spent[5], await _size_bytes(storage) / len(rows)]


async def _size_bytes(storage: LocalFileStorage) -> int:
    async with aclosing(storage.list_objects("")) as objects:
        return sum([each.size_bytes async for each in objects])


def main() -> None:
    asked = parser("trades", __doc__).parse_args()
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    rows = trades()
    figures, goals = [], []
    for name, layout in _LAYOUTS.items():
        rounds = [asyncio.run(_round(layout, rows)) for _ in range(_ROUNDS)]
        check, add, store, hour, day, size_bytes = (statistics.median(each) for each in zip(*rounds, strict=True))
        speeds = [TRADES_ROWS / secs / 1e6 for secs in (check, add, store)]
        texts = [f"{each:.2f}" for each in speeds] + [f"{secs * 1e3:.1f}" for secs in (hour, day)]
        figures.append([name, *texts, f"{size_bytes:.1f}"])
        for what, secs in (("added up and stored", add + store), ("checked, too", check + add + store)):
            speed = TRADES_ROWS / secs / 1e6
            goals.append([f"`{name}`: {what}", f"{speed:.2f}", "≥ 1", "yes" if speed >= 1 else "no"])
    about = f"{TRADES_ROWS:,} simulated trades of one day in pages of {_PAGE_ROWS:,}, on one core and a local disk."
    text = "\n\n".join(
        [
            f"{about}\nMedians of {_ROUNDS} rounds. {machine('pyarrow', 'numpy')}.",
            table(
                ["layout", "check, M rows/s", "add up", "store", "an hour, ms", "the day", "bytes per trade"], figures
            ),
            table(["M trades/s of one core", "measured", "goal", "reached"], goals),
        ]
    )
    print(text)
    if not asked.no_write:
        write("trades", text)


if __name__ == "__main__":
    main()
