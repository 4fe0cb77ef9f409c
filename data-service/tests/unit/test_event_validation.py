"""What of an answer about trades or funding can be stored, and what it proves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick, span, utc

from cb_trade_data.exchange_source.facts import Bounds, EventPaging, TimeUnit
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.event_validation import check_events, settle_events
from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.validation import CheckedPage
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import FUNDING_RATE_SCHEMA, TIMESTAMP, TRADES_SCHEMA, timestamps_ms
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State

WINDOW = span("2024-01-01", "2024-01-01T01:00")
START_MS = to_ms(WINDOW.start)
NOW = utc("2024-02-01")
OLDEST_FIRST = EventPaging(5, Bounds("start", "end"))
NEWEST_FIRST = EventPaging(5, Bounds("start", "end"), newest_first=True)

Trade = tuple[int, str, str, float, float]


def trade(offset_ms: int, number: int | str, side: str = "buy", price: float = 100.0, amount: float = 1.0) -> Trade:
    """Return a trade so long after the window's start."""
    return START_MS + offset_ms, str(number), side, price, amount


def page(*trades: Trade) -> Page:
    times, *columns = zip(*trades, strict=True) if trades else ([],) * len(TRADES_SCHEMA)
    arrays = [pa.array(times, pa.int64()).cast(TIMESTAMP)]
    arrays += [pa.array(values, field.type) for values, field in zip(columns, list(TRADES_SCHEMA)[1:], strict=True)]
    return Page(pa.table(arrays, schema=TRADES_SCHEMA))


def check(*trades: Trade, paging: EventPaging = OLDEST_FIRST) -> CheckedPage:
    return check_events(page(*trades), WINDOW, Kind.TRADES, paging, NOW)


def ids(checked: CheckedPage) -> list[str]:
    return [str(each) for each in checked.rows.column("id").to_pylist()]


def after_start(milliseconds: int, end_milliseconds: int) -> TimeRange:
    return TimeRange(from_ms(START_MS + milliseconds), from_ms(START_MS + end_milliseconds))


def states(checked: CheckedPage, wanted: Sequence[TimeRange] = (WINDOW,)) -> list[tuple[TimeRange, State]]:
    change = settle_events(checked, list(wanted), Kind.TRADES, NOW, [])
    return [(segment.range, segment.state) for segment in sorted(change.segments, key=lambda each: each.range)]


# --- What an answer speaks for ---------------------------------------------------------------------------------------


def test_an_answer_with_room_has_all_of_its_window():
    checked = check(trade(10, 1), trade(10, 2), trade(900, 3))

    assert ids(checked) == ["1", "2", "3"]
    assert checked.answered == WINDOW
    assert states(checked) == [(WINDOW, State.HELD)]
    assert checked.findings == {}


def test_a_full_answer_leaves_its_last_millisecond_open():
    checked = check(*(trade(time, number) for number, time in enumerate([0, 5, 5, 9, 9])))

    assert checked.answered == after_start(0, 9)
    assert states(checked) == [(after_start(0, 9), State.HELD)]
    assert settle_events(checked, [WINDOW], Kind.TRADES, NOW, []).rows.num_rows == 3


def test_a_full_answer_of_the_newest_leaves_its_first_millisecond_open():
    checked = check(*(trade(time, 9 - time) for time in [9, 9, 5, 5, 0]), paging=NEWEST_FIRST)

    assert checked.answered == TimeRange(from_ms(START_MS + 1), WINDOW.end)


@pytest.mark.parametrize("paging", [OLDEST_FIRST, NEWEST_FIRST])
def test_a_full_answer_of_one_millisecond_leaves_that_unsettled_and_goes_on_beyond_it(paging):
    """Nobody gets the rest of it: asked again, it would be the same."""
    checked = check(*(trade(7, number) for number in range(5)), paging=paging)

    before, after = after_start(0, 7), TimeRange(from_ms(START_MS + 8), WINDOW.end)
    known = before if paging is OLDEST_FIRST else after
    assert checked.rows.num_rows == 0
    assert sorted(states(checked)) == sorted([(known, State.HELD), (after_start(7, 8), State.FAILED)])


