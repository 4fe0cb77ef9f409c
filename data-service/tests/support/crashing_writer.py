"""A writer that is going to be killed, and what it writes: a fixed sequence of commits, each known by its number."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog
from unit_builders import bars, series, utc

from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.interfaces import IRawDataStorage
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

LAYOUTS = {"parquet": ParquetLayout, "arrow": ArrowLayout, "json": JsonLayout}
CHUNK_ROWS = {"parquet": 150, "arrow": 150, "json": 4}

START = utc("2024-02-01")
PARTITIONS = (partition_at(series("BTC/USDT", "1m"), START), partition_at(series("ETH/USDT:USDT", "1h"), START))
FACTS_OF = series("BTC/USDT", "1m")


@dataclass(frozen=True)
class Commit:
    """One step of the sequence: a change of a partition, or new facts."""

    number: int
    partition: int = 0
    change: Change | None = None
    facts: SeriesFacts | None = None


@dataclass(frozen=True)
class Content:
    """Everything that is stored after some commits."""

    partitions: tuple[StoredPartition, ...]
    facts: SeriesFacts | None

    @classmethod
    def nothing(cls) -> Content:
        return cls(tuple(map(StoredPartition.empty, PARTITIONS)), None)

    def after(self, commit: Commit) -> Content:
        if commit.change is None:
            return replace(self, facts=commit.facts)
        changed = list(self.partitions)
        changed[commit.partition] = changed[commit.partition].with_changes([commit.change])
        return replace(self, partitions=tuple(changed))

    def equals(self, other: Content) -> bool:
        """Compare value for value; what counts are rows, coverage and facts, not versions."""
        return (
            all(
                mine.coverage == others.coverage and mine.rows.equals(others.rows)
                for mine, others in zip(self.partitions, other.partitions, strict=True)
            )
            and _without_version(self.facts) == _without_version(other.facts)
        )  # fmt: skip


def commits(layout: str) -> Iterator[Commit]:
    """Yield the sequence: a chunk after the last one with a known hole before it, older rows restated, or facts."""
    dice = random.Random(7)
    positions = [0, 0]
    number = 0
    while True:
        kind = dice.choices(("append", "restate", "facts"), (5, 3, 1))[0]
        which = dice.randrange(2)
        if kind == "facts":
            listed_at = START - timedelta(days=number)
            yield Commit(number, facts=SeriesFacts(f"N{number}", listed_at, START + timedelta(days=number)))
        elif kind == "append" or not positions[which]:
            first = positions[which]
            positions[which] += CHUNK_ROWS[layout] + 3
            yield Commit(number, which, _change(which, number, first, positions[which], hole=3))
        else:
            first = dice.randrange(positions[which] // CHUNK_ROWS[layout]) * (CHUNK_ROWS[layout] + 3) + 3
            yield Commit(number, which, _change(which, number, first, first + dice.randrange(1, 9), hole=0))
        number += 1


def _change(which: int, number: int, first: int, end: int, hole: int) -> Change:
    grid = PARTITIONS[which].series.grid
    edges = [grid.advance(START, place) for place in (first, first + hole, end)]
    rows = bars((grid.advance(START, place) for place in range(first + hole, end)), price=1000.0 * number)
    segments = [Segment(TimeRange(edges[1], edges[2]), State.HELD)]
    if hole:
        asked_at = START + timedelta(days=60, seconds=number)
        segments.append(Segment(TimeRange(edges[0], edges[1]), State.EMPTY, asked_at, asks=1))
    return Change(rows, tuple(segments))


async def content_of(storage: IRawDataStorage) -> Content:
    """Read everything that is stored."""
    stored = [await storage.read_partition(partition) for partition in PARTITIONS]
    partitions = tuple(replace(each, rows=each.rows.combine_chunks()) for each in stored)
    return Content(partitions, await storage.read_facts(FACTS_OF))


def _without_version(facts: SeriesFacts | None) -> SeriesFacts | None:
    return None if facts is None else replace(facts, version=None)


# pyarrow imports pandas, where that is installed, when it first converts something: not in every child anew.
Content.nothing().after(next(commits("parquet")))


# --- The process ---


def write(root: str, layout: str, first: int, count: int, die_at_step: int | None = None) -> None:
    """Do *count* commits from number *first* on, and say the number of each when it has returned.

    Args:
        die_at_step: Where given, the process kills itself before it opens, renames, removes or syncs for the time of
            that number, counted from the first commit on.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what it says are numbers alone
    asyncio.run(_write(Path(root), layout, first, count, die_at_step))


async def _write(root: Path, layout: str, first: int, count: int, die_at_step: int | None) -> None:
    manager = StorageManagerImpl(LocalFileStorage(root, LAYOUTS[layout]()))
    locks = [await manager.try_lock(partition) for partition in PARTITIONS]
    _say("locked" if None not in locks else "not locked")
    if die_at_step is not None:
        _die_at(die_at_step)
    bases = {partition: await manager.read(partition) for partition in PARTITIONS}
    facts = await manager.facts(FACTS_OF)
    for commit in commits(layout):
        if commit.number >= first + count:
            return
        if commit.number < first:
            continue
        if commit.change is None:
            version = None if facts is None else facts.version
            facts = await manager.commit_facts(FACTS_OF, replace(commit.facts, version=version))
        else:
            partition: Partition = PARTITIONS[commit.partition]
            bases[partition] = await manager.commit(bases[partition], [commit.change])
        _say(str(commit.number))


def _die_at(step: int) -> None:
    steps = 0

    def count(*arguments: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: object) -> None:
        if event in {"open", "os.rename", "os.remove", "os.mkdir"}:
            count()

    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        count()
        real_fsync(descriptor)
        count()

    os.fsync = fsync
    sys.addaudithook(audit)


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())
