from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import MINUTE, assert_same_rows, epoch_ms, minute, minute_numbers, minutes, quick, span, utc

from cb_trade_data.exchange_source.facts import Bounds, ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical import validation
from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.validation import CheckedPage, check_page, settle
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State

NAN = math.nan
WINDOW = minutes(0, 10)
#: Long after the window: its holes are old.
LATER = minute(0) + timedelta(days=30)
GOOD = (10.0, 12.0, 9.0, 11.0, 5.0)
OTHER = (10.0, 12.5, 9.0, 11.0, 6.0)


def page(*rows: tuple[float, ...] | float) -> Page:
    """Return an answer with these rows: a minute number, or one with other numbers than usual behind it."""
    return page_at(
        *((epoch_ms(minute(row[0])), *row[1:]) if isinstance(row, tuple) else epoch_ms(minute(row)) for row in rows)
    )


def page_at(*rows: tuple[float, ...] | int) -> Page:
    """Return an answer with rows at these epoch milliseconds."""
    complete = [row if isinstance(row, tuple) else (row, *GOOD) for row in rows]
    columns = list(zip(*complete, strict=True)) or [()] * 6
    times = pa.array(columns[0], pa.int64()).cast(TIMESTAMP)
    arrays = [times, *(pa.array(column, pa.float64()) for column in columns[1:])]
    return Page(pa.table(arrays, names=OHLCV_SCHEMA.names))


#: Asked for a window's start and a number of bars, or for its end, too, or always the newest it has.
GENERIC = ExchangeFacts("generic", ("1m",), 10)
BOUNDED = ExchangeFacts("bounded", ("1m",), 10, bounds=Bounds("start", "end"))
NEWEST = ExchangeFacts("newest", ("1m",), 10, bounds=Bounds("since", None), history_bars=10)


def check(
    answer: Page,
    window: TimeRange = WINDOW,
    grid: Timeframe = MINUTE,
    exchange: ExchangeFacts = GENERIC,
    now: datetime = LATER,
) -> CheckedPage:
    return check_page(answer, window, grid, exchange, now)


def opens(rows: pa.Table) -> list[float]:
    """Return the minute number of each row."""
    return [(time - epoch_ms(minute(0))) / 60_000 for time in timestamps_ms(rows).tolist()]


def learned(
    answer: Page,
    wanted: list[TimeRange] | None = None,
    now: datetime = LATER,
    exchange: ExchangeFacts = GENERIC,
) -> dict[State, list[int]]:
    """Return which minutes have become what."""
    change = settle(check(answer, exchange=exchange, now=now), [WINDOW] if wanted is None else wanted, MINUTE, now)
    states = {segment.state for segment in change.segments}
    return {
        state: sorted(minute_numbers(segment.range for segment in change.segments if segment.state is state))
        for state in states
    }


FROM_START = ExchangeFacts("from-start", ("1m",), 10, bounds=Bounds("since", None))
WINDOWS_ONLY = ExchangeFacts("windows-only", ("1m",), 10, bounds=Bounds("start", "end"), windows_only=True)


@pytest.mark.parametrize("exchange", [GENERIC, BOUNDED, FROM_START, WINDOWS_ONLY, NEWEST], ids=lambda each: each.id)
@pytest.mark.parametrize(
    ("timeframe", "window"),
    [
        ("1m", WINDOW),
        ("1m", minutes(3, 4)),
        ("1w", span("2024-01-01", "2024-03-11")),
        ("1M", span("2024-01-01", "2024-11-01")),
    ],
)
@pytest.mark.parametrize("late", [timedelta(0), timedelta(milliseconds=-1), timedelta(days=400)])
def test_a_page_of_every_bar_is_taken_for_what_a_look_at_each_row_makes_of_it(
    exchange, timeframe, window, late, monkeypatch
):
    grid = Timeframe.parse(timeframe)
    answer = Page(page_at(*grid.opens_in(window).tolist()).rows.cast(OHLCV_SCHEMA))
    now = window.end + exchange.settle_margin + late

    at_once = check(answer, window, grid, exchange, now)
    monkeypatch.setattr(validation, "_is_flawless", lambda *_: False)

    assert at_once == check(answer, window, grid, exchange, now)


