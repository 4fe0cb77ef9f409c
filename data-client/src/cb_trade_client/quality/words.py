"""What a report says to people: each score with what it is made of, in numbers that are never better than the truth."""

from collections.abc import Iterator
from datetime import datetime

from cb_trade_client.instants import to_text
from cb_trade_client.quality.codes import words_of
from cb_trade_client.quality.evidence import QualityEvidence
from cb_trade_client.quality.report import QualityFinding, QualityReport
from cb_trade_client.quality.scores import NAMES


def score_text(score: float | None) -> str:
    """Return *score* with three decimals, cut and not rounded: 1.000 is whole. A dash where there is none."""
    return "–" if score is None else f"{int(score * 1000 + 1e-9) / 1000:.3f}"


def overall_line(report: QualityReport) -> str:
    """Return how good it is as a whole, and which score says so."""
    scores = report.scores
    if scores.lowest is None:
        return "overall –: there is nothing to say"
    return f"overall {score_text(scores.overall)}, the lowest of the scores: {scores.lowest}"


def score_lines(report: QualityReport) -> Iterator[tuple[str, float | None, str]]:
    """Yield each score's name, the score, and what it is made of."""
    evidence = report.evidence
    made_of = {
        "completeness": _completeness(evidence),
        "consistency": _consistency(evidence),
        "freshness": _freshness(evidence),
        "accuracy": _accuracy(evidence),
    }
    for name in NAMES:
        yield name, getattr(report.scores, name), made_of[name]


def brief_text(moment: datetime) -> str:
    """Return *moment* where it is said elsewhere that all is UTC: `2024-01-01 00:00`, seconds where there are any."""
    return to_text(moment).removesuffix("Z").removesuffix(":00").replace("T", " ")


def number_text(value: float | None) -> str:
    """Return *value* without the last digits, in which sums of binary numbers differ from those of decimals.

    A dash where there is none.
    """
    return "–" if value is None else f"{value:,.10g}"


def factor_text(finding: QualityFinding) -> str:
    """Return how far the value is from the usual one, `×10`, where that can be told."""
    if not finding.value or not finding.usual or finding.value * finding.usual < 0:
        return ""
    return f"×{finding.value / finding.usual:,.3g}"


def _completeness(evidence: QualityEvidence) -> str:
    if not evidence.expected_bars:
        return "no bar has closed while the market was listed"
    held = f"{evidence.held_bars:,} of {evidence.expected_bars:,} bars held"
    if not evidence.holes:
        return held
    return f"{held}, {_counted(evidence.holes, 'of them was', 'of them were')} never made"


def _consistency(evidence: QualityEvidence) -> str:
    if not evidence.rows:
        return "there are no rows"
    flagged = ", ".join(f"{count:,} {words_of(code)}" for code, count in sorted(evidence.flagged.items()))
    return f"{evidence.flagged_rows:,} of {evidence.rows:,} rows flagged{': ' if flagged else ''}{flagged}"


def _freshness(evidence: QualityEvidence) -> str:
    if evidence.bars_behind is None:
        is_of_the_past = evidence.newest_end is not None
        return "only the past was asked about" if is_of_the_past else "there is no held bar to measure it by"
    until = "" if evidence.newest_end is None else f"held until {to_text(evidence.newest_end)}, "
    return f"{until}{_counted(evidence.bars_behind, 'bar', 'bars')} behind"


def _accuracy(evidence: QualityEvidence) -> str:
    if not evidence.compared_bars:
        return "there are neither trades nor shorter bars to compare with"
    differing = _counted(evidence.differing_bars, "bar differs", "bars differ")
    others = (evidence.compared_with or "").split(", ")
    makers = " and ".join("trades" if each == "trades" else f"bars of {each}" for each in others)
    return f"{differing} from what {makers} make, of {evidence.compared_bars:,} compared"


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
