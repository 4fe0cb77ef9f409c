"""The ledger of a range: what is known of every instant of it, one page at a time. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import ABSENT, Coverage, Segment, State, joined


@dataclass(frozen=True)
class LedgerPage:
    """What is known of a range, or of its first part.

    Attributes:
        range: What the page tells about, with edges on the grid; None where there is nothing to tell.
        segments: Oldest first; they tile `range`: no overlap, no hole, and neighbours differ.
        is_last: Whether the range that was asked about ends here; if not, ask again from `range.end`.
    """

    range: TimeRange | None
    segments: tuple[Segment, ...]
    is_last: bool

    @classmethod
    def empty(cls) -> LedgerPage:
        """Return the page of a range in which no bar has closed."""
        return cls(None, (), is_last=True)

    def bars_expected(self, grid: Timeframe) -> int:
        """Return how many bars there may be: all of the grid from listing to delisting."""
        return sum(grid.bars_in(segment.range) for segment in self.segments if segment.state not in ABSENT)

    def bars_held(self, grid: Timeframe) -> int:
        """Return how many of those bars are settled by rows, the genuine holes between them included."""
        return sum(grid.bars_in(segment.range) for segment in self.segments if segment.state is State.HELD)


def tiles(wanted: TimeRange, coverage: Coverage, reach: Reach) -> Iterator[Segment]:
    """Yield segments that tile *wanted*, oldest first: what neither coverage nor *reach* mentions is `unknown`.

    Args:
        coverage: What is stored of the time around *wanted*.
    """
    cursor = wanted.start
    for segment in reach.known(coverage, wanted):
        if cursor < segment.range.start:
            yield Segment(TimeRange(cursor, segment.range.start), State.UNKNOWN)
        yield segment
        cursor = segment.range.end
    if cursor < wanted.end:
        yield Segment(TimeRange(cursor, wanted.end), State.UNKNOWN)


class LedgerWriter:
    """Puts a page together from the tiles of one part after the other, until it is full."""

    def __init__(self, limit: int) -> None:
        """*limit* is the most segments of the page."""
        self._limit = limit
        self._segments: list[Segment] = []  # at most one more than the limit: it tells where the next page begins

    @property
    def is_full(self) -> bool:
        """Whether nothing more is needed."""
        return len(self._segments) > self._limit

    def add(self, part: Iterable[Segment]) -> None:
        """Add the tiles of the part that follows what was added before."""
        last = self._segments[-1:]
        room = self._limit + 1 - len(self._segments) + len(last)
        self._segments[len(self._segments) - len(last) :] = islice(joined([*last, *part]), room)

    def page(self, wanted: TimeRange) -> LedgerPage:
        """Return the page, given all the range there was to tell about."""
        segments = tuple(self._segments[: self._limit])
        told = TimeRange(segments[0].range.start, segments[-1].range.end)
        return LedgerPage(told, segments, is_last=told.end == wanted.end)
