"""Comparing what is stored: the bars of an exchange with those that its trades, or its shorter bars, make.

Asks no exchange anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pyarrow as pa

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.rebuilding import Difference, compared, folded, rebuilt, whole_bars
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.partition import Partition, partitions_of, pieces_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.stored_partition import StoredPartition

# Of a page. Trades are gone through by the hour, shorter bars by the partition, bars are held until all are there.
_TRADES_AT_MOST: Final = timedelta(days=31)
_BARS_MAX: Final = 100_000
_DIFFERENCES_MAX: Final = 1_000


@dataclass(frozen=True)
class ComparisonPage:
    """What comes of comparing a range, or its first part.

    Attributes:
        range: What the page tells about, with edges on the grid; None where no bar has closed in it.
        bars_compared: How many bars there are, by trades or exchange, where both are stored.
        bars_that_differ: How many of them differ.
        differences: Those of them, oldest first; the first thousand where there are more.
        without_trades: How much of the range lies in bars of which not all trades are stored.
        without_bars: How much of the rest lies in bars that are not stored, and may be there.
        is_last: Whether the range that was asked about ends here; if not, ask again from `range.end`.
    """

    range: TimeRange | None
    bars_compared: int
    bars_that_differ: int
    differences: tuple[Difference, ...]
    without_trades: timedelta
    without_bars: timedelta
    is_last: bool

    @classmethod
    def empty(cls) -> ComparisonPage:
        """Return the page of a range in which no bar has closed."""
        return cls(None, 0, 0, (), timedelta(), timedelta(), is_last=True)


@dataclass(frozen=True)
class StoredSide:
    """One of the two series that are compared, and the reach into it at present."""

    series: Series
    reach: Reach

    def known(self, stored: StoredPartition, part: TimeRange, *states: State) -> Iterator[TimeRange]:
        """Yield where a *part* of what is *stored* is in one of *states*, oldest first."""
        return (each.range for each in self.reach.known(stored.coverage, part) if each.state in states)


async def compare_stored(
    storage: IStorageManager, bars: StoredSide, trades: StoredSide, days: Sequence[Partition], wanted: TimeRange
) -> ComparisonPage:
    """Compare what is stored of *wanted*, or of its first part.

    Args:
        trades: Or shorter bars, of which those of *bars* are made: what is said of trades below is then said of these.
        days: The partitions of *trades* that are stored, oldest first.
        wanted: With edges on the grid of *bars*.

    Raises:
        StorageUnavailableError: Storage cannot be read, or a day of trades changed meanwhile.
    """
    grid = bars.series.grid
    page, stretch = _page(wanted, grid, days)
    told, told_in = await _told(storage, bars, stretch)
    made, made_in = await _made(storage, trades, stretch, grid, told_in)
    spans = list(intersect_all(made_in, told_in))
    comparison = await asyncio.to_thread(compared, made, told, spans, differences_max=_DIFFERENCES_MAX)
    listed = list(subtract([page], [*bars.reach.facts.absent, *trades.reach.facts.absent]))
    return ComparisonPage(
        page,
        comparison.bars,
        comparison.differing,
        comparison.differences,
        without_trades=_length(subtract(listed, made_in)),
        without_bars=_length(subtract(intersect_all(listed, made_in), told_in)),
        is_last=page.end == wanted.end,
    )


def _page(wanted: TimeRange, grid: Timeframe, days: Sequence[Partition]) -> tuple[TimeRange, TimeRange | None]:
    """Return the first part of *wanted* that a page tells about, and the part of that in which trades may be stored.

    What lies before the first stored day costs nothing, and counts for nothing. A bar that is longer than a page has
    one of its own.
    """
    first = next((shared for day in days if (shared := day.range.intersect(wanted)) is not None), None)
    if first is None:
        return wanted, None
    start = grid.floor(first.start)
    end = grid.floor(start + min(_TRADES_AT_MOST, _BARS_MAX * grid.duration))
    end = min(max(end, grid.advance(start, 1)), wanted.end)
    return TimeRange(wanted.start, end), TimeRange(start, end)


async def _told(
    storage: IStorageManager, bars: StoredSide, stretch: TimeRange | None
) -> tuple[pa.Table, list[TimeRange]]:
    """Return the bars that are stored of *stretch*, and where they are."""
    rows, held = [OHLCV_SCHEMA.empty_table()], list[TimeRange]()
    for partition, part in _partitions(bars.series, stretch):
        stored = await storage.read(partition, part)
        rows.append(stored.rows_in(part))
        held += bars.known(stored, part, State.HELD)
    return pa.concat_tables(rows), list(join(held))


async def _made(
    storage: IStorageManager, trades: StoredSide, stretch: TimeRange | None, grid: Timeframe, told_in: list[TimeRange]
) -> tuple[pa.Table, list[TimeRange]]:
    """Return the bars that the stored trades of *stretch* make, and where all trades of a bar are known.

    Trades are read only where bars are *told*. Where the market is not listed it is known that there are none.
    """
    made, known = [OHLCV_SCHEMA.empty_table()], list[TimeRange]()
    make = rebuilt if trades.series.kind is Kind.TRADES else folded
    for partition, part in _partitions(trades.series, stretch):
        stored = await storage.read(partition, next(pieces_of(trades.series, part)))
        version = stored.version
        known += trades.known(stored, part, State.HELD, State.UNLISTED, State.DELISTED)
        held = list(trades.known(stored, part, State.HELD))
        for piece in pieces_of(trades.series, part):
            if not any(intersect_all(intersect_all([piece], held), told_in)):
                continue
            if piece.start > part.start:
                stored = await storage.read(partition, piece)
                if stored.version != version:
                    raise StorageUnavailableError(str(partition), "it changed while it was read: ask again")
            made.append(await asyncio.to_thread(make, stored.rows_in(piece), grid))
    # The last bar of an hour may go on in the next one.
    return await asyncio.to_thread(folded, pa.concat_tables(made), grid), list(whole_bars(join(known), grid))


def _partitions(series: Series, stretch: TimeRange | None) -> Iterator[tuple[Partition, TimeRange]]:
    return iter(()) if stretch is None else partitions_of(series, stretch)


def _length(ranges: Iterable[TimeRange]) -> timedelta:
    return sum((each.duration for each in ranges), timedelta())
