"""Coverage: what we know about every instant of a series, and why a bar that is missing is missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange, subtract
from cb_trade_data.quality.codes import DataCode

# How long an empty answer is believed: some venues publish quiet minutes late, none of them for ever.
_BELIEVED_AFTER_ONE: Final = timedelta(hours=1)
_BELIEVED_AFTER_TWO: Final = timedelta(days=7)
_ASKS_UNTIL_FINAL: Final = 3
# Two answers closer together than this are one piece of evidence.
_INDEPENDENT_AFTER: Final = timedelta(minutes=30)
# Clocks differ a little: a failure may be dated this far ahead. An empty answer, whose date counts for longer, is taken
# for the word of a clock that was wrong when it is dated further ahead than a day; then it proves nothing.
_FAILED_AHEAD_AT_MOST: Final = timedelta(minutes=10)
_EMPTY_AHEAD_AT_MOST: Final = timedelta(days=1)

#: To go through so many segments takes a few milliseconds. Of a month of minutes there may be as many as minutes: more
#: than these are gone through in a thread.
SEGMENTS_ON_THE_LOOP_MAX: Final = 1_024


class State(StrEnum):
    """The six facts that the word "missing" hides, and a name for never having asked.

    Stored are `held`, `empty` and `failed`; the others are derived when somebody wants to know.
    """

    HELD = "held"
    EMPTY = "empty"
    UNLISTED = "unlisted"
    DELISTED = "delisted"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"
    UNKNOWN = "unknown"  # what coverage does not mention

    @property
    def code(self) -> DataCode | None:
        """What is the matter where there is no row; None where there can be none. In held time that is a gap."""
        return _CODES.get(self)


_CODES: Final = {
    State.HELD: DataCode.GAP,
    State.EMPTY: DataCode.EMPTY,
    State.UNAVAILABLE: DataCode.NOT_COVERED,
    State.FAILED: DataCode.NOT_COVERED,
    State.UNKNOWN: DataCode.NOT_COVERED,
}


#: Where there is no market, and nothing can be missing.
ABSENT: Final = frozenset({State.UNLISTED, State.DELISTED})
_FINAL: Final = ABSENT | {State.HELD}


@dataclass(frozen=True, slots=True)
class Segment:
    """One state over a range.

    Attributes:
        asked_at: When the exchange was last asked (`empty`, `failed`); None for the others.
        asks: How many independent empty answers there were (`empty`, and `failed` after those); else 0.
        reason: Why it could not be got (`failed`); None for the others.
    """

    range: TimeRange
    state: State
    asked_at: datetime | None = None
    asks: int = 0
    reason: str | None = None

    def settles(self, now: datetime, failures_since: datetime) -> bool:
        """Tell whether the exchange need not be asked again.

        Args:
            now: The present, for the re-check schedule of `empty`.
            failures_since: A failure at or after this instant counts as an answer; an older one is tried again.
        """
        if self.state is State.UNKNOWN:
            return False
        if self.state is State.FAILED:
            return self.asked_at is not None and failures_since <= self.asked_at <= now + _FAILED_AHEAD_AT_MOST
        if self.believed_until is None or self.asked_at is None:
            return True
        return self.asked_at - _EMPTY_AHEAD_AT_MOST <= now < self.believed_until

    @property
    def believed_until(self) -> datetime | None:
        """When an `empty` answer is old enough to be asked for again; None where it never is, and for other states."""
        if self.state is not State.EMPTY or self.asked_at is None or self.asks >= _ASKS_UNTIL_FINAL:
            return None
        return self.asked_at + (_BELIEVED_AFTER_ONE if self.asks <= 1 else _BELIEVED_AFTER_TWO)

    @property
    def is_final(self) -> bool:
        """Whether it is known for good which bars there are: only a refresh can find others."""
        return self.state in _FINAL or (self.state is State.EMPTY and self.believed_until is None)

    def joins(self, later: Segment) -> bool:
        """Tell whether *later* continues this segment with the same facts."""
        return (
            self.range.end == later.range.start
            and (self.state, self.asked_at, self.asks, self.reason)
            == (later.state, later.asked_at, later.asks, later.reason)
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Return the segment as it is stored and sent: epoch milliseconds; facts that do not apply are left out."""
        facts: dict[str, Any] = {
            "start_time": to_ms(self.range.start),
            "end_time": to_ms(self.range.end),
            "state": self.state.value,
        }
        if self.asked_at is not None:
            facts["asked_at"] = to_ms(self.asked_at)
        if self.asks:
            facts["asks"] = self.asks
        if self.reason is not None:
            facts["reason"] = self.reason
        return facts

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Segment:
        """Read back what `to_json` gave. Raises ValueError for anything else; `unknown` is never stored."""
        try:
            if (state := State(facts["state"])) is State.UNKNOWN:
                raise ValueError("not a segment of coverage: it would say that nothing is known")
            asked_at = facts.get("asked_at")
            return cls(
                TimeRange(from_ms(facts["start_time"]), from_ms(facts["end_time"])),
                state,
                None if asked_at is None else from_ms(asked_at),
                int(facts.get("asks", 0)),
                facts.get("reason"),
            )
        except (AttributeError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a segment of coverage: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Coverage:
    """The segments of a partition: disjoint, in order, neighbours with the same facts joined. Immutable."""

    segments: tuple[Segment, ...] = ()

    @classmethod
    def from_json(cls, facts: Any) -> Coverage:
        """Read back a list of what `Segment.to_json` gave. Raises ValueError for anything else."""
        if not isinstance(facts, list):
            raise ValueError("coverage is a list of segments")  # noqa: TRY004 - to the reader, bytes of a wrong value
        return cls(tuple(map(Segment.from_json, facts)))

    def with_segments(self, news: Iterable[Segment]) -> Coverage:
        """Return the coverage after *news*, in the order they came: the later fact replaces the earlier one.

        Two facts keep what was there: nothing takes away from `held`, which only rows can change; and an `empty` answer
        on top of another counts as the same piece of evidence, or as the next one if it came independently.
        """
        segments = list(self.segments)
        for new in news:
            # Those that it lies over or touches; all others stay as they are.
            first = bisect_left(segments, new.range.start, key=lambda each: each.range.end)
            end = bisect_right(segments, new.range.end, first, key=lambda each: each.range.start)
            segments[first:end] = _overlay(segments[first:end], new)
        return Coverage(tuple(segments))

    def under(self, absences: Sequence[Segment]) -> Coverage:
        """Return the coverage with *absences*, which count whatever else was once written there.

        Args:
            absences: Disjoint, oldest first.
        """
        if not absences:
            return self
        elsewhere = subtract([EVER], [absence.range for absence in absences])
        rest = (segment for part in elsewhere for segment in self.within(part))
        return Coverage(tuple(sorted([*absences, *rest], key=lambda segment: segment.range.start)))

    def within(self, wanted: TimeRange) -> Iterator[Segment]:
        """Yield the segments inside *wanted*, cut to it, oldest first."""
        first = bisect_right(self.segments, wanted.start, key=lambda each: each.range.end)
        for place in range(first, len(self.segments)):
            segment = self.segments[place]
            if wanted.covers(segment.range):
                yield segment
            elif (shared := segment.range.intersect(wanted)) is not None:
                yield replace(segment, range=shared)
            else:
                return

    def holds(self, wanted: TimeRange) -> bool:
        """Tell whether every bar of *wanted* is stored."""
        # Neighbours are joined, so that it takes one segment.
        return any(each.state is State.HELD and each.range.covers(wanted) for each in self.segments)

    def settled(self, now: datetime, failures_since: datetime) -> Iterator[TimeRange]:
        """Yield the ranges about which the exchange need not be asked; see `Segment.settles`."""
        for segment in self.segments:
            if segment.settles(now, failures_since):
                yield segment.range

    def ranges(self, state: State) -> Iterator[TimeRange]:
        """Yield the ranges in that state, oldest first."""
        return (segment.range for segment in self.segments if segment.state is state)


def _overlay(segments: list[Segment], new: Segment) -> Iterator[Segment]:
    return joined(sorted(_pieces(segments, new), key=lambda segment: segment.range.start))


def _pieces(segments: list[Segment], new: Segment) -> Iterator[Segment]:
    """Yield the old segments outside *new*, and *new* cut where an old one under it has a say."""
    cursor = new.range.start
    for old in segments:
        shared = old.range.intersect(new.range)
        if shared is None:
            yield old
            continue
        if old.range.start < shared.start:
            yield replace(old, range=TimeRange(old.range.start, shared.start))
        if cursor < shared.start:
            yield replace(new, range=TimeRange(cursor, shared.start))
        yield replace(_resolve(old, new), range=shared)
        if shared.end < old.range.end:
            yield replace(old, range=TimeRange(shared.end, old.range.end))
        cursor = shared.end
    if cursor < new.range.end:
        yield replace(new, range=TimeRange(cursor, new.range.end))


def _resolve(old: Segment, new: Segment) -> Segment:
    if old.state is State.HELD:
        return old
    if new.state is State.HELD or old.asked_at is None or new.asked_at is None:
        return new
    is_independent = new.asked_at >= old.asked_at + _INDEPENDENT_AFTER
    is_believable = old.asked_at <= new.asked_at + _EMPTY_AHEAD_AT_MOST
    if old.state is State.EMPTY and new.state is State.EMPTY and not is_independent and is_believable:
        return old
    # A failed re-check does not take back the empty answers there were before it.
    return replace(new, asks=old.asks + new.asks if is_independent else max(old.asks, new.asks))


def joined(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yield *segments*, which must be in order, with neighbours of the same facts made one."""
    current: Segment | None = None
    for segment in segments:
        if current is not None and current.joins(segment):
            current = replace(current, range=TimeRange(current.range.start, segment.range.end))
            continue
        if current is not None:
            yield current
        current = segment
    if current is not None:
        yield current