@pytest.mark.parametrize("time_ms", [2**63 - 1, -(2**63), epoch_ms(minute(3)) + 30_000 - 2**63])
def test_a_time_beyond_all_times_hides_no_disorder(time_ms):
    times = [*(epoch_ms(minute(number)) for number in (0, 1, 2, 4)), time_ms, *map(epoch_ms, map(minute, (3, 5)))]

    checked = check(page_at(*times))

    assert opens(checked.rows) == [0, 1, 2, 3, 4, 5]
    assert checked.findings[Finding.UNSORTED] > 0
    assert checked.findings[Finding.BAD_TIMESTAMP] == 1


# --- Rows ------------------------------------------------------------------------------------------------------------


def test_a_good_page_passes_whole():
    checked = check(page(*range(10)))

    assert opens(checked.rows) == list(range(10))
    assert checked.rows.schema.equals(OHLCV_SCHEMA)
    assert (checked.answered, checked.rejected, checked.findings) == (WINDOW, (), {})


def test_numbers_pass_unchanged():
    extreme = (5e-324, 1.7976931348623157e308, 0.0, 0.1, 0.30000000000000004)

    rows = check(page((0, *extreme))).rows

    assert [rows.column(name)[0].as_py() for name in OHLCV_SCHEMA.names[1:]] == list(extreme)


def test_a_bar_in_which_nothing_was_traded_passes():
    assert opens(check(page((0, 7.0, 7.0, 7.0, 7.0, 0.0))).rows) == [0]


def test_rows_out_of_order_are_sorted_and_found():
    checked = check(page(3, 1, 2))

    assert opens(checked.rows) == [1, 2, 3]
    assert checked.findings == {Finding.UNSORTED: 1}


def test_a_page_from_newest_to_oldest_is_sorted_with_its_numbers():
    checked = check(page((1, *OTHER), (0, *GOOD)))

    assert opens(checked.rows) == [0, 1]
    assert checked.rows.column("volume").to_pylist() == [5.0, 6.0]
    assert checked.findings == {}  # some exchanges always answer so


@pytest.mark.parametrize("place", [0.5, 1 / 60_000, 9.999])
def test_a_row_off_the_grid_is_dropped_and_found(place):
    checked = check(page(2, place))

    assert opens(checked.rows) == [2]
    assert checked.findings[Finding.OFF_GRID] == 1


@pytest.mark.parametrize("ms_per_unit", [1000, 1 / 1000, 1 / 1_000_000])
def test_a_time_in_another_unit_is_told_apart_from_one_off_the_grid(ms_per_unit):
    """In seconds some even hit the grid. A bar that is missing may be any of those, so nothing is absent."""
    times = [int(epoch_ms(minute(place)) / ms_per_unit) for place in (1, 2, 3)]

    checked = check(page_at(epoch_ms(minute(0)), *times))

    assert opens(checked.rows) == [0]
    assert checked.findings[Finding.BAD_TIMESTAMP] == 3
    assert Finding.OFF_GRID not in checked.findings
    assert not checked.silence_counts


def test_a_page_all_in_another_unit_speaks_for_nothing():
    checked = check(page_at(*(epoch_ms(minute(place)) * 1000 for place in range(10))))

    assert (checked.rows.num_rows, checked.answered) == (0, None)


def test_a_missing_time_is_a_bad_one():
    times = pa.array([epoch_ms(minute(0)), None], pa.int64()).cast(TIMESTAMP)
    numbers = [pa.array([number] * 2) for number in GOOD]

    checked = check(Page(pa.table([times, *numbers], names=OHLCV_SCHEMA.names)))

    assert opens(checked.rows) == [0]
    assert checked.findings == {Finding.BAD_TIMESTAMP: 1}


