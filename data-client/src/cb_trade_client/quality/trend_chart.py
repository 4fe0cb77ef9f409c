"""Completeness and consistency from month to month, as lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cb_trade_client.quality.axes import TimeAxis, ValueAxis
from cb_trade_client.quality.trend import Period
from cb_trade_client.quality.words import score_text

# The axis begins at the first of these that no score is below: a fall from 1 to 0.997 is to be seen, too.
_BEGINNINGS: Final = (0.99, 0.95, 0.8, 0.5, 0.0)


@dataclass(frozen=True, slots=True)
class Dot:
    """A score of one month."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One score over time."""

    name: str
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class TrendChart:
    """The picture; its axis begins at `values.low`."""

    values: ValueAxis
    lines: tuple[ScoreLine, ...]


def trend_chart(periods: Sequence[Period], axis: TimeAxis, top: float, bottom: float) -> TrendChart | None:
    """Return the lines of *periods*; None where there is no score."""
    scores = [score for each in periods for score in (each.completeness, each.consistency) if score is not None]
    if not scores:
        return None
    low = next(beginning for beginning in _BEGINNINGS if beginning <= min(scores))
    values = ValueAxis(low, 1.0, top, bottom)
    completeness = [(each, each.completeness) for each in periods]
    consistency = [(each, each.consistency) for each in periods]
    lines = (_line("completeness", completeness, axis, values), _line("consistency", consistency, axis, values))
    return TrendChart(values, lines)


def _line(name: str, scores: Sequence[tuple[Period, float | None]], axis: TimeAxis, values: ValueAxis) -> ScoreLine:
    dots = tuple(
        Dot(axis.place(period.start), values.place(score), f"{period.name}: {name} {score_text(score)}")
        for period, score in scores
        if score is not None
    )
    return ScoreLine(name, " ".join(f"{dot.x},{dot.y}" for dot in dots), dots)
