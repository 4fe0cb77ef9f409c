"""How fast storage reads and appends, beside ArcticDB and plain pyarrow, in the same run.

Every contender is measured in a process of its own, in turn, round after round; figures are medians over all rounds.
Every value that is read is touched, and every answer is compared with the truth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import uvloop
from _market import DAY_ROWS, SERIES, START, days, minutes, touched
from _report import machine, parser, table, write

from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout

_DAYS: Final = 730
_APPENDED_DAYS: Final = 10
_SHORT_DAYS: Final = 60  # of history, for the question whether appending gets slower with its length
_FULL_READS: Final = 7
_DAY_READS: Final = 40
Samples = dict[str, dict[str, list[float]]]  # by contender and figure

# Files are trusted by their times once these are old enough.
_SETTLE_SECS: Final = 4.0


class Contender(ABC):
    """A store of one series of minutes, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    async def write(self, rows: pa.Table) -> None: ...

    @abstractmethod
    async def read(self, wanted: TimeRange) -> pa.Table: ...

    async def append(self, rows: pa.Table) -> None:
        """Add a day; not every contender does."""
        raise NotImplementedError

    @classmethod
    def can_append(cls) -> bool:
        return cls.append is not Contender.append

    def size_bytes(self) -> int:
        """Return what the store takes on disk."""
        return sum(
            file.stat().st_blocks * 512 if file.suffix == ".mdb" else file.stat().st_size for file in self._files()
        )

    def _files(self) -> list[Path]:
        return [file for file in self.folder.rglob("*") if file.is_file()]


class Ours(Contender):
    """Our storage on a local disk: checksums, coverage, version check and fsync included."""

    layout: Callable[[], Layout]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._storage = LocalFileStorage(folder, self.layout())

    async def write(self, rows: pa.Table) -> None:
        await self._storage.save_bulk_entries(SERIES, rows)

    async def read(self, wanted: TimeRange) -> pa.Table:
        return await self._storage.get_range(SERIES, wanted)

    async def append(self, rows: pa.Table) -> None:
        await self.write(rows)


class OursArrow(Ours):
    layout = ArrowLayout


class OursParquet(Ours):
    layout = ParquetLayout


class ArcticDb(Contender):
    """ArcticDB in LMDB with its own settings: no fsync, values compressed with lz4; it answers in Arrow."""

    def __init__(self, folder: Path) -> None:
        import arcticdb

        super().__init__(folder)
        self._library = arcticdb.Arctic(f"lmdb://{folder}?map_size=2GB").get_library("bench", create_if_missing=True)

    async def write(self, rows: pa.Table) -> None:
        self._library.write("series", _frame(rows))

    async def read(self, wanted: TimeRange) -> pa.Table:
        import pandas as pd

        last = pd.Timestamp(wanted.end).tz_localize(None) - pd.Timedelta(nanoseconds=1)
        span = (pd.Timestamp(wanted.start).tz_localize(None), last)
        return self._library.read("series", date_range=span, output_format="pyarrow").data

    async def append(self, rows: pa.Table) -> None:
        self._library.append("series", _frame(rows))


class PlainParquet(OursParquet):
    """`pyarrow.parquet` reading whole the files that our Parquet layout wrote; a day costs its month."""

    async def read(self, wanted: TimeRange) -> pa.Table:
        parts = [self._month(partition, part) for partition, part in partitions_of(SERIES, wanted)]
        return pa.concat_tables(parts)

    def _month(self, partition: Any, part: TimeRange) -> pa.Table:
        path = self.folder / ParquetLayout.paths.part_path(partition)
        rows = pq.read_table(path, partitioning=None)
        return _cut(rows, part)

    append = Contender.append