def test_a_client_that_got_all_of_one_millisecond_says_so():
    rows = page(*(trade(7, number) for number in range(6))).rows

    checked = check_events(Page(rows, calls=2, is_cut=False), WINDOW, Kind.TRADES, OLDEST_FIRST, NOW)

    assert ids(checked) == ["0", "1", "2", "3", "4", "5"]
    assert states(checked) == [(WINDOW, State.HELD)]


def test_an_answer_without_trades_is_evidence_with_a_date():
    checked = check()

    assert checked.is_empty
    assert checked.lead == WINDOW
    assert states(checked) == [(WINDOW, State.EMPTY)]


def test_trades_from_elsewhere_answer_another_question():
    checked = check(trade(-5, 1), trade(-4, 2))

    assert checked.answered is None
    assert checked.findings == {Finding.OUTSIDE: 2}
    assert states(checked) == []


def test_silence_of_a_day_before_the_first_trade_is_nothing_to_look_into():
    month = span("2024-01-01", "2024-02-01")
    first = check_events(page(trade(3_600_000, 1)), month, Kind.TRADES, OLDEST_FIRST, utc("2024-03-01"))
    late = check_events(page(trade(9 * 86_400_000, 1)), month, Kind.TRADES, OLDEST_FIRST, utc("2024-03-01"))

    assert first.lead is None
    assert late.lead == span("2024-01-01", "2024-01-10")


def test_what_may_still_come_is_neither_delivered_nor_settled():
    now = from_ms(START_MS + 60_000)
    checked = check_events(page(trade(1, 1), trade(55_000, 2)), WINDOW, Kind.TRADES, OLDEST_FIRST, now)

    assert ids(checked) == ["1"]
    assert checked.answered == after_start(0, 50_000)
    assert checked.findings == {Finding.OPEN: 1}


# --- What is wrong with rows -----------------------------------------------------------------------------------------


def test_a_trade_that_comes_twice_is_one():
    checked = check(trade(1, 1), trade(1, 2), trade(1, 1))

    assert ids(checked) == ["1", "2"]
    assert checked.findings[Finding.DUPLICATE] == 1
    assert states(checked) == [(WINDOW, State.HELD)]


def test_two_tales_of_one_trade_leave_its_millisecond_open_and_nothing_else():
    checked = check(trade(1, 1), trade(5, 2), trade(5, 3), trade(5, 2, price=101.0), trade(9, 4))

    assert ids(checked) == ["1", "4"]
    assert checked.findings[Finding.CONFLICT] == 1
    assert after_start(5, 6) in checked.rejected


@pytest.mark.parametrize(
    ("bad", "finding"),
    [
        (trade(5, 2, price=math.nan), Finding.NOT_A_NUMBER),
        (trade(5, 2, amount=math.inf), Finding.NOT_A_NUMBER),
        (trade(5, 2, price=0.0), Finding.NEGATIVE),
        (trade(5, 2, amount=-1.0), Finding.NEGATIVE),
        (trade(5, 2, side="both"), Finding.NAMELESS),
        (trade(5, ""), Finding.NAMELESS),
        (trade(5, "7" * 65), Finding.NAMELESS),
    ],
)
def test_a_trade_that_cannot_be_leaves_its_millisecond_open_and_nothing_else(bad, finding):
    checked = check(trade(1, 1), bad, trade(9, 3))

    assert ids(checked) == ["1", "3"]
    assert checked.findings == {finding: 1}
    assert states(checked) == [
        (after_start(0, 5), State.HELD),
        (after_start(5, 6), State.FAILED),
        (TimeRange(from_ms(START_MS + 6), WINDOW.end), State.HELD),
    ]


def test_an_id_that_goes_backwards_is_counted_and_kept():
    checked = check(trade(1, 7), trade(2, 5), trade(3, 6))

    assert ids(checked) == ["7", "5", "6"]
    assert checked.findings == {Finding.BACKWARDS: 1}
    assert states(checked) == [(WINDOW, State.HELD)]


def test_ids_that_are_no_numbers_go_nowhere():
    assert check(trade(1, "b"), trade(2, "a")).findings == {}


