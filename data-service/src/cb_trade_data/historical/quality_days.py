"""The quality of bars day by day, of what is known of their time and was found in them. Pure: values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.historical.rebuilding import folded
from cb_trade_data.models.instants import to_ms, to_ms_ceil
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.evidence import Evidence, Found, places_of, unit_of
from cb_trade_data.quality.inspection import Finding, Inspection
from cb_trade_data.quality.scores import Measures
from cb_trade_data.storage.coverage import ABSENT, Coverage, Segment, State

_NOTHING: Final = Found()
_EMPTY_FOR_GOOD: Final = "the exchange answered three times without these bars"
_REASONS: Final[Mapping[State, str]] = {
    State.HELD: "the exchange has no bars here",
    State.EMPTY: "the exchange answered without these bars; it is asked again",
    State.UNLISTED: "before the first bar that the exchange has",
    State.DELISTED: "after the last bar that the exchange has",
    State.UNAVAILABLE: "the exchange does not serve these bars any more",
    State.FAILED: "the exchange could not be asked",
    State.UNKNOWN: "nobody asked for these bars",
}


@dataclass(frozen=True)
class Prices:
    """What the bars of a day make of it."""

    low: float
    high: float
    close: float
    volume: float


@dataclass(frozen=True)
class DayQuality:
    """A UTC day that may have bars; a UTC year where they last a day or longer.

    Attributes:
        range: The part of it that is told about.
        prices: None where it has no bars, and where nobody looked at them.
    """

    range: TimeRange
    measures: Measures
    prices: Prices | None = None


@dataclass(frozen=True)
class Gap:
    """A time without rows.

    Attributes:
        bars: How many there could be.
        state: `held` where it is known for good that none was made, also where coverage calls that `empty`.
    """

    range: TimeRange
    bars: int
    state: State
    reason: str

    def joins(self, later: Gap) -> bool:
        """Tell whether *later* continues it for the same reason."""
        return self.range.end == later.range.start and (self.state, self.reason) == (later.state, later.reason)


def days_of(
    wanted: TimeRange, segments: Iterable[Segment], grid: Timeframe, evidence: Evidence | None
) -> list[DayQuality]:
    """Return the quality of each day of *wanted*, oldest first; days that may have no bars are left out.

    Args:
        segments: What is known of *wanted*, oldest first and disjoint. What none of them mentions is not expected.
        evidence: Of the rows in *wanted*; None where nobody has looked.
    """
    unit = unit_of(grid)
    expected, held = Counter[int](), Counter[int]()
    for segment in segments:
        if segment.state in ABSENT:
            continue
        for part in _by_unit(segment.range, unit):
            unit_ms, bars = to_ms(unit.floor(part.start)), grid.bars_in(part)
            expected[unit_ms] += bars
            held[unit_ms] += bars if segment.is_final else 0
    return [
        DayQuality(
            part,
            Measures(expected[unit_ms], held[unit_ms], None if evidence is None else evidence.get(unit_ms, _NOTHING)),
        )
        for part in _by_unit(wanted, unit)
        if expected[unit_ms := to_ms(unit.floor(part.start))]
    ]


def tells_of_more(wanted: TimeRange, coverage: Coverage, grid: Timeframe) -> bool:
    """Tell whether evidence by the day may count rows outside *wanted*, which begins or ends within such a day."""
    unit = unit_of(grid)
    around = TimeRange(unit.floor(wanted.start), unit.ceil(wanted.end))
    edges = [(around.start, wanted.start), (wanted.end, around.end)]
    return any(
        segment.state is State.HELD
        for start, end in edges
        if start < end
        for segment in coverage.within(TimeRange(start, end))
    )


def findings_within(wanted: TimeRange, inspection: Inspection) -> Iterator[Finding]:
    """Yield what is odd in the rows of *wanted*, oldest first, as their neighbours, around it as well, decided."""
    first, end = places_of(wanted, inspection.rows)
    flagged = {code: numbers[(numbers >= first) & (numbers < end)] for code, numbers in inspection.flagged.items()}
    return replace(inspection, flagged=flagged).findings()


def with_prices(days: Iterable[DayQuality], rows: pa.Table, grid: Timeframe) -> list[DayQuality]:
    """Return *days* with the prices that their *rows* make."""
    unit = unit_of(grid)
    bars = folded(rows, unit)
    columns = [bars.column(name).to_pylist() for name in ("low", "high", "close", "volume")]
    values = zip(*columns, strict=True)
    prices = {unit_ms: Prices(*each) for unit_ms, each in zip(timestamps_ms(bars).tolist(), values, strict=True)}
    return [replace(day, prices=prices.get(to_ms(unit.floor(day.range.start)))) for day in days]


def gaps_of(segments: Iterable[Segment], rows: pa.Table, grid: Timeframe) -> Iterator[Gap]:
    """Yield all times without *rows*, oldest first.

    Args:
        segments: What is known of some time: they tile it, oldest first.
    """
    times_ms = timestamps_ms(rows)
    for segment in segments:
        if segment.state is State.HELD:
            for hole in _holes(segment.range, times_ms, grid):
                yield Gap(hole, grid.bars_in(hole), State.HELD, _REASONS[State.HELD])
        elif not (bars := grid.bars_in(segment.range)):
            continue
        elif segment.state is State.EMPTY and segment.is_final:
            yield Gap(segment.range, bars, State.HELD, _EMPTY_FOR_GOOD)
        else:
            yield Gap(segment.range, bars, segment.state, segment.reason or _REASONS[segment.state])


def joined(gaps: Iterable[Gap]) -> Iterator[Gap]:
    """Yield *gaps*, in order, with neighbours that are one made one: parts of it lay in several partitions."""
    current: Gap | None = None
    for gap in gaps:
        if current is not None and current.joins(gap):
            current = replace(
                current, range=TimeRange(current.range.start, gap.range.end), bars=current.bars + gap.bars
            )
            continue
        if current is not None:
            yield current
        current = gap
    if current is not None:
        yield current


def _holes(held: TimeRange, times_ms: npt.NDArray[np.int64], grid: Timeframe) -> Iterator[TimeRange]:
    first, end = np.searchsorted(times_ms, [to_ms_ceil(held.start), to_ms_ceil(held.end)]).tolist()
    cursor = grid.ceil(held.start)
    for run in grid.runs(times_ms[first:end]):
        if cursor < run.start:
            yield TimeRange(cursor, run.start)
        cursor = run.end
    if cursor < held.end:
        yield TimeRange(cursor, held.end)


def _by_unit(wanted: TimeRange, unit: Timeframe) -> Iterator[TimeRange]:
    """Yield the part of *wanted* in each unit of time that it touches, oldest first."""
    start = wanted.start
    while start < wanted.end:
        end = min(unit.advance(start, 1), wanted.end)
        yield TimeRange(start, end)
        start = end
