"""What is known of bars by what is known of the shorter ones that they are made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State

#: Of a bar with a part in one of these nobody knows yet what it is going to be.
UNSETTLED: Final = frozenset({State.FAILED, State.UNAVAILABLE, State.EMPTY, State.UNKNOWN})
# What a bar is whose parts are in several states: the first of them. One that is listed for a part of its time is
# whole, as the exchange's own first bar is.
_RANKS: Final = {
    state: rank
    for rank, state in enumerate(
        (
            State.FAILED,
            State.UNAVAILABLE,
            State.EMPTY,
            State.UNKNOWN,
            State.HELD,
            State.UNLISTED,
            State.DELISTED,
        )
    )
}


class KnownBars:
    """Takes what is known of time, oldest first, and tells it of whole bars, each as soon as all of it is known.

    Attributes:
        known_until: The end of what was taken in.
    """

    def __init__(self, timeframe: Timeframe, start: datetime) -> None:
        """*start*: where a bar opens, and what is known begins."""
        self._timeframe = timeframe
        self._begun: Segment | None = None  # of the bar that is not known to its end: what counts of it so far
        self.known_until = start

    def add(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """Yield what *segments*, which follow what was taken in before, tell of whole bars; edges are on the grid."""
        for segment in segments:
            if self.known_until < segment.range.start:
                yield from self._add(Segment(TimeRange(self.known_until, segment.range.start), State.UNKNOWN))
            yield from self._add(segment)

    def _add(self, segment: Segment) -> Iterator[Segment]:
        start, end = segment.range.start, segment.range.end
        self.known_until = end
        while start < end:
            bar = self._timeframe.bar(self._timeframe.floor(start))
            whole_until = self._timeframe.floor(end)
            if start == bar.start and start < whole_until:
                yield replace(segment, range=TimeRange(start, whole_until))
                start = whole_until
                continue
            if self._begun is None or _RANKS[segment.state] < _RANKS[self._begun.state]:
                self._begun = segment
            if bar.end <= end:
                yield replace(self._begun, range=bar)
                self._begun = None
            start = bar.end
