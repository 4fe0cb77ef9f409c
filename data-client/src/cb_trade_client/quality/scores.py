"""Scores, made of evidence as the service makes them (docs/decisions/0021-quality-is-evidence.md). Pure."""

from dataclasses import dataclass
from typing import Final, Self

from cb_trade_client.quality.evidence import QualityEvidence

NAMES: Final = ("completeness", "consistency", "freshness", "accuracy")

# What each bar that is missing at the end takes away.
_STALER_BY: Final = 0.1


@dataclass(frozen=True, slots=True)
class QualityScores:
    """Each from 0 to 1; None where there is nothing to say.

    Attributes:
        completeness: Held bars, of those that there may be.
        consistency: Rows that are not flagged, of all of them.
        freshness: 1 where the newest closed bar is held, less a tenth for each bar behind it.
        accuracy: Bars that agree with those made of something else, of the bars that could be compared.
        overall: The lowest of those that there are: a series is used as a whole.
        lowest: Which one that is, the first of several.
    """

    completeness: float | None
    consistency: float | None
    freshness: float | None
    accuracy: float | None
    overall: float | None
    lowest: str | None

    @classmethod
    def of(cls, evidence: QualityEvidence) -> Self:
        """Return the scores that *evidence* makes."""
        agreeing_bars = evidence.compared_bars - evidence.differing_bars
        scores = (
            share(evidence.held_bars, evidence.expected_bars),
            share(evidence.rows - evidence.flagged_rows, evidence.rows),
            _freshness(evidence.bars_behind),
            share(agreeing_bars, evidence.compared_bars),
        )
        there = {name: score for name, score in zip(NAMES, scores, strict=True) if score is not None}
        lowest = min(there, key=there.__getitem__, default=None)
        return cls(*scores, overall=None if lowest is None else there[lowest], lowest=lowest)


def share(part: int, whole: int) -> float | None:
    """Return how much of *whole* *part* is; None of nothing."""
    return part / whole if whole else None


def _freshness(bars_behind: int | None) -> float | None:
    return None if bars_behind is None else round(max(0.0, 1 - _STALER_BY * bars_behind), 1)