def test_a_bar_from_before_anything_was_traded_is_good_where_it_was_asked_for():
    early = span("1970-01-01", "1970-01-02")

    assert check(page_at(0), early).rows.num_rows == 1


def test_the_grid_is_that_of_the_calendar():
    months = span("2024-01-01", "2024-04-01")
    answer = page_at(*(epoch_ms(utc(text)) for text in ("2024-01-01", "2024-01-31", "2024-02-01", "2024-03-01")))

    checked = check(answer, months, Timeframe.parse("1M"), now=utc("2024-05-01"))

    assert checked.rows.num_rows == 3
    assert checked.findings == {Finding.OFF_GRID: 1}


def test_a_row_outside_the_window_is_dropped_and_found():
    """The end is exclusive; venues whose ends are inclusive send one bar more."""
    checked = check(page(-1, 0, 9, 10, 11))

    assert opens(checked.rows) == [0, 9]
    assert checked.findings == {Finding.OUTSIDE: 3}


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("column", range(5))
def test_a_row_with_a_number_that_is_none_is_rejected(column, value):
    bad = tuple(value if index == column else number for index, number in enumerate(GOOD))

    checked = check(page(0, (1, *bad), 2))

    assert opens(checked.rows) == [0, 2]
    assert checked.findings == {Finding.NOT_A_NUMBER: 1}
    assert checked.rejected == (minutes(1, 2),)


@pytest.mark.parametrize(
    "numbers",
    [
        (10.0, 9.0, 8.0, 9.0, 1.0),  # open above high
        (10.0, 11.0, 9.0, 12.0, 1.0),  # close above high
        (8.0, 11.0, 9.0, 10.0, 1.0),  # open below low
        (10.0, 11.0, 9.0, 8.0, 1.0),  # close below low
        (10.0, 9.0, 11.0, 10.0, 1.0),  # low above high
    ],
)
def test_a_bar_that_contradicts_itself_is_rejected(numbers):
    checked = check(page(0, (1, *numbers), 2))

    assert opens(checked.rows) == [0, 2]
    assert checked.findings == {Finding.IMPOSSIBLE: 1}
    assert checked.rejected == (minutes(1, 2),)


@pytest.mark.parametrize("column", range(5))
def test_a_bar_with_a_negative_number_is_rejected_as_that(column):
    bad = tuple(-1.0 if index == column else number for index, number in enumerate(GOOD))

    checked = check(page(0, (1, *bad), 2))

    assert opens(checked.rows) == [0, 2]
    assert checked.findings == {Finding.NEGATIVE: 1}
    assert checked.rejected == (minutes(1, 2),)


def test_the_same_row_twice_is_kept_once():
    checked = check(page(0, 1, 1, 2))

    assert opens(checked.rows) == [0, 1, 2]
    assert checked.findings == {Finding.DUPLICATE: 1}
    assert checked.rejected == ()


def test_rows_that_contradict_each_other_are_all_rejected():
    """Which of them is true cannot be known."""
    checked = check(page(0, (1, *GOOD), (1, *OTHER), 2))

    assert opens(checked.rows) == [0, 2]
    assert checked.findings == {Finding.CONFLICT: 2}
    assert checked.rejected == (minutes(1, 2),)


@pytest.mark.parametrize("column", range(5))
def test_a_difference_in_any_number_is_a_contradiction(column):
    other = tuple(number + (0.25 if index == column else 0) for index, number in enumerate(GOOD))

    assert check(page((1, *GOOD), (1, *other))).findings == {Finding.CONFLICT: 2}


def test_each_row_of_a_contradiction_is_counted_once_also_where_two_of_them_agree():
    checked = check(page((1, *GOOD), (1, *GOOD), (1, *OTHER), 2, 2))

    assert checked.findings == {Finding.CONFLICT: 3, Finding.DUPLICATE: 1}


