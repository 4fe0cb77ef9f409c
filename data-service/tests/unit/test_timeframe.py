from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unit_builders import TIMEFRAMES, epoch_ms, instants, quick, span, utc

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import DERIVABLE, Timeframe

timeframes = st.sampled_from(TIMEFRAMES)
MILLISECOND = timedelta(milliseconds=1)


def frame(name: str) -> Timeframe:
    return Timeframe.parse(name)


def opens_from(timeframe: Timeframe, first: int, count: int) -> list[int]:
    return [epoch_ms(timeframe.opens_at(first + step)) for step in range(count)]


@pytest.mark.parametrize("timeframe", TIMEFRAMES, ids=str)
def test_a_timeframe_is_written_as_it_was_read(timeframe):
    assert Timeframe.parse(str(timeframe)) == timeframe


@pytest.mark.parametrize(
    "name",
    ["", "m", "1", "0m", "00m", "01m", "-1m", "+1m", "1 m", " 1m", "1m ", "1m\n", "1.5h", "1x", "1y", "1min", "１m"],
)
def test_what_is_no_timeframe_is_refused(name):
    with pytest.raises(ValueError, match="not a timeframe"):
        Timeframe.parse(name)


def test_a_minute_and_a_month_differ_by_case_only():
    assert frame("1m") != frame("1M")
    assert frame("1M").is_calendar
    assert not frame("1m").is_calendar


# --- The grid, by its calendar ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "instant", "open_time"),
    [
        ("1m", "2024-02-29T23:59:59.999", "2024-02-29T23:59"),
        ("5m", "2024-01-01T00:04:59.999", "2024-01-01T00:00"),
        ("5m", "2024-01-01T00:05", "2024-01-01T00:05"),
        ("1h", "2023-12-31T23:59:59.999", "2023-12-31T23:00"),
        ("4h", "2024-01-01T03:59:59.999", "2024-01-01T00:00"),
        ("1d", "2024-12-31T23:59:59.999", "2024-12-31"),
        ("3d", "1970-01-06T23:59:59.999", "1970-01-04"),
        ("1w", "2024-01-07T23:59:59.999", "2024-01-01"),  # a Sunday, and a Monday that is New Year
        ("1w", "2023-12-31T12:00", "2023-12-25"),
        ("1w", "2025-01-01", "2024-12-30"),
        ("1w", "1970-01-01", "1969-12-29"),
        ("2w", "1970-01-11T23:59", "1969-12-29"),
        ("1M", "2024-02-29T23:59:59.999", "2024-02-01"),
        ("1M", "2023-03-01", "2023-03-01"),
        ("1M", "2024-12-31T23:59:59.999", "2024-12-01"),
        ("1M", "1970-01-31", "1970-01-01"),
        ("3M", "2024-03-31T23:59:59.999", "2024-01-01"),
        ("3M", "2024-04-01", "2024-04-01"),
        ("3M", "2024-12-31", "2024-10-01"),
        ("12M", "2024-12-31T23:59:59.999", "2024-01-01"),
    ],
)
def test_a_bar_opens_where_the_calendar_says(name, instant, open_time):
    assert frame(name).floor(utc(instant)) == utc(open_time)


@pytest.mark.parametrize(
    ("name", "open_time", "end"),
    [
        ("1M", "2024-02-01", "2024-03-01"),
        ("1M", "2023-12-01", "2024-01-01"),
        ("3M", "2023-10-01", "2024-01-01"),
        ("3M", "2024-01-01", "2024-04-01"),
        ("12M", "2024-01-01", "2025-01-01"),
        ("1w", "2024-12-30", "2025-01-06"),
        ("1d", "2024-02-28", "2024-02-29"),
        ("1d", "2023-02-28", "2023-03-01"),
        ("1h", "2024-12-31T23:00", "2025-01-01"),
    ],
)
def test_a_bar_ends_where_the_next_one_opens(name, open_time, end):
    assert frame(name).bar(utc(open_time)) == TimeRange(utc(open_time), utc(end))


@pytest.mark.parametrize(
    ("name", "wanted", "bars"),
    [
        ("1m", span("2024-02-01", "2024-03-01"), 29 * 1440),
        ("1m", span("2023-02-01", "2023-03-01"), 28 * 1440),
        ("1h", span("2024-03-31", "2024-04-01"), 24),  # clocks change in Europe, not here
        ("1h", span("2024-10-27", "2024-10-28"), 24),
        ("1d", span("2024-01-01", "2025-01-01"), 366),
        ("1d", span("2023-01-01", "2024-01-01"), 365),
        ("1d", span("2100-01-01", "2101-01-01"), 365),  # no leap year
        ("1d", span("2000-01-01", "2001-01-01"), 366),
        ("1w", span("2024-01-01", "2025-01-01"), 53),  # Mondays, the first and the last day but one among them
        ("1M", span("2023-01-01", "2025-01-01"), 24),
        ("1M", span("2023-01-01T00:00:00.001", "2025-01-01T00:00:00.001"), 24),
        ("3M", span("2023-01-01", "2025-01-01"), 8),
        ("3M", span("2023-01-02", "2023-04-01"), 0),
    ],
)
def test_the_bars_of_a_range_are_those_that_open_in_it(name, wanted, bars):
    assert frame(name).bars_in(wanted) == bars


