"""Prices day by day, as a band from the lowest to the highest and a line of closes, with what is odd marked on it."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from cb_trade_client.instants import to_text
from cb_trade_client.quality.axes import TimeAxis, ValueAxis
from cb_trade_client.quality.codes import words_of
from cb_trade_client.quality.evidence import QualityDay
from cb_trade_client.quality.report import QualityFinding, QualityReport
from cb_trade_client.quality.words import factor_text, number_text

MOST_POINTS: Final = 700
MOST_MARKS: Final = 400

#: How each code is drawn: what is not listed is a ring.
SHAPES: Final = {
    "DATA-009": "triangle",
    "DATA-019": "square",
    "DATA-020": "dash",
    "DATA-021": "cross",
    "DATA-022": "diamond",
}
OTHER_SHAPE: Final = "ring"


@dataclass(frozen=True, slots=True)
class Point:
    """Some days with rows that follow each other; `end` is exclusive."""

    start: datetime
    end: datetime
    low: float
    high: float
    close: float


@dataclass(frozen=True, slots=True)
class FindingMark:
    """A finding in the picture; or the first of several of one code that fall on the same place."""

    x: float
    y: float
    shape: str
    title: str


@dataclass(frozen=True, slots=True)
class PriceChart:
    """The picture.

    Attributes:
        bands: A closed path for each time without a break.
        closes: A line for each of them.
        days_per_point: How many days are one point; 1 where nothing was put together.
        findings: How many the marks stand for.
    """

    values: ValueAxis
    bands: tuple[str, ...]
    closes: tuple[str, ...]
    marks: tuple[FindingMark, ...]
    days_per_point: int
    findings: int


def price_chart(report: QualityReport, axis: TimeAxis, top: float, bottom: float) -> PriceChart | None:
    """Return the prices of *report*; None where it tells of none, as without details."""
    days_per_point = -(-len(report.days) // MOST_POINTS) or 1
    runs = list(_runs(report.days, days_per_point))
    points = [point for run in runs for point in run]
    if not points:
        return None
    odd = [each.value for each in report.findings if _is_of_price(each)]
    lowest = min([*(point.low for point in points), *(value for value in odd if value > 0)])
    highest = max([*(point.high for point in points), *odd])
    values = ValueAxis.of_prices(lowest, highest, top, bottom)
    return PriceChart(
        values=values,
        bands=tuple(_band(run, axis, values) for run in runs),
        closes=tuple(_line([(point.end, point.close) for point in run], axis, values) for run in runs),
        marks=_marks(report.findings, points, axis, values),
        days_per_point=days_per_point,
        findings=len(report.findings),
    )


def _runs(days: Sequence[QualityDay], days_per_point: int) -> Iterator[list[Point]]:
    """Yield the points of each time in which all days have prices."""
    for has_prices, run in groupby(map(_point, days), lambda point: point is not None):
        if has_prices:
            points = [point for point in run if point is not None]
            parts = (points[first : first + days_per_point] for first in range(0, len(points), days_per_point))
            yield [_together(part) for part in parts]


def _point(day: QualityDay) -> Point | None:
    if day.low is None or day.high is None or day.close is None:
        return None
    return Point(day.start, day.end, day.low, day.high, day.close)


def _together(points: Sequence[Point]) -> Point:
    lows, highs = [point.low for point in points], [point.high for point in points]
    return Point(points[0].start, points[-1].end, min(lows), max(highs), points[-1].close)


def _line(places: Sequence[tuple[datetime, float]], axis: TimeAxis, values: ValueAxis) -> str:
    return " ".join(f"{axis.place(moment)},{values.place(value)}" for moment, value in places)


def _band(run: Sequence[Point], axis: TimeAxis, values: ValueAxis) -> str:
    highs = [(moment, point.high) for point in run for moment in (point.start, point.end)]
    lows = [(moment, point.low) for point in reversed(run) for moment in (point.end, point.start)]
    return _line([*highs, *lows], axis, values)


def _marks(
    findings: Sequence[QualityFinding], points: Sequence[Point], axis: TimeAxis, values: ValueAxis
) -> tuple[FindingMark, ...]:
    """Return a mark for each finding; where there are too many, one for each code and place they fall on."""
    width = (axis.right - axis.left) / MOST_MARKS * (len(SHAPES) + 1) if len(findings) > MOST_MARKS else 0.0
    places: dict[tuple[str, float], list[QualityFinding]] = {}
    for number, finding in enumerate(findings):
        place = axis.place(finding.time) // width if width else float(number)
        places.setdefault((finding.code, place), []).append(finding)
    return tuple(_mark(together, points, axis, values) for together in places.values())


def _mark(
    together: Sequence[QualityFinding], points: Sequence[Point], axis: TimeAxis, values: ValueAxis
) -> FindingMark:
    finding = together[0]
    price = finding.value if _is_of_price(finding) else _close_at(points, finding.time)
    odd = f"{' '.join(finding.columns)} {number_text(finding.value)}"
    title = f"{words_of(finding.code)}, {to_text(finding.time)}: {odd}"
    if factor := factor_text(finding):
        title += f", {factor} of the usual"
    if len(together) > 1:
        title += f"; and {len(together) - 1:,} more near it"
    shape = SHAPES.get(finding.code, OTHER_SHAPE)
    return FindingMark(axis.place(finding.time), values.place(price), shape, title)


def _is_of_price(finding: QualityFinding) -> bool:
    """Return whether the value of *finding* is a price, not a volume."""
    return finding.columns != ("volume",)


def _close_at(points: Sequence[Point], moment: datetime) -> float:
    """Return the close of the day of *moment*."""
    following = bisect_right(points, moment, key=lambda point: point.start)
    return points[max(following - 1, 0)].close