def test_a_contradiction_is_found_whatever_stands_between():
    assert opens(check(page((1, *GOOD), (1, *GOOD), (1, *OTHER))).rows) == []
    assert opens(check(page((1, *GOOD), (1, *OTHER), (1, *GOOD))).rows) == []
    assert opens(check(page((1, *GOOD), 0, (1, *OTHER), 2)).rows) == [0, 2]


def test_a_good_row_stands_beside_a_bad_one_of_equal_time():
    checked = check(page((1, *GOOD), (1, NAN, NAN, NAN, NAN, NAN)))

    assert opens(checked.rows) == [1]
    assert checked.rejected == ()


def test_consecutive_rejected_bars_are_one_range():
    bad = (1.0, 0.0, 0.0, 1.0, 1.0)

    assert check(page(0, (1, *bad), (2, *bad), 3, (4, *bad))).rejected == (minutes(1, 3), minutes(4, 5))


def test_a_row_with_several_defects_counts_for_the_first_of_them():
    """Off the grid or outside, its numbers do not matter."""
    checked = check(page(1, (0.5, NAN, 1, 1, 1, 1), (11, 1, 0, 0, 1, -1)))

    assert checked.findings == {Finding.OFF_GRID: 1, Finding.OUTSIDE: 1, Finding.UNSORTED: 1}
    assert checked.rejected == (minutes(0, 1),)


# --- What an answer speaks for ---------------------------------------------------------------------------------------


def test_an_empty_answer_speaks_for_the_whole_window():
    assert check(page()).answered == WINDOW


def test_an_answer_that_is_not_full_speaks_for_the_whole_window():
    assert check(page(0, 1, 2)).answered == WINDOW
    assert check(page(4)).answered == WINDOW


def test_a_full_page_that_a_duplicate_cut_does_not_speak_for_the_bar_pushed_out():
    answer = page(0, 1, 2, 3, 3, 4, 5, 6, 7, 8)

    assert check(answer).answered == minutes(0, 9)
    assert learned(answer) == {State.HELD: list(range(9))}


def test_a_full_page_that_stray_rows_cut_speaks_only_as_far_as_it_reaches():
    assert check(page(-3, -2, -1, 0, 1, 2, 3, 4, 5, 6)).answered == minutes(0, 7)


def test_where_no_row_pushes_another_one_out_a_page_speaks_for_its_window_whatever_comes_along():
    assert check(page(-1, *range(9)), exchange=replace(BOUNDED, windows_only=True)).answered == WINDOW
    assert check(page(-1, *range(9)), exchange=BOUNDED).answered == minutes(0, 9)


def test_a_page_with_more_rows_than_asked_for_speaks_only_as_far_as_it_reaches():
    assert check(page(*range(-8, 4))).answered == minutes(0, 4)


def test_a_full_page_reaches_as_far_as_its_newest_row_in_whatever_order():
    assert check(page(8, 7, 6, 5, 4, 3, 2, 1, 0, 0)).answered == minutes(0, 9)


def test_a_page_that_reaches_past_the_window_speaks_for_no_more_than_the_window():
    assert check(page(*range(1, 11))).answered == WINDOW


def test_a_full_page_of_which_rows_are_unusable_speaks_only_as_far_as_it_reaches():
    assert check(page(0, 1, 2, *[2.5] * 7)).answered == minutes(0, 3)


@pytest.mark.parametrize("numbers", [[-1], [-3, -2, -1], list(range(-10, 0)), list(range(-30, -10))])
def test_a_page_with_only_rows_from_before_the_window_speaks_for_nothing(numbers):
    answer = page(*numbers)

    assert check(answer).answered is None
    assert learned(answer) == {}


