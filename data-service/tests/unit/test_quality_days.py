"""What is known and what was found make the quality of days, however it is cut."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import bars, epoch_ms, minute_bars, minutes, quick, span, utc

from cb_trade_data.historical.quality_days import (
    Gap,
    Prices,
    days_of,
    findings_within,
    gaps_of,
    joined,
    tells_of_more,
    with_prices,
)
from cb_trade_data.historical.quality_report import shorter
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.evidence import Found, evidence_of
from cb_trade_data.quality.inspection import ODDITIES, Inspection
from cb_trade_data.quality.scores import Measures
from cb_trade_data.storage.coverage import Coverage, Segment, State

SIX_HOURS = Timeframe.parse("6h")
START = utc("2024-01-01")


def opens(number: int):
    return START + number * SIX_HOURS.duration


def inspection(rows, **flagged: list[int]) -> Inspection:
    return Inspection(rows, SIX_HOURS, {code: np.array(flagged.get(code.name, []), np.int64) for code in ODDITIES})


def held_rows(numbers: list[int]) -> Inspection:
    return inspection(bars(map(opens, numbers)))


@st.composite
def some_knowledge(draw: st.DrawFn) -> tuple[list[Segment], list[int]]:
    """Segments that tile ten days and more of bars of six hours, and the numbers of those bars that there are."""
    states = draw(
        st.lists(st.sampled_from([State.HELD, State.EMPTY, State.UNKNOWN, State.UNLISTED]), min_size=1, max_size=45)
    )
    segments = [
        Segment(TimeRange(opens(number), opens(number + 1)), state, START if state is State.EMPTY else None)
        for number, state in enumerate(states)
    ]
    held = [number for number, state in enumerate(states) if state is State.HELD]
    there = draw(st.lists(st.booleans(), min_size=len(held), max_size=len(held)))
    return segments, [number for number, is_there in zip(held, there, strict=True) if is_there]


@quick()
@given(some_knowledge())
def test_days_tell_of_every_bar_once(knowledge):
    segments, rows = knowledge
    wanted = TimeRange(START, segments[-1].range.end)

    days = days_of(wanted, segments, SIX_HOURS, evidence_of(held_rows(rows)))

    states = [segment.state for segment in segments]
    for day in days:
        numbers = [number for number in range(len(states)) if opens(number) in day.range]
        expected = [number for number in numbers if states[number] is not State.UNLISTED]
        held = [number for number in numbers if states[number] is State.HELD]
        there = [number for number in numbers if number in rows]
        assert day.measures == Measures(len(expected), len(held), Found(len(there)))
        assert day.measures.holes == len(held) - len(there)
    total = sum((day.measures for day in days), Measures())
    assert total.expected_bars == sum(state is not State.UNLISTED for state in states)
    assert total.found == Found(len(rows))


@quick()
@given(some_knowledge(), st.integers(0, 44))
def test_days_of_parts_add_up_to_those_of_the_whole(knowledge, cut):
    segments, rows = knowledge
    cut = min(cut, len(segments))
    found = held_rows(rows)

    def measures(first: int, end: int) -> Measures:
        if first == end:
            return Measures()
        part = TimeRange(opens(first), opens(end))
        evidence = evidence_of(found, part)
        return sum((day.measures for day in days_of(part, segments[first:end], SIX_HOURS, evidence)), Measures())

    assert measures(0, cut) + measures(cut, len(segments)) == measures(0, len(segments))


@quick()
@given(some_knowledge())
def test_rows_and_gaps_tile_all_time(knowledge):
    segments, rows = knowledge

    gaps = list(gaps_of(segments, held_rows(rows).rows, SIX_HOURS))

    missing = [number for number in range(len(segments)) if any(opens(number) in gap.range for gap in gaps)]
    assert sorted([*missing, *rows]) == list(range(len(segments)))
    assert sum(gap.bars for gap in gaps) == len(missing)
    assert [gap.range for gap in gaps] == sorted(gap.range for gap in gaps)


def test_what_no_segment_mentions_is_not_expected():
    """Which is how the service watches what was asked for."""
    wanted = TimeRange(START, START + timedelta(days=2))
    known = [Segment(TimeRange(opens(1), opens(3)), State.HELD), Segment(TimeRange(opens(5), opens(6)), State.FAILED)]

    days = days_of(wanted, known, SIX_HOURS, None)

    assert [day.measures for day in days] == [Measures(2, 2, None), Measures(1, 0, None)]


def empty(first: int, end: int, asks: int) -> Segment:
    return Segment(TimeRange(opens(first), opens(end)), State.EMPTY, START, asks)


def test_bars_that_are_empty_for_good_are_held_and_those_that_are_asked_for_again_are_not():
    """Nothing is missing of a quiet market once the exchange has said so three times."""
    wanted = TimeRange(START, opens(4))

    [day] = days_of(wanted, [empty(0, 3, asks=3), empty(3, 4, asks=2)], SIX_HOURS, {})

    assert (day.measures, day.measures.holes) == (Measures(4, 3), 3)


def test_bars_that_are_empty_for_good_are_gaps_of_held_time_with_a_reason_of_their_own():
    gaps = list(gaps_of([empty(0, 3, asks=3), empty(3, 4, asks=2)], held_rows([]).rows, SIX_HOURS))

    assert [(gap.bars, gap.state) for gap in gaps] == [(3, State.HELD), (1, State.EMPTY)]
    assert [gap.reason for gap in gaps] == [
        "the exchange answered three times without these bars",
        "the exchange answered without these bars; it is asked again",
    ]


def test_bars_before_the_listing_and_after_the_delisting_are_not_expected():
    wanted = TimeRange(START, START + timedelta(days=3))
    segments = [
        Segment(TimeRange(START, opens(5)), State.UNLISTED),
        Segment(TimeRange(opens(5), opens(7)), State.HELD),
        Segment(TimeRange(opens(7), opens(12)), State.DELISTED),
    ]

    [day] = days_of(wanted, segments, SIX_HOURS, {epoch_ms(utc("2024-01-02")): Found(2)})

    assert (day.range, day.measures) == (span("2024-01-02", "2024-01-03"), Measures(2, 2, Found(2)))


@pytest.mark.parametrize(
    ("wanted", "is_more"),
    [
        (span("2024-01-01", "2024-01-03"), False),
        (span("2024-01-01T12:00", "2024-01-03"), True),
        (span("2024-01-01", "2024-01-02T12:00"), True),
        (span("2023-12-31T12:00", "2024-01-03T12:00"), False),
    ],
)
def test_evidence_tells_of_more_only_where_a_day_is_cut_in_held_time(wanted, is_more):
    coverage = Coverage((Segment(span("2024-01-01", "2024-01-03"), State.HELD),))

    assert tells_of_more(wanted, coverage, SIX_HOURS) == is_more


def test_findings_of_a_part_are_those_of_the_whole_that_lie_in_it():
    """Also at its edges, where neighbours outside of it say what would be usual."""
    whole = inspection(minute_bars(range(10)), PRICE_OUTLIER=[1, 5, 8], FLAT_RUN=[4])
    part = minutes(4, 9)

    assert list(findings_within(part, whole)) == [each for each in whole.findings() if each.time in part]
    assert len(list(findings_within(part, whole))) == 3


def test_prices_of_a_day_are_what_its_rows_make():
    wanted = TimeRange(START, START + timedelta(days=2))
    rows = held_rows([0, 1, 3])
    days = days_of(wanted, [Segment(wanted, State.HELD)], SIX_HOURS, evidence_of(rows))

    first, second = with_prices(days, rows.rows, SIX_HOURS)

    low, high, close, volume = (rows.rows.column(name).to_pylist() for name in ("low", "high", "close", "volume"))
    assert first.prices == Prices(min(low), max(high), close[-1], sum(volume))
    assert second.prices is None


def test_a_gap_that_goes_on_in_the_next_part_is_one_and_others_are_not():
    def gap(first: int, end: int, state: State, reason: str = "") -> Gap:
        return Gap(TimeRange(opens(first), opens(end)), end - first, state, reason)

    told = [gap(0, 2, State.HELD), gap(2, 3, State.HELD), gap(3, 4, State.EMPTY), gap(5, 6, State.EMPTY, "else")]

    assert list(joined(told)) == [gap(0, 3, State.HELD), gap(3, 4, State.EMPTY), gap(5, 6, State.EMPTY, "else")]


@pytest.mark.parametrize(
    ("timeframe", "finer"),
    [("1m", []), ("1h", ["15m", "1m"]), ("4h", ["1h", "15m", "1m"]), ("1w", ["1d", "4h", "1h", "15m", "1m"])],
)
def test_bars_are_compared_with_the_longest_that_they_are_made_of(timeframe, finer):
    bars_of = Series("binance", "BTC/USDT", Kind.OHLCV, Timeframe.parse(timeframe))

    assert list(map(str, shorter(bars_of, ["1m", "15m", "50m", "1h", "4h", "1d", "1w", "1M"]))) == finer


def test_months_are_made_of_days_and_not_of_weeks():
    months = Series("binance", "BTC/USDT", Kind.OHLCV, Timeframe.parse("1M"))

    assert list(map(str, shorter(months, ["1h", "50m", "1d", "3d", "1w", "1M"]))) == ["1d", "1h"]