@quick()
@given(instants)
def test_weeks_open_on_mondays_at_midnight(instant):
    open_time = frame("1w").floor(instant)

    assert open_time.isoweekday() == 1
    assert (open_time.hour, open_time.minute, open_time.second, open_time.microsecond) == (0, 0, 0, 0)


@quick()
@given(instants, st.sampled_from([1, 3, 6, 12]))
def test_bars_of_months_open_on_the_first_of_every_nth_month_counted_from_january(instant, count):
    open_time = Timeframe(count, "M").floor(instant)

    assert (open_time.day, open_time.hour, open_time.minute, open_time.second, open_time.microsecond) == (1, 0, 0, 0, 0)
    assert (open_time.month - 1) % count == 0
    assert open_time.year == instant.year


# --- The grid, by its own laws ---------------------------------------------------------------------------------------


@quick(300)
@given(timeframes, instants)
def test_an_instant_lies_in_the_bar_of_its_ordinal(timeframe, instant):
    ordinal = timeframe.ordinal(instant)

    assert timeframe.opens_at(ordinal) <= instant < timeframe.opens_at(ordinal + 1)


@quick(300)
@given(timeframes, instants)
def test_an_ordinal_is_found_again_from_both_ends_of_its_bar(timeframe, instant):
    ordinal = timeframe.ordinal(instant)

    assert timeframe.ordinal(timeframe.opens_at(ordinal)) == ordinal
    assert timeframe.ordinal(timeframe.opens_at(ordinal + 1) - MILLISECOND) == ordinal
    assert timeframe.ordinal(timeframe.opens_at(ordinal + 1) - timedelta(microseconds=1)) == ordinal


@quick(200)
@given(timeframes, instants)
def test_rounding_down_and_up_meet_on_the_grid_and_are_one_bar_apart_off_it(timeframe, instant):
    floor, ceil = timeframe.floor(instant), timeframe.ceil(instant)

    if floor == instant:
        assert ceil == instant
    else:
        assert floor < instant < ceil
        assert ceil == timeframe.bar(floor).end


@quick(200)
@given(timeframes, instants)
def test_rounding_twice_changes_nothing(timeframe, instant):
    floor = timeframe.floor(instant)

    assert timeframe.floor(floor) == timeframe.ceil(floor) == floor


@quick(200)
@given(timeframes, instants, st.integers(-50, 50))
def test_advancing_goes_from_open_time_to_open_time(timeframe, instant, count):
    floor = timeframe.floor(instant)
    walked = floor
    for _ in range(abs(count)):
        walked = timeframe.bar(walked).end if count > 0 else timeframe.floor(walked - MILLISECOND)

    assert timeframe.advance(instant, count) == walked


@quick(200)
@given(timeframes, instants)
def test_no_bar_is_longer_than_the_duration_and_only_months_are_shorter(timeframe, instant):
    bar = timeframe.bar(timeframe.floor(instant))
    length, longest = bar.end - bar.start, timedelta(milliseconds=timeframe.duration_ms)

    if timeframe.is_calendar:
        assert longest * 0.9 < length <= longest
    else:
        assert length == longest


@pytest.mark.parametrize(
    ("name", "duration"),
    [
        ("1s", timedelta(seconds=1)),
        ("15m", timedelta(minutes=15)),
        ("4h", timedelta(hours=4)),
        ("3d", timedelta(days=3)),
        ("2w", timedelta(days=14)),
        ("1M", timedelta(days=31)),
        ("3M", timedelta(days=93)),
    ],
)
def test_a_duration_is_what_the_name_says_and_a_month_has_31_days(name, duration):
    assert timedelta(milliseconds=frame(name).duration_ms) == duration


def test_durations_order_timeframes():
    durations = [timeframe.duration_ms for timeframe in TIMEFRAMES]

    assert durations == sorted(set(durations))


@quick(200)
@given(timeframes, instants, st.integers(0, 40), st.integers(0, 1), st.integers(0, 1))
def test_counting_and_snapping_agree_with_walking_the_bars(timeframe, instant, count, before, after):
    start = timeframe.floor(instant) + before * MILLISECOND
    end = timeframe.advance(start, count) + after * MILLISECOND
    assume(start < end)
    opens = [
        open_time
        for open_time in (timeframe.advance(start, step) for step in range(count + 2))
        if start <= open_time < end
    ]

    wanted = TimeRange(start, end)
    snapped = timeframe.snap(wanted)

    assert timeframe.bars_in(wanted) == len(opens)
    assert snapped == (TimeRange(opens[0], timeframe.bar(opens[-1]).end) if opens else None)


# --- Closed bars -----------------------------------------------------------------------------------------------------