@pytest.mark.parametrize("time_ms", [-START_MS + 1_704_067_200, 10**15, 400 * 86_400_000])
def test_a_time_of_another_unit_or_of_the_future_makes_silence_mean_nothing(time_ms):
    checked = check(trade(1, 1), trade(time_ms, 2), trade(9, 3))

    assert states(checked) == [(WINDOW, State.FAILED)]
    assert settle_events(checked, [WINDOW], Kind.TRADES, NOW, []).rows.num_rows == 0


def test_an_id_that_two_trades_of_different_times_have_is_believed_of_neither():
    checked = check(trade(1, 5), trade(2, 6), trade(3, 5, price=99.0))

    assert ids(checked) == ["6"]
    assert checked.findings[Finding.CONFLICT] == 2
    assert [part for part, state in states(checked) if state is State.FAILED] == [after_start(1, 2), after_start(3, 4)]


BY_SECONDS = EventPaging(5, Bounds("start", "end", unit=TimeUnit.SECONDS), newest_first=True)


def test_of_a_second_with_more_than_a_page_what_was_left_out_is_given_up_and_what_came_before_it_is_asked_for():
    checked = check(*(trade(1000 * 60 + 100 * number, number) for number in range(2, 7)), paging=BY_SECONDS)

    assert sorted(states(checked)) == [
        (after_start(60_000, 60_201), State.FAILED),
        (TimeRange(from_ms(START_MS + 60_201), WINDOW.end), State.HELD),
    ]
    assert ids(checked) == ["3", "4", "5", "6"]
    assert checked.answered == TimeRange(from_ms(START_MS + 60_000), WINDOW.end)


def test_rows_of_the_second_of_a_border_come_along_and_those_of_others_answer_another_question():
    window = TimeRange(from_ms(START_MS + 500), from_ms(START_MS + 60_500))
    beside = page(trade(100, 1), trade(60_700, 2)).rows
    elsewhere = page(trade(-10, 1), trade(61_000, 2)).rows

    assert check_events(Page(beside), window, Kind.TRADES, BY_SECONDS, NOW).answered == window
    assert check_events(Page(elsewhere), window, Kind.TRADES, BY_SECONDS, NOW).answered is None


@quick(100)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=4, unique=True), st.randoms())
def test_the_order_of_an_answer_does_not_matter(made, random):
    trades = [trade(time, f"{time}{number}") for time, number in sorted(made)]
    mixed = random.sample(trades, len(trades))

    assert check(*mixed).rows.equals(check(*trades).rows)
    assert timestamps_ms(check(*mixed).rows).tolist() == [each[0] for each in trades]


# --- Funding ---------------------------------------------------------------------------------------------------------


def funding(*paid: tuple[float, float]) -> Page:
    """Return a rate for each payment: hours after the window's start, rate."""
    return Page(
        pa.table(
            [
                pa.array([START_MS + round(hours * 3_600_000) for hours, _ in paid], pa.int64()).cast(TIMESTAMP),
                pa.array([rate for _, rate in paid], pa.float64()),
                pa.array([None for _ in paid], pa.float64()),
            ],
            schema=FUNDING_RATE_SCHEMA,
        )
    )


DAYS = span("2024-01-01", "2024-01-05")
RATES = EventPaging(1000, Bounds("start", "end"))


def check_rates(*paid: tuple[float, float]) -> CheckedPage:
    return check_events(funding(*paid), DAYS, Kind.FUNDING_RATE, RATES, NOW)


def test_rates_without_a_mark_price_are_whole():
    checked = check_rates((0, 0.0001), (8, -0.0001), (16, 0.0))

    assert checked.rows.num_rows == 3
    assert checked.findings == {}


def test_a_missing_payment_is_a_gap_with_a_date():
    checked = check_rates(*((hours, 0.0001) for hours in range(0, 96, 8) if hours != 40))

    change = settle_events(checked, [DAYS], Kind.FUNDING_RATE, NOW, [])

    assert [(each.range, each.asked_at, each.asks) for each in change.segments if each.state is State.EMPTY] == [
        (span("2024-01-02T15:59", "2024-01-03"), NOW, 1)
    ]