@pytest.mark.parametrize("numbers", [[10], [50, 51], list(range(10, 20))])
def test_a_page_with_rows_from_after_the_window_and_none_in_it_is_evidence_of_absence(numbers):
    """Before listing, and in an outage, venues go on with the next bar they have."""
    answer = page(*numbers)

    assert check(answer).answered == WINDOW
    assert learned(answer) == {State.EMPTY: list(range(10))}


@pytest.mark.parametrize("answer", [page(0.5), page(0.5, 1.5), page(*[3.5] * 10)])
def test_a_page_without_one_usable_time_speaks_for_nothing(answer):
    assert check(answer).answered is None


@pytest.mark.parametrize("rows", [1, 9, 10, 15])
@pytest.mark.parametrize("factor", [1_000, 1_000_000])
def test_a_page_whose_times_are_in_another_unit_is_no_evidence_of_absence(rows, factor):
    """Microseconds for milliseconds: the year 56000, and no reason to believe that the window is empty, or to fall."""
    answer = page_at(*(epoch_ms(minute(number)) * factor for number in range(rows)))

    checked = check(answer)

    assert checked.rows.num_rows == 0
    assert checked.answered is None


def test_a_page_whose_times_are_seconds_speaks_for_nothing():
    assert check(page_at(*(epoch_ms(minute(number)) // 1000 for number in range(10)))).answered is None


# An exchange that ends its answer where the window ends.


def test_a_full_page_speaks_for_what_lies_between_its_first_row_and_its_last_one():
    """A duplicate pushes out the newest bar where answers begin with the oldest one, else the oldest."""
    assert check(page(0, 0, 1, 2, 3, 4, 5, 6, 7, 8), exchange=BOUNDED).answered == minutes(0, 9)
    assert check(page(9, 8, 7, 6, 5, 4, 3, 2, 1, 1), exchange=BOUNDED).answered == minutes(1, 10)
    assert check(page(2, 3, 3, 3, 3, 3, 3, 3, 4, 5), exchange=BOUNDED).answered == minutes(2, 6)


def test_a_page_that_is_not_full_speaks_for_the_whole_window_wherever_it_begins():
    assert check(page(3, 4), exchange=BOUNDED).answered == WINDOW
    assert check(page(), exchange=BOUNDED).answered == WINDOW


@pytest.mark.parametrize("numbers", [[10], [50, 51], [-1, 10], list(range(10, 20)), list(range(10, 40))])
def test_rows_from_after_a_window_that_has_an_end_answer_another_question(numbers):
    assert check(page(*numbers), exchange=BOUNDED).answered is None


def test_rows_from_elsewhere_prove_nothing_about_a_window_that_has_an_end():
    assert check(page(-1, 1, 2, 3, 4, 5, 6, 7, 8, 10), exchange=BOUNDED).answered == minutes(1, 9)


# One that goes on after the window's end.


def test_a_full_page_that_goes_on_after_the_window_speaks_for_all_of_it():
    assert check(page(*range(4, 14))).answered == WINDOW
    assert check(page(*range(30, 40))).answered == WINDOW


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([0, 1, 2, 3, 3, 5, 6, 7, 11, 12], id="a duplicate"),
        pytest.param([*range(8), 11, 12, 13], id="more rows than asked for"),
        pytest.param([30, *range(8), 11], id="a row out of order"),
        pytest.param([*range(8), 11, 11.5], id="a row between two bars"),
    ],
)
def test_rows_from_after_the_window_prove_nothing_where_a_row_may_have_pushed_another_out(numbers):
    assert check(page(*numbers)).answered == minutes(0, 8)


@pytest.mark.parametrize("now", [minute(14), minute(14.5)])
def test_a_full_page_that_ends_at_the_present_may_have_left_out_what_came_before_it(now):
    """So does the answer of an exchange that ignores the start and sends its newest bars."""
    assert check(page(*range(4, 14)), now=now).answered == minutes(4, 10)
    assert check(page(*range(12, 14)), window=minutes(8, 10), now=now).answered is None


# One that always sends its newest bars.


def test_the_newest_bars_speak_for_all_since_the_window_began_where_there_was_room_for_more():
    assert check(page(7, 8, 9, 10), exchange=NEWEST).answered == WINDOW
    assert check(page(20, 21), exchange=NEWEST).answered == WINDOW
    assert check(page(), exchange=NEWEST).answered == WINDOW
    assert check(page(7, 8), exchange=NEWEST).served_from is None


def test_a_full_answer_of_the_newest_bars_speaks_from_its_oldest_row_on_and_shows_what_is_still_served():
    checked = check(page(*range(4, 14)), exchange=NEWEST)

    assert (checked.answered, checked.served_from) == (minutes(4, 10), minute(4))
    assert check(page(*range(20, 30)), exchange=NEWEST).answered is None
    assert check(page(*range(20, 30)), exchange=NEWEST).served_from == minute(20)


def test_rows_from_before_the_window_tell_that_none_of_its_bars_was_left_out_where_they_are_always_sent():
    ignoring = replace(NEWEST, bounds=None)

    assert check(page(*range(-6, -1), *range(2, 7)), exchange=ignoring).answered == WINDOW
    assert check(page(*range(-6, -1), *range(2, 7)), exchange=NEWEST).answered == minutes(2, 10)
    assert check(page(-900, *range(3, 12)), exchange=NEWEST).answered == minutes(3, 10)


def test_a_duplicate_among_the_newest_bars_shows_nothing_of_what_is_still_served():
    """It pushed the oldest one out."""
    assert check(page(*range(5, 14), 13), exchange=NEWEST).served_from is None


# --- What becomes known ----------------------------------------------------------------------------------------------


def test_the_bars_of_an_answer_are_held():
    change = settle(check(page(*range(10))), [WINDOW], MINUTE, LATER)

    assert opens(change.rows) == list(range(10))
    assert change.segments == (Segment(WINDOW, State.HELD),)


def test_an_old_hole_in_an_answered_page_is_genuine():
    assert learned(page(0, 1, 5, 9)) == {State.HELD: list(range(10))}


def test_a_young_hole_is_only_empty_so_far():
    assert learned(page(0, 1, 5, 9), now=minute(20)) == {State.HELD: [0, 1, 5, 9], State.EMPTY: [2, 3, 4, 6, 7, 8]}


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=59)])
def test_a_hole_is_old_once_it_lies_a_day_back(late):
    now = minute(4) + timedelta(days=1) + late

    assert learned(page(0, 9), now=now) == {State.HELD: [0, 1, 2, 3, 9], State.EMPTY: [4, 5, 6, 7, 8]}


