"""The receipt: what an answer was made of, and what is known of everything it did not contain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cb_trade_data.models.time_range import TimeRange, subtract
from cb_trade_data.storage.coverage import Segment, State

SEGMENTS_MAX: Final = 1_000

_GAP_STATES: Final = frozenset({State.FAILED, State.UNAVAILABLE, State.EMPTY, State.UNKNOWN})


@dataclass
class Receipt:
    """Grows while an answer is handed out; complete when its last row was.

    Attributes:
        exchange_calls: Calls for the pages of this answer, shared ones included; markets, clock and listing apart.
        coverage: What is known of the range, oldest first; at most `SEGMENTS_MAX` segments, see `is_truncated`.
        gaps: Where there may be rows that were not delivered, oldest first; at most as many.
        digest: Of the rows that were delivered, see `models.digest`; less those that are synthetic.
        synthetic_rows: How many stand where the exchange has none; None where nobody asked for such.
    """

    rows_from_storage: int = 0
    rows_from_exchange: int = 0
    exchange_calls: int = 0
    coverage: list[Segment] = field(default_factory=list)
    gaps: list[Segment] = field(default_factory=list)
    is_truncated: bool = False
    digest: str = ""
    synthetic_rows: int | None = None

    def enter(self, segments: Iterable[Segment], failures: Iterable[Segment] = ()) -> None:
        """Add what is known of the stretch that follows what was entered before.

        Args:
            segments: Its coverage, oldest first.
            failures: What of it a refresh could not ask about again: gaps, although older rows were delivered there.
        """
        gaps = list(failures)
        failed = [segment.range for segment in gaps]
        for segment in segments:
            self.is_truncated |= not _append(self.coverage, segment)
            if segment.state in _GAP_STATES:
                gaps += [replace(segment, range=part) for part in subtract([segment.range], failed)]
        for gap in sorted(gaps, key=lambda each: each.range):
            self.is_truncated |= not _append(self.gaps, gap)


#: Takes what is entered, segments and failures, and returns what is to be entered in its place.
Reading = Callable[[Iterable[Segment], Iterable[Segment]], tuple[Iterable[Segment], Iterable[Segment]]]


@dataclass
class ViewedReceipt(Receipt):
    """A receipt of an answer with views on it, which see all that is entered, however much there is room for.

    Attributes:
        readings: Of each view, from the lowest one up.
    """

    readings: Sequence[Reading] = ()

    def enter(self, segments: Iterable[Segment], failures: Iterable[Segment] = ()) -> None:
        """See `Receipt.enter`."""
        for read in self.readings:
            segments, failures = read(segments, failures)
        super().enter(segments, failures)


def _append(segments: list[Segment], segment: Segment) -> bool:
    """Add *segment*, joined to the last one where it continues it; tell whether there was room."""
    if segments and segments[-1].joins(segment):
        segments[-1] = replace(segment, range=TimeRange(segments[-1].range.start, segment.range.end))
        return True
    if len(segments) == SEGMENTS_MAX:
        return False
    segments.append(segment)
    return True