def test_a_missing_payment_shows_beside_rows_that_are_known_already():
    later = span("2024-01-03", "2024-01-03T20:00")
    checked = check_events(funding((56, 0.1), (64, 0.1)), later, Kind.FUNDING_RATE, RATES, NOW)
    known = [START_MS + hours * 3_600_000 for hours in (24, 32, 40)]

    change = settle_events(checked, [later], Kind.FUNDING_RATE, NOW, known)

    assert [each.range for each in change.segments if each.state is State.EMPTY] == [
        span("2024-01-03", "2024-01-03T08:00")
    ]


def test_a_payment_beside_the_hour_is_counted_and_kept():
    checked = check_rates((0, 0.1), (8.25, 0.1), (16, 0.1))

    assert checked.rows.num_rows == 3
    assert checked.findings == {Finding.OFF_SCHEDULE: 1}


def test_payments_that_are_told_twice_with_different_rates_are_not_believed():
    checked = check_rates((0, 0.1), (8, 0.1), (8, 0.2), (16, 0.1))

    assert checked.rows.num_rows == 2
    assert checked.findings == {Finding.CONFLICT: 1}


def test_a_rate_that_is_not_finite_is_not_believed():
    assert check_rates((0, 0.1), (8, math.nan)).findings == {Finding.NOT_A_NUMBER: 1}


def test_the_settle_margin_is_the_one_of_the_kind():
    patient = EventPaging(1000, Bounds("start", "end"), settle_margin=timedelta(hours=3))
    now = utc("2024-01-01T10:00")

    checked = check_events(funding((0, 0.1), (8, 0.1)), DAYS, Kind.FUNDING_RATE, patient, now)

    assert checked.answered == span("2024-01-01", "2024-01-01T07:00")
    assert checked.rows.num_rows == 1


def empty_ranges(checked: CheckedPage, wanted: TimeRange, known_hours: Sequence[float] = ()) -> list[TimeRange]:
    known = [START_MS + round(hours * 3_600_000) for hours in known_hours]
    change = settle_events(checked, [wanted], Kind.FUNDING_RATE, NOW, known)
    return [each.range for each in change.segments if each.state is State.EMPTY]


def test_between_two_payments_silence_is_nothing_to_ask_about_again():
    quiet = span("2024-01-01T09:00", "2024-01-01T15:00")
    checked = check_events(funding(), quiet, Kind.FUNDING_RATE, RATES, NOW)

    assert empty_ranges(checked, quiet, known_hours=(0, 8, 16, 24)) == []
    assert empty_ranges(checked, quiet) == [quiet]


def test_a_payment_that_is_late_is_asked_for_again():
    just_now = span("2024-01-01T02:00", "2024-01-01T10:00:05")
    checked = check_events(funding(), just_now, Kind.FUNDING_RATE, RATES, utc("2024-01-01T10:01:05"))

    assert empty_ranges(checked, just_now, known_hours=(-22, -14, -6, 2)) == [
        span("2024-01-01T09:59", "2024-01-01T10:00:05")
    ]


def test_a_payment_with_two_rates_is_one_gap():
    checked = check_rates((0, 0.1), (8, 0.1), (8, 0.2), (16, 0.1), *((hours, 0.1) for hours in range(24, 96, 8)))

    assert empty_ranges(checked, DAYS) == []


def test_a_hole_at_the_border_of_two_pages_is_told():
    """Of four hours, where the first page ends with the row behind the hole."""
    seven = EventPaging(7, Bounds("start", "end"))
    first = check_events(
        funding(*((hours, 0.1) for hours in (0, 4, 8, 12, 16, 20, 28))), DAYS, Kind.FUNDING_RATE, seven, NOW
    )
    rest = TimeRange(first.answered.end, DAYS.end)
    second = check_events(funding(*((hours, 0.1) for hours in (28, 32, 36, 40))), rest, Kind.FUNDING_RATE, seven, NOW)

    assert empty_ranges(first, DAYS) == []
    assert empty_ranges(second, rest, known_hours=(8, 12, 16, 20))[0] == span("2024-01-01T23:59", "2024-01-02T04:00")
