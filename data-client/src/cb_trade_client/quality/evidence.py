"""What says how good a series is: counts, which add up over pages of days."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cb_trade_client.fields import (
    Message,
    read_count,
    read_counts,
    read_instant,
    read_optional_count,
    read_optional_instant,
    read_optional_number,
    read_optional_text,
)


@dataclass(frozen=True, slots=True)
class QualityEvidence:
    """What scores are made of.

    Attributes:
        expected_bars: The closed bars of the range while the market was listed.
        held_bars: Those of them that what is stored settles: there, or known never to have been made.
        rows: How many of them there are.
        holes: How many were never made.
        flagged: How many rows have each code (`DATA-009`), of those that any row has. No row has two.
        newest_end: Exclusive end of the newest held bar of the series; None where none is held.
        bars_behind: How many closed bars come after it; None where that says nothing.
        compared_bars: How many bars could be compared with bars made of something else that is stored.
        differing_bars: How many of them differ.
        compared_with: What those were made of: `trades`, or a shorter timeframe; None where nothing could be compared.
    """

    expected_bars: int
    held_bars: int
    rows: int
    holes: int
    flagged: Mapping[str, int]
    newest_end: datetime | None
    bars_behind: int | None
    compared_bars: int
    differing_bars: int
    compared_with: str | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            expected_bars=read_count(message, "expected_bars"),
            held_bars=read_count(message, "held_bars"),
            rows=read_count(message, "rows"),
            holes=read_count(message, "holes"),
            flagged=_read_flagged(message),
            newest_end=read_optional_instant(message, "newest_end"),
            bars_behind=read_optional_count(message, "bars_behind"),
            compared_bars=read_count(message, "compared_bars"),
            differing_bars=read_count(message, "differing_bars"),
            compared_with=read_optional_text(message, "compared_with"),
        )

    @property
    def flagged_rows(self) -> int:
        """How many rows have any code."""
        return sum(self.flagged.values())

    def and_of(self, later: "QualityEvidence") -> "QualityEvidence":
        """Return the evidence of this time and of a *later* one together."""
        compared_with = dict.fromkeys(each for each in (self.compared_with, later.compared_with) if each)
        return QualityEvidence(
            expected_bars=self.expected_bars + later.expected_bars,
            held_bars=self.held_bars + later.held_bars,
            rows=self.rows + later.rows,
            holes=self.holes + later.holes,
            flagged=dict(Counter(self.flagged) + Counter(later.flagged)),
            # Of the series, whatever the time: what was said last counts.
            newest_end=later.newest_end or self.newest_end,
            bars_behind=self.bars_behind if later.bars_behind is None else later.bars_behind,
            compared_bars=self.compared_bars + later.compared_bars,
            differing_bars=self.differing_bars + later.differing_bars,
            compared_with=", ".join(compared_with) or None,
        )


@dataclass(frozen=True, slots=True)
class QualityDay:
    """The same of one UTC day that may have bars, or of a UTC year where they last a day or longer.

    Attributes:
        start: Inclusive; where it begins, or the range.
        end: Exclusive; where it ends, or the range.
        low: The lowest price; like all that follows, None without details, and where there is no row.
        high: The highest price.
        close: The last close.
        volume: All that was traded, in the base currency.
    """

    start: datetime
    end: datetime
    expected_bars: int
    held_bars: int
    rows: int
    holes: int
    flagged: Mapping[str, int]
    low: float | None
    high: float | None
    close: float | None
    volume: float | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            start=read_instant(message, "start_time"),
            end=read_instant(message, "end_time"),
            expected_bars=read_count(message, "expected_bars"),
            held_bars=read_count(message, "held_bars"),
            rows=read_count(message, "rows"),
            holes=read_count(message, "holes"),
            flagged=_read_flagged(message),
            low=read_optional_number(message, "low"),
            high=read_optional_number(message, "high"),
            close=read_optional_number(message, "close"),
            volume=read_optional_number(message, "volume"),
        )

    @property
    def flagged_rows(self) -> int:
        """How many rows have any code."""
        return sum(self.flagged.values())


def _read_flagged(message: Message) -> Mapping[str, int]:
    """Return how many rows have each code; a service may also tell the codes that none has."""
    return {code: count for code, count in read_counts(message, "flagged").items() if count}
