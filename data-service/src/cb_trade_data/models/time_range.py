"""Half-open spans of time and the little algebra the planner needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True, order=True)
class TimeRange:
    """The instants from *start* (inclusive) to *end* (exclusive), both aware UTC; never empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if (self.start.tzinfo is not UTC or self.end.tzinfo is not UTC) and not _are_utc(self.start, self.end):
            raise ValueError(f"a time range needs aware UTC instants, not {self.start!r} and {self.end!r}")
        if self.start >= self.end:
            raise ValueError(f"a time range ends after it starts: [{self.start}, {self.end})")

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"

    @property
    def duration(self) -> timedelta:
        """How long it is."""
        return self.end - self.start

    def covers(self, other: TimeRange) -> bool:
        """Tell whether all of *other* lies inside."""
        return self.start <= other.start and other.end <= self.end

    def intersect(self, other: TimeRange) -> TimeRange | None:
        """Return what both ranges share, or None where they only touch or lie apart."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return TimeRange(start, end) if start < end else None


def _are_utc(*instants: datetime) -> bool:
    return all(instant.utcoffset() == timedelta(0) for instant in instants)


def subtract(wanted: Iterable[TimeRange], covered: Iterable[TimeRange]) -> Iterator[TimeRange]:
    """Yield the parts of *wanted* that *covered* leaves open, oldest first.

    Args:
        wanted: Disjoint ranges in order.
        covered: Ranges in any order; they may touch or overlap.
    """
    blocks = sorted(covered)
    for whole in wanted:
        cursor = whole.start
        for block in blocks:
            if block.end <= cursor:
                continue
            if block.start >= whole.end:
                break
            if block.start > cursor:
                yield TimeRange(cursor, block.start)
            cursor = block.end
        if cursor < whole.end:
            yield TimeRange(cursor, whole.end)


def intersect_all(ranges: Iterable[TimeRange], others: Iterable[TimeRange]) -> Iterator[TimeRange]:
    """Yield what two sets of disjoint ranges share, oldest first within each of *ranges*."""
    limits = sorted(others)
    for one in ranges:
        for other in limits:
            if (shared := one.intersect(other)) is not None:
                yield shared


def join(ranges: Iterable[TimeRange]) -> Iterator[TimeRange]:
    """Yield the same instants as the fewest ranges, oldest first: what touches or overlaps becomes one."""
    current: TimeRange | None = None
    for one in sorted(ranges):
        if current is None:
            current = one
        elif one.start <= current.end:
            current = TimeRange(current.start, max(current.end, one.end))
        else:
            yield current
            current = one
    if current is not None:
        yield current
