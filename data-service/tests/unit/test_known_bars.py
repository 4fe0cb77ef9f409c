from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick, span, utc

from cb_trade_data.historical.views.known_bars import KnownBars
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State, joined

FOUR_HOURS = Timeframe.parse("4h")
#: States, and how often there was an empty answer.
WORST_FIRST = (
    (State.FAILED, 0),
    (State.UNAVAILABLE, 0),
    (State.EMPTY, 1),
    (State.UNKNOWN, 0),
    (State.HELD, 0),
    (State.EMPTY, 3),
    (State.UNLISTED, 0),
    (State.DELISTED, 0),
)


def known(*segments: Segment, timeframe: Timeframe = FOUR_HOURS, start: str = "2024-01-01") -> list[Segment]:
    return list(joined(KnownBars(timeframe, utc(start)).add(segments)))


def test_what_is_known_of_whole_bars_is_told_as_it_is():
    failed = Segment(span("2024-01-01", "2024-01-03"), State.FAILED, utc("2024-02-01"), reason="HTTP 503")

    assert known(failed) == [failed]


def test_one_hour_that_failed_is_told_of_its_whole_bar_with_its_facts():
    failed = Segment(span("2024-01-01T05:00", "2024-01-01T06:00"), State.FAILED, utc("2024-02-01"), reason="HTTP 503")

    assert known(
        Segment(span("2024-01-01", "2024-01-01T05:00"), State.HELD),
        failed,
        Segment(span("2024-01-01T06:00", "2024-01-02"), State.HELD),
    ) == [
        Segment(span("2024-01-01", "2024-01-01T04:00"), State.HELD),
        Segment(span("2024-01-01T04:00", "2024-01-01T08:00"), State.FAILED, utc("2024-02-01"), reason="HTTP 503"),
        Segment(span("2024-01-01T08:00", "2024-01-02"), State.HELD),
    ]


def test_the_bar_in_which_a_market_was_listed_is_held_as_the_exchanges_own_first_bar_is():
    assert known(
        Segment(span("2024-01-01", "2024-01-01T05:00"), State.UNLISTED),
        Segment(span("2024-01-01T05:00", "2024-01-01T12:00"), State.HELD),
    ) == [
        Segment(span("2024-01-01", "2024-01-01T04:00"), State.UNLISTED),
        Segment(span("2024-01-01T04:00", "2024-01-01T12:00"), State.HELD),
    ]


def test_the_bar_in_which_a_market_ended_is_held():
    assert known(
        Segment(span("2024-01-01", "2024-01-01T05:00"), State.HELD),
        Segment(span("2024-01-01T05:00", "2024-01-01T12:00"), State.DELISTED),
    ) == [
        Segment(span("2024-01-01", "2024-01-01T08:00"), State.HELD),
        Segment(span("2024-01-01T08:00", "2024-01-01T12:00"), State.DELISTED),
    ]


def test_a_bar_with_an_hour_that_is_empty_for_good_is_held_and_one_that_is_so_altogether_is_empty():
    empty = Segment(span("2024-01-01T03:00", "2024-01-01T08:00"), State.EMPTY, utc("2024-02-01"), asks=3)

    assert known(
        Segment(span("2024-01-01", "2024-01-01T03:00"), State.HELD),
        empty,
        Segment(span("2024-01-01T08:00", "2024-01-01T12:00"), State.HELD),
    ) == [
        Segment(span("2024-01-01", "2024-01-01T04:00"), State.HELD),
        replace(empty, range=span("2024-01-01T04:00", "2024-01-01T08:00")),
        Segment(span("2024-01-01T08:00", "2024-01-01T12:00"), State.HELD),
    ]


def test_time_that_nothing_was_said_of_makes_its_bars_unknown():
    assert known(
        Segment(span("2024-01-01T01:00", "2024-01-01T06:00"), State.HELD),
        Segment(span("2024-01-01T08:00", "2024-01-01T12:00"), State.HELD),
    ) == [
        Segment(span("2024-01-01", "2024-01-01T08:00"), State.UNKNOWN),
        Segment(span("2024-01-01T08:00", "2024-01-01T12:00"), State.HELD),
    ]


def test_a_bar_that_is_not_known_to_its_end_is_not_told():
    assert known(Segment(span("2024-01-01", "2024-01-01T05:00"), State.HELD)) == [
        Segment(span("2024-01-01", "2024-01-01T04:00"), State.HELD)
    ]


@pytest.mark.parametrize(
    ("timeframe", "start", "bar"),
    [
        ("1w", "2024-12-23", span("2024-12-30", "2025-01-06")),
        ("1M", "2024-12-01", span("2024-12-01", "2025-01-01")),
        ("1M", "2024-02-01", span("2024-02-01", "2024-03-01")),
        ("3M", "2023-10-01", span("2023-10-01", "2024-01-01")),
    ],
)
def test_weeks_and_months_are_those_of_the_calendar(timeframe, start, bar):
    last_day = TimeRange(bar.end - timedelta(days=1), bar.end)

    told = known(
        Segment(TimeRange(utc(start), last_day.start), State.HELD),
        Segment(last_day, State.EMPTY, utc("2025-02-01"), asks=1),
        timeframe=Timeframe.parse(timeframe),
        start=start,
    )

    assert told[-1] == Segment(bar, State.EMPTY, utc("2025-02-01"), asks=1)


@quick(200)
@given(st.lists(st.tuples(st.sampled_from(WORST_FIRST), st.integers(1, 30), st.integers(0, 3)), max_size=20))
def test_a_bar_is_in_the_worst_state_that_any_of_its_time_is_in(parts):
    """Held against a list of every hour by itself."""
    hour, start = timedelta(hours=1), utc("2024-01-01")
    hours: list[tuple[State, int]] = []
    segments = []
    for (state, asks), length, gap in parts:
        hours += [(State.UNKNOWN, 0)] * gap
        part = TimeRange(start + len(hours) * hour, start + (len(hours) + length) * hour)
        segments.append(Segment(part, state, utc("2024-02-01") if asks else None, asks))
        hours += [(state, asks)] * length

    told = list(joined(KnownBars(FOUR_HOURS, start).add(segments)))

    expected = [min(hours[first : first + 4], key=WORST_FIRST.index) for first in range(0, len(hours) - 3, 4)]
    found = [(segment.state, segment.asks) for segment in told for _ in range(FOUR_HOURS.bars_in(segment.range))]
    assert found == expected