def test_an_empty_answer_is_dated_evidence_however_old_the_bars():
    change = settle(check(page()), [WINDOW], MINUTE, LATER)

    assert change.rows.num_rows == 0
    assert change.segments == (Segment(WINDOW, State.EMPTY, LATER, asks=1),)


def test_a_young_hole_carries_when_it_was_asked_for():
    change = settle(check(page(0)), [minutes(0, 2)], MINUTE, minute(20))

    assert set(change.segments) == {
        Segment(minutes(0, 1), State.HELD),
        Segment(minutes(1, 2), State.EMPTY, minute(20), asks=1),
    }


@pytest.mark.parametrize("now", [minute(20), LATER])
@pytest.mark.parametrize("others", [[], [0, 2]])
def test_a_rejected_bar_has_failed_it_is_never_empty(others, now):
    """That something came for it proves that it exists."""
    states = learned(page(*others, (1, NAN, 1, 1, 1, 1)), now=now)

    assert states[State.FAILED] == [1]
    assert 1 not in states.get(State.EMPTY, []) + states.get(State.HELD, [])


def test_a_rejected_bar_says_when_and_why():
    change = settle(check(page(0, (1, NAN, 1, 1, 1, 1))), [minutes(0, 2)], MINUTE, LATER)

    assert Segment(minutes(1, 2), State.FAILED, LATER, reason="the exchange sent unusable rows") in change.segments


