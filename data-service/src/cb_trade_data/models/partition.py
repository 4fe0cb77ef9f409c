"""Partitions: the unit in which a series is stored, locked and cached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Final

from cb_trade_data.models.instants import EPOCH
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000

#: All the time there is for us: from the epoch to an instant that every calendar and column type can still express.
EVER: Final = TimeRange(EPOCH, datetime(2200, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Partition:
    """Of bars a UTC calendar month below 1h, a calendar year from 1h to below 1d, the whole series from 1d up.

    Of trades and order books a UTC day, of funding rates the whole series. `day` 0 means the whole month, `month` 0 the
    whole year, `year` 0 the whole series.

    Raises:
        ValueError: The series is derived: nothing of it is ever stored.
    """

    series: Series
    year: int
    month: int
    day: int = 0

    def __post_init__(self) -> None:
        if self.series.derived_from is not None:
            raise ValueError(f"{self.series} is not stored: its source is")

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # Like series, partitions are keys everywhere.
        return hash((self.series, self.year, self.month, self.day))

    def __str__(self) -> str:
        return f"{self.series} {self.year:04}-{self.month:02}" + (f"-{self.day:02}" if self.day else "")

    @cached_property
    def range(self) -> TimeRange:
        """Every instant that belongs to the partition."""
        if self.year == 0:
            return EVER
        if self.month == 0:
            return TimeRange(_month(self.year, 0), _month(self.year + 1, 0))
        if self.day:
            start = datetime(self.year, self.month, self.day, tzinfo=UTC)
            return TimeRange(start, start + _DAY)
        return TimeRange(_month(self.year, self.month - 1), _month(self.year, self.month))


def partition_at(series: Series, instant: datetime) -> Partition:
    """Return the partition of *series* that holds the row of *instant*."""
    if series.kind is Kind.FUNDING_RATE:
        return _partition(series, 0, 0)
    if series.timeframe is None:
        return _partition(series, instant.year, instant.month, instant.day)
    length_ms = series.grid.duration_ms
    if length_ms >= _DAY_MS:
        return _partition(series, 0, 0)
    if length_ms >= _HOUR_MS:
        return _partition(series, instant.year, 0)
    return _partition(series, instant.year, instant.month)


def partitions_of(series: Series, wanted: TimeRange) -> Iterator[tuple[Partition, TimeRange]]:
    """Yield each partition that *wanted* touches with the part of *wanted* in it, oldest first, one at a time."""
    rest: TimeRange | None = wanted
    while rest is not None:
        partition, part, rest = first_partition_of(series, rest)
        yield partition, part


def first_partition_of(series: Series, wanted: TimeRange) -> tuple[Partition, TimeRange, TimeRange | None]:
    """Return the first partition that *wanted* touches, the part of *wanted* in it, and what comes after that."""
    partition = partition_at(series, wanted.start)
    end = partition.range.end
    if wanted.end <= end:
        return partition, wanted, None
    return partition, TimeRange(wanted.start, end), TimeRange(end, wanted.end)


def pieces_of(series: Series, part: TimeRange) -> Iterator[TimeRange]:
    """Yield *part* of a partition as it is read: at once, or by the hour where a day may be millions of rows."""
    if series.kind is not Kind.TRADES:
        yield part
        return
    start = part.start
    while start < part.end:
        end = min(start - (start - EPOCH) % _HOUR + _HOUR, part.end)
        yield TimeRange(start, end)
        start = end


# The very same partition for all who ask for it: it is a key again and again.
_partition = lru_cache(maxsize=10_000)(Partition)


def _month(year: int, months: int) -> datetime:
    """Return the start of the month that lies *months* after January of *year*."""
    return datetime(year + months // 12, months % 12 + 1, 1, tzinfo=UTC)
