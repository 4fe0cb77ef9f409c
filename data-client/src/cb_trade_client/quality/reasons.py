"""Why there are no rows: gaps by what is known of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cb_trade_client.calendar_strip import WITHOUT_MARKET
from cb_trade_client.quality.report import QualityGap

_WITHOUT_BARS: Final = frozenset({"held", "empty"})


@dataclass(frozen=True, slots=True)
class ReasonOfGaps:
    """All gaps of one state and one reason.

    Attributes:
        gaps: Oldest first.
    """

    state: str
    reason: str | None
    gaps: tuple[QualityGap, ...]

    @property
    def bars(self) -> int:
        """How many bars are not there for this reason."""
        return sum(gap.bars for gap in self.gaps)

    @property
    def longest(self) -> QualityGap:
        """The one of the most bars, the first of several."""
        return max(self.gaps, key=lambda gap: gap.bars)

    @property
    def first(self) -> datetime:
        """Where the first one begins."""
        return self.gaps[0].start

    @property
    def until(self) -> datetime:
        """Where the last one ends."""
        return self.gaps[-1].end


def by_reason(gaps: Iterable[QualityGap]) -> list[ReasonOfGaps]:
    """Return *gaps*, which are in time order, by state and reason; those first of which the most bars are missing."""
    together: dict[tuple[str, str | None], list[QualityGap]] = {}
    for gap in gaps:
        together.setdefault((gap.state, gap.reason), []).append(gap)
    reasons = [ReasonOfGaps(state, reason, tuple(found)) for (state, reason), found in together.items()]
    return sorted(reasons, key=lambda reason: -reason.bars)


def worst_first(gaps: Iterable[QualityGap]) -> list[QualityGap]:
    """Return *gaps*: first those that nobody could answer for, last those without a market, the longest first in each.

    A quiet market has very many that are `held` or `empty`, where the exchange says that there is nothing: what failed
    would be lost among them, and so would an outage among single minutes.
    """
    return sorted(gaps, key=lambda gap: (gap.state in WITHOUT_MARKET, gap.state in _WITHOUT_BARS, -gap.bars))