def test_a_page_of_which_every_row_was_rejected_is_not_empty():
    bad = [(number, NAN, 1, 1, 1, 1) for number in range(10)]

    assert learned(page(*bad)) == {State.FAILED: list(range(10))}


@pytest.mark.parametrize(
    ("answer", "lead"),
    [
        pytest.param(page(3, 4, 7), minutes(0, 3), id="up to the first bar"),
        pytest.param(page(7, 4, 3), minutes(0, 3), id="whatever the order"),
        pytest.param(page((3, NAN, 1, 1, 1, 1), 4), minutes(0, 3), id="up to a bar of which no usable row came"),
        pytest.param(page(2.5, 4), minutes(0, 2), id="up to a bar within which a row lies"),
        pytest.param(page(), WINDOW, id="all of it where nothing came"),
        pytest.param(page(0, 5), None, id="none where the first bar came"),
        pytest.param(page(3, 60 * 24 * 365), None, id="none where a row came that may be of any bar"),
        pytest.param(page(3.0, *[4] * 9), None, id="none where a full answer may have been cut"),
    ],
)
def test_what_an_answer_leaves_out_before_its_first_bar(answer, lead):
    assert check(answer, exchange=BOUNDED).lead == lead


def test_an_exchange_that_nobody_has_proven_leaves_nothing_out_before_its_first_bar():
    assert check(page(3, 4), exchange=replace(GENERIC, is_proven=False)).lead is None


@pytest.mark.parametrize("now", [minute(40), LATER])
@pytest.mark.parametrize("stray", [-1440.5, -0.25, 10.25, 30.5])
def test_a_hole_is_no_absence_where_a_row_came_whose_time_is_unusable(stray, now):
    """Any of the holes may be the bar of that row: an error is never recorded as absence."""
    states = learned(page(0, 1, 7, stray), now=now)

    assert states == {State.HELD: [0, 1, 7], State.FAILED: [2, 3, 4, 5, 6, 8, 9]}


def test_a_hole_is_no_absence_where_a_row_came_from_the_future():
    """Of a wrong clock, or in a wrong unit."""
    now = minute(40)
    answer = page(0, 1, 46)

    assert check(answer, now=now).findings == {Finding.FUTURE: 1}
    assert learned(answer, now=now) == {State.HELD: [0, 1], State.FAILED: list(range(2, 10))}
    assert learned(page(0, 1, 44), now=now) == {State.HELD: [0, 1], State.EMPTY: list(range(2, 10))}


@pytest.mark.parametrize("now", [minute(40), LATER])
def test_a_time_between_two_bars_makes_only_the_bar_unusable_in_which_it_lies(now):
    states = learned(page(0, 1, 4.5, 9), now=now)

    assert states[State.FAILED] == [4]
    assert {2, 3, 5} <= {*states[State.HELD], *states.get(State.EMPTY, [])}


def test_a_time_between_two_bars_does_not_matter_where_the_bar_came_too():
    assert learned(page(0, 4, 4.5, 9)) == {State.HELD: list(range(10))}


def test_an_open_bar_is_dropped_and_not_spoken_for():
    """Two seconds after its end, a bar has settled."""
    answer, now = page(*range(10)), minute(8) + timedelta(seconds=1)

    checked = check(answer, now=now)

    assert opens(checked.rows) == list(range(7))
    assert checked.findings == {Finding.OPEN: 3}
    assert checked.answered == minutes(0, 7)
    assert opens(check(answer, now=now + timedelta(seconds=1)).rows) == list(range(8))


def test_only_wanted_bars_are_changed():
    answer = page(*range(10))
    wanted = [minutes(2, 4), minutes(7, 8)]

    change = settle(check(answer), wanted, MINUTE, LATER)

    assert opens(change.rows) == [2, 3, 7]
    assert change.segments == (Segment(minutes(2, 4), State.HELD), Segment(minutes(7, 8), State.HELD))