@quick(300)
@given(timeframes, instants, st.timedeltas(timedelta(0), timedelta(minutes=2)))
def test_a_bar_is_closed_once_it_ended_a_settle_margin_ago(timeframe, now, margin):
    closed_until = timeframe.closed_until(now, margin)
    newest = timeframe.bar(timeframe.advance(closed_until, -1))
    following = timeframe.bar(closed_until)

    assert newest.end == closed_until
    assert newest.end <= now - margin
    assert following.end > now - margin


def test_a_bar_closes_exactly_when_the_margin_has_passed():
    margin = timedelta(seconds=2)

    assert frame("1m").closed_until(utc("2024-01-01T00:01:01.999"), margin) == utc("2024-01-01T00:00")
    assert frame("1m").closed_until(utc("2024-01-01T00:01:02"), margin) == utc("2024-01-01T00:01")
    assert frame("1M").closed_until(utc("2024-03-01T00:00:01.999"), margin) == utc("2024-02-01")
    assert frame("1M").closed_until(utc("2024-03-01T00:00:02"), margin) == utc("2024-03-01")


# --- Many open times at once -----------------------------------------------------------------------------------------


@quick(200)
@given(timeframes, st.lists(instants, min_size=1, max_size=8), st.lists(st.integers(-2, 2), min_size=1, max_size=3))
def test_testing_many_times_agrees_with_testing_each(timeframe, some, shifts):
    times = [epoch_ms(timeframe.floor(instant)) + shift for instant in some for shift in shifts]
    times += [epoch_ms(instant) for instant in some]

    expected = [timeframe.floor(from_ms(time)) == from_ms(time) for time in times]

    assert timeframe.on_grid(np.array(times, dtype=np.int64)).tolist() == expected


def test_times_before_the_epoch_are_tested_as_well():
    times = np.array([epoch_ms(utc("1969-12-29")), epoch_ms(utc("1969-12-28")), epoch_ms(utc("1969-12-01"))])

    assert frame("1w").on_grid(times).tolist() == [True, False, True]
    assert frame("1M").on_grid(times).tolist() == [False, False, True]
    assert frame("3M").on_grid(np.array([epoch_ms(utc("1969-10-01"))])).tolist() == [True]


@quick(200)
@given(timeframes, instants, st.sets(st.integers(0, 20), min_size=1))
def test_consecutive_bars_form_runs_and_every_hole_parts_two(timeframe, instant, steps):
    first = timeframe.ordinal(instant)
    opens = [epoch_ms(timeframe.opens_at(first + step)) for step in sorted(steps)]

    runs = list(timeframe.runs(np.array(opens, dtype=np.int64)))

    walked = [epoch_ms(timeframe.advance(run.start, step)) for run in runs for step in range(timeframe.bars_in(run))]
    assert walked == opens
    assert all(one.end < other.start for one, other in pairwise(runs))


def test_no_open_times_form_no_run():
    assert list(frame("1m").runs(np.array([], dtype=np.int64))) == []
    assert list(frame("1M").runs(np.array([], dtype=np.int64))) == []


def test_a_run_of_months_goes_over_the_end_of_the_year_and_over_february():
    opens = np.array(opens_from(frame("1M"), frame("1M").ordinal(utc("2023-11-01")), 5))

    assert list(frame("1M").runs(opens)) == [span("2023-11-01", "2024-04-01")]


@pytest.mark.parametrize(
    ("longer", "finer", "holds"),
    [
        ("1d", "1m", True),
        ("1w", "1d", True),
        ("1w", "15m", True),
        ("1h", "1h", True),
        ("1m", "1h", False),
        ("12h", "8h", False),
        ("1w", "3d", False),
        ("2w", "1w", True),
        ("1M", "1d", False),
        ("3M", "1M", False),
    ],
)
def test_a_bar_holds_another_timeframe_where_it_is_made_of_whole_bars_of_it(longer, finer, holds):
    assert Timeframe.parse(longer).holds(Timeframe.parse(finer)) is holds


# --- What bars are made of -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longer", "finer", "is_made"),
    [
        ("4h", "1h", True), ("4h", "2h", True), ("4h", "3h", False), ("4h", "4h", False), ("1h", "4h", False),
        ("1w", "1d", True), ("1w", "4h", True), ("1w", "3d", False), ("2w", "1w", True),
        ("1M", "1d", True), ("1M", "12h", True), ("1M", "1m", True), ("1M", "1w", False), ("1M", "3d", False),
        ("3M", "1M", True), ("12M", "3M", True), ("4M", "3M", False), ("1M", "1M", False),
    ],
)  # fmt: skip
def test_bars_are_made_of_shorter_ones_that_begin_and_end_with_them(longer, finer, is_made):
    assert frame(longer).is_made_of(frame(finer)) is is_made


def test_each_length_that_can_be_derived_has_one_name_and_divides_a_day_or_is_of_the_calendar():
    day_ms = 86_400_000
    lengths = [each.duration_ms for each in DERIVABLE]

    assert lengths == sorted(set(lengths))
    assert all(day_ms % each.duration_ms == 0 for each in DERIVABLE if each.unit in "smh")
    assert [str(each) for each in DERIVABLE if each.duration_ms >= day_ms] == [
        "1d", "1w", "1M", "2M", "3M", "4M", "6M", "12M",
    ]  # fmt: skip
