"""How much is stored of each series, told by listings and metadata alone: no row is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.series import Series
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.survey import FoundObject, Role, survey
from cb_trade_data.storage.in_order import in_order
from cb_trade_data.storage.layouts.metadata import ObjectMetadata
from cb_trade_data.storage.object_storage import DamagedObjectError, ObjectStorage

_READ_AT_ONCE: Final = 16


@dataclass
class SeriesStatistics:
    """What is stored of one series.

    Attributes:
        first: Open time of the oldest row; None where there is none.
        last: Open time of the newest row.
        size_bytes: Of all its objects.
        gap_bars: How many bars are missing in each state of which there is any (`empty`, `failed`); nothing of kinds
            without bars.
        gaps: How much time is missing in each of these states.
        unreadable_partitions: Partitions whose metadata cannot be read; they count in nothing but `size_bytes`.
    """

    series: Series
    partitions: int = 0
    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None
    size_bytes: int = 0
    gap_bars: Counter[State] = field(default_factory=Counter)
    gaps: dict[State, timedelta] = field(default_factory=dict)
    unreadable_partitions: int = 0

    @property
    def bytes_per_row(self) -> float | None:
        """None where there is no row."""
        return self.size_bytes / self.rows if self.rows else None

    def add(self, metadata: ObjectMetadata) -> None:
        """Count a partition."""
        self.partitions += 1
        self.rows += metadata.rows
        if metadata.batches:
            oldest, newest = from_ms(metadata.batches[0].first_ms), from_ms(metadata.batches[-1].last_ms)
            self.first = oldest if self.first is None else min(self.first, oldest)
            self.last = newest if self.last is None else max(self.last, newest)
        for segment in metadata.coverage.segments:
            if segment.state is State.HELD:
                continue
            self.gaps[segment.state] = self.gaps.get(segment.state, timedelta()) + segment.range.duration
            if self.series.timeframe is not None:
                self.gap_bars[segment.state] += self.series.timeframe.bars_in(segment.range)


@dataclass(frozen=True)
class _Read:
    found: FoundObject
    metadata: ObjectMetadata | None = None
    is_unreadable: bool = False


async def statistics(storage: ObjectStorage, scope: Scope) -> AsyncGenerator[SeriesStatistics, None]:
    """Yield the statistics of each series of which there is an object, in the order of their folders."""
    current: SeriesStatistics | None = None
    async with (
        aclosing(survey(storage, scope)) as found,
        aclosing(in_order(partial(_read, storage), found, _READ_AT_ONCE)) as objects,
    ):
        async for each in objects:
            series = each.found.series
            if series is None or each.found.role is Role.FOREIGN:
                continue
            if current is None or current.series != series:
                if current is not None:
                    yield current
                current = SeriesStatistics(series)
            _count(current, each)
    if current is not None:
        yield current


async def _read(storage: ObjectStorage, found: FoundObject) -> _Read:
    if found.role is not Role.PARTITION or found.partition is None:
        return _Read(found)
    try:
        head = await storage.inspect_metadata(found.partition)
    except (DamagedObjectError, NewerFormatError):
        return _Read(found, is_unreadable=True)
    return _Read(found, None if head is None else head.metadata)


def _count(statistics: SeriesStatistics, read: _Read) -> None:
    statistics.size_bytes += read.found.size_bytes
    statistics.unreadable_partitions += read.is_unreadable
    if read.metadata is not None:
        statistics.add(read.metadata)
