"""What is known of bars by what is known of the shorter ones that they are made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State

# What a bar is whose parts are in several states: the first of them, by state and whether that is final. One that is
# listed for a part of its time is whole, as the exchange's own first bar is; so is one that is empty in part, for good.
_RANKS: Final = {
    facts: rank
    for rank, facts in enumerate(
        (
            (State.FAILED, False),
            (State.UNAVAILABLE, False),
            (State.EMPTY, False),
            (State.UNKNOWN, False),
            (State.HELD, True),
            (State.EMPTY, True),
            (State.UNLISTED, True),
            (State.DELISTED, True),
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
            if self._begun is None or _rank(segment) < _rank(self._begun):
                self._begun = segment
            if bar.end <= end:
                yield replace(self._begun, range=bar)
                self._begun = None
            start = bar.end


def _rank(segment: Segment) -> int:
    return _RANKS[segment.state, segment.is_final]