@pytest.mark.parametrize("answer", [page(0, 9), page(0, (2, NAN, 1, 1, 1, 1)), page(), page(*range(10))])
@pytest.mark.parametrize("now", [minute(20), LATER])
def test_nothing_outside_what_was_wanted_becomes_known(answer, now):
    wanted = [minutes(2, 4), minutes(7, 8)]

    states = learned(answer, wanted, now)

    assert sorted(number for numbers in states.values() for number in numbers) == [2, 3, 7]


def test_a_hole_is_genuine_although_the_only_row_beside_it_was_not_wanted():
    """The page had rows: the exchange does have this stretch."""
    assert learned(page(0), [minutes(4, 6)]) == {State.HELD: [4, 5]}


def test_where_nothing_was_wanted_nothing_changes():
    change = settle(check(page(*range(10))), [], MINUTE, LATER)

    assert (change.rows.num_rows, change.segments) == (0, ())
    assert change.rows.schema.equals(OHLCV_SCHEMA)


def test_a_wanted_bar_beyond_what_the_answer_speaks_for_stays_unknown():
    states = learned(page(0, 1, 2, 3, 3, 4, 5, 6, 7, 8), [minutes(0, 2), minutes(8, 10)])

    assert states == {State.HELD: [0, 1, 8]}


# --- Any page --------------------------------------------------------------------------------------------------------

prices = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, -1.0, NAN, math.inf])
places = st.one_of(st.integers(-4, 14), st.sampled_from([0.5, 3.001, -0.25]))
rows = st.one_of(st.tuples(places, *[prices] * 5), places.map(lambda place: (place, *GOOD)))


@quick(400)
@given(
    st.lists(rows, max_size=14),
    st.sampled_from([minute(11), minute(5) + timedelta(days=1), LATER]),
    st.sampled_from([[WINDOW], [minutes(2, 5)], [minutes(0, 1), minutes(3, 4), minutes(6, 10)]]),
)
def test_nothing_but_wanted_possible_bars_gets_through_whatever_the_exchange_sends(rows, now, wanted):
    checked = check(page(*rows))
    change = settle(checked, wanted, MINUTE, now)

    kept = opens(change.rows)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(minute_numbers(wanted))
    for row in change.rows.to_pylist():
        numbers = [row[name] for name in OHLCV_SCHEMA.names[1:]]
        assert all(math.isfinite(number) for number in numbers)
        assert 0 <= row["low"] <= min(row["open"], row["close"]) <= max(row["open"], row["close"]) <= row["high"]
        assert row["volume"] >= 0
        sent = [sent for sent in rows if minute(sent[0]) == row["timestamp"]]
        assert tuple(numbers) in [tuple(sent_row[1:]) for sent_row in sent]

    settled = [number for segment in change.segments for number in minute_numbers([segment.range])]
    assert len(settled) == len(set(settled))
    assert set(settled) <= set(minute_numbers(wanted))
    held = minute_numbers(segment.range for segment in change.segments if segment.state is State.HELD)
    assert set(kept) <= set(held)
    for segment in change.segments:
        assert segment.state in {State.HELD, State.EMPTY, State.FAILED}
        if segment.state is State.EMPTY:
            assert not {sent[0] for sent in rows} & set(minute_numbers([segment.range]))


@quick(100)
@given(st.sets(st.integers(0, 9)), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(numbers, random):
    shuffled = sorted(numbers)
    random.shuffle(shuffled)

    one, other = check(page(*sorted(numbers))), check(page(*shuffled))

    assert_same_rows(one.rows, other.rows)
    assert (one.answered, one.rejected) == (other.answered, other.rejected)
    assert np.all(np.diff(timestamps_ms(other.rows)) > 0)