class NaiveParquet(PlainParquet):
    """The same months written by `pyarrow.parquet` with nothing but `compression="zstd"`: what files are without us."""

    async def write(self, rows: pa.Table) -> None:
        whole = TimeRange(START, days(rows.num_rows // DAY_ROWS).start)
        first = 0
        for partition, part in partitions_of(SERIES, whole):
            path = self.folder / ParquetLayout.paths.part_path(partition)
            path.parent.mkdir(parents=True)
            pq.write_table(rows.slice(first, _rows_in(part)), path, compression="zstd")
            first += _rows_in(part)


class PlainIpc(OursArrow):
    """`pyarrow.ipc` mapping the files that our Arrow layout wrote, without a check: the limit of this machine."""

    async def read(self, wanted: TimeRange) -> pa.Table:
        parts = []
        for partition, part in partitions_of(SERIES, wanted):
            with pa.memory_map(str(self.folder / ArrowLayout.paths.part_path(partition))) as source:
                rows = pa.ipc.open_file(source).read_all()
            parts.append(_cut(rows, part))
        return pa.concat_tables(parts)

    append = Contender.append


CONTENDERS: Final[dict[str, type[Contender]]] = {
    "cb-trade arrow": OursArrow,
    "cb-trade parquet": OursParquet,
    "ArcticDB, LMDB": ArcticDb,
    "plain pyarrow.parquet, our files": PlainParquet,
    "plain pyarrow.parquet, zstd files": NaiveParquet,
    "plain pyarrow.ipc, our files": PlainIpc,
}


def _frame(rows: pa.Table) -> Any:
    frame = rows.to_pandas()
    frame["timestamp"] = frame["timestamp"].dt.tz_localize(None)
    return frame.set_index("timestamp")


def _cut(rows: pa.Table, part: TimeRange) -> pa.Table:
    """Return the rows of *part*; none is missing after the first one."""
    return rows.slice(
        _rows_in(TimeRange(rows.column("timestamp")[0].as_py(), part.end)) - _rows_in(part), _rows_in(part)
    )


def _rows_in(part: TimeRange) -> int:
    return int((part.end - part.start).total_seconds() // 60)


# --- A contender's own process ---


async def _timed(work: Awaitable[Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = await work
    return (time.perf_counter() - begun) * 1e3, result


async def _measure(contender: Contender, truth: pa.Table, history_days: int, seed: int) -> dict[str, Any]:
    """Return the samples of one process, in milliseconds."""
    whole = TimeRange(START, days(history_days).start)
    expected = touched(truth.slice(0, history_days * DAY_ROWS))

    async def read(wanted: TimeRange) -> list[float]:
        return touched(await contender.read(wanted))

    full_ms = []
    for _ in range(_FULL_READS):
        elapsed_ms, sums = await _timed(read(whole))
        _compare(sums, expected)
        full_ms.append(elapsed_ms)

    chosen = random.Random(seed)  # noqa: S311 - which days are read
    day_ms = []
    for _ in range(_DAY_READS):
        day = chosen.randrange(history_days)
        elapsed_ms, sums = await _timed(read(days(day)))
        _compare(sums, touched(truth.slice(day * DAY_ROWS, DAY_ROWS)))
        day_ms.append(elapsed_ms)

    # The first is read from a cold process.
    samples: dict[str, Any] = {"first_full": full_ms[:1], "full": full_ms[1:], "day": day_ms[1:]}
    samples["bytes_per_bar"] = [contender.size_bytes() / (history_days * DAY_ROWS)]
    if contender.can_append():
        samples["append"] = await _append(contender, truth, history_days)
        _compare(await read(TimeRange(START, days(history_days + _APPENDED_DAYS).start)), touched(truth))
    return samples


async def _append(contender: Contender, truth: pa.Table, history_days: int) -> list[float]:
    return [
        (await _timed(contender.append(truth.slice(day * DAY_ROWS, DAY_ROWS))))[0]
        for day in range(history_days, history_days + _APPENDED_DAYS)
    ]


def _compare(sums: list[float], expected: list[float]) -> None:
    # Arrow sums column by column, whatever the chunks: but not in the same order.
    if any(abs(one - other) > 1e-9 * abs(other) for one, other in zip(sums[1:], expected[1:], strict=True)):
        sys.exit(f"a contender answered something else: {sums} instead of {expected}")


async def _child(arguments: argparse.Namespace) -> None:
    work = Path(arguments.work)
    truth = pa.ipc.open_file(pa.memory_map(str(work / "truth.arrow"))).read_all()
    # Arrow loads pandas when it first makes a timestamp of a value: not in anybody's time.
    truth.column("timestamp")[0].as_py()
    contender = CONTENDERS[arguments.contender](work / arguments.store)
    history = arguments.days
    if arguments.do == "write":
        elapsed_ms, _ = await _timed(contender.write(truth.slice(0, history * DAY_ROWS)))
        print(json.dumps({"write": [elapsed_ms]}))
    elif arguments.do == "append":
        offset = truth.num_rows - (history + _APPENDED_DAYS) * DAY_ROWS
        recent = truth.slice(offset)
        await contender.write(recent.slice(0, history * DAY_ROWS))
        await asyncio.sleep(_SETTLE_SECS)
        print(json.dumps({"append_short": await _append(contender, recent, history)}))
    else:
        print(json.dumps(await _measure(contender, truth, history, arguments.seed)))


# --- The run ---


def _run(days_of_history: int, rounds: int, work: Path) -> Samples:
    truth = minutes(days_of_history + _APPENDED_DAYS)
    with pa.OSFile(str(work / "truth.arrow"), "wb") as sink, pa.ipc.new_file(sink, truth.schema) as writer:
        writer.write_table(truth)
    samples: Samples = defaultdict(lambda: defaultdict(list))

    def child(name: str, do: str, store: str, history: int, seed: int = 0) -> None:
        command = [sys.executable, __file__, "--work", str(work), "--contender", name, "--do", do]
        command += ["--store", store, "--days", str(history), "--seed", str(seed)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
        for figure, values in json.loads(found.stdout.splitlines()[-1]).items():
            samples[name][figure] += values

    for number in range(rounds):
        for index, name in enumerate(CONTENDERS):
            _say(f"round {number + 1} of {rounds}: writing, {name}")
            child(name, "write", f"store-{index}", days_of_history)
        os.sync()
        time.sleep(_SETTLE_SECS)
        for index, name in enumerate(CONTENDERS):
            _say(f"round {number + 1} of {rounds}: reading and appending, {name}")
            child(name, "measure", f"store-{index}", days_of_history, seed=number)
        for index, name in enumerate(CONTENDERS):
            if CONTENDERS[name].can_append():
                child(name, "append", f"short-{index}", _SHORT_DAYS)
        for store in (*work.glob("store-*"), *work.glob("short-*")):
            shutil.rmtree(store)
    return samples


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Goal:
    """How many times a peer's figure ours may be, at most."""

    figure: str
    ours: str
    peer: str
    peer_figure: str
    at_most: float
    text: str


_PLAIN: Final = "plain pyarrow.parquet, our files"
_NAIVE: Final = "plain pyarrow.parquet, zstd files"
GOALS: Final = (
    Goal("full", "cb-trade arrow", "ArcticDB, LMDB", "full", 1.0, "full read: ArcticDB's"),
    Goal("full", "cb-trade parquet", _PLAIN, "full", 1 / 0.8, "full read: pyarrow's of the same files"),
    Goal("day", "cb-trade arrow", "ArcticDB, LMDB", "day", 0.5, "one random day: ArcticDB's"),
    Goal("day", "cb-trade parquet", _PLAIN, "day", 0.5, "one random day: pyarrow's of the whole month"),
    Goal("append", "cb-trade arrow", "ArcticDB, LMDB", "append", 1.2, "append a day: ArcticDB's"),
    Goal("append", "cb-trade arrow", "cb-trade arrow", "append_short", 1.2, "append a day: to a short history"),
    Goal("append", "cb-trade parquet", "cb-trade parquet", "append_short", 1.2, "append a day: to a short history"),
    Goal("bytes_per_bar", "cb-trade parquet", _NAIVE, "bytes_per_bar", 1.0, "bytes per bar: Parquet with zstd"),
)
FIGURES: Final = {
    "full read": "full",
    "first full read": "first_full",
    "one day": "day",
    "append a day": "append",
    f"to {_SHORT_DAYS} days only": "append_short",
    "write all": "write",
    "bytes per bar": "bytes_per_bar",
}


def _text(samples: Samples, days_of_history: int, rounds: int) -> str:
    medians = {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in samples.items()
    }

    def shown(name: str) -> Iterator[str]:
        yield name
        for figure in FIGURES.values():
            yield f"{medians[name][figure]:.2f}" if figure in medians[name] else ""

    def judged(goal: Goal) -> Iterator[str]:
        ratio = medians[goal.ours][goal.figure] / medians[goal.peer][goal.peer_figure]
        yield from (goal.ours, goal.text, f"{ratio:.2f}", f"≤ {goal.at_most:.2f}")
        yield "yes" if ratio <= goal.at_most else "**no**"

    every = table(["median ms", *FIGURES], [list(shown(name)) for name in medians])
    ratios = table(["ours", "as a multiple of", "ratio", "goal", "reached"], [list(judged(goal)) for goal in GOALS])
    about = (
        f"{days_of_history * DAY_ROWS:,} one-minute bars of one series, on local disk; {rounds} rounds.\n"
        f"{machine('pyarrow', 'arcticdb', 'pandas', 'numpy')}."
    )
    return f"{about}\n\n{every}\n\n{ratios}"


def main() -> None:
    options = parser("storage", __doc__)
    options.add_argument(
        "--days", type=int, default=_DAYS, help=f"of history, at least {_SHORT_DAYS} (default {_DAYS})"
    )
    options.add_argument("--rounds", type=int, default=3)
    for hidden in ("--work", "--contender", "--do", "--store"):
        options.add_argument(hidden, help=argparse.SUPPRESS)
    options.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.contender:
        # As the service runs.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_child(arguments))
        return
    if arguments.days < _SHORT_DAYS:
        options.error(f"--days is at least {_SHORT_DAYS}")
    with tempfile.TemporaryDirectory(prefix="cb-trade-bench-") as work:
        samples = _run(arguments.days, arguments.rounds, Path(work))
    text = _text(samples, arguments.days, arguments.rounds)
    print(text)
    if arguments.days == _DAYS and not arguments.no_write:
        write("storage", text)


if __name__ == "__main__":
    main()
