"""Whose page is next, and how urgent it is."""

from __future__ import annotations

import sys

import pytest
from unit_builders import span, utc

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.historical.page_order import PageOrder, Want
from cb_trade_data.historical.paging import paging_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

SERIES = Series("fake", "BTC/USDT", Kind.OHLCV, Timeframe.parse("1h"))
PAGING = paging_of(SERIES, ExchangeFacts("fake", ("1h",), 10))  # ten bars a page
DAY = span("2024-01-01", "2024-01-02")
LATER_DAY = span("2024-01-05", "2024-01-06")


@pytest.fixture
def order() -> PageOrder:
    return PageOrder(PAGING)


def want(order: PageOrder, wanted: TimeRange, *, bars_before: int = 0, bars_after: int = 0) -> Want:
    """Let somebody want all of a range."""
    joining = Want(wanted, refresh=False, since=utc("2024-02-01"), bars_before=bars_before, bars_after=bars_after)
    order.join(joining)
    order.open(joining, [wanted])
    return joining


def test_where_nobody_wants_anything_no_page_is_next(order):
    assert order.next_window is None
    assert order.begin() is None
    assert order.urgency(None) == sys.maxsize


def test_of_a_want_that_nobody_has_looked_into_yet_no_page_is_next(order):
    joining = Want(DAY, refresh=False, since=utc("2024-02-01"))
    order.join(joining)
    assert order.next_window is None

    order.open(joining, [span("2024-01-01T20:00", "2024-01-02")])
    assert order.next_window == span("2024-01-01T20:00", "2024-01-02")


def test_the_pages_of_a_want_go_in_time_order_and_none_twice(order):
    want(order, DAY)

    assert [order.begin() for _ in range(4)] == [
        span("2024-01-01", "2024-01-01T10:00"),
        span("2024-01-01T10:00", "2024-01-01T20:00"),
        span("2024-01-01T20:00", "2024-01-02"),
        None,
    ]


def test_a_page_of_the_want_that_lacks_least_is_next(order):
    want(order, DAY)
    want(order, span("2024-01-05", "2024-01-05T12:00"))

    assert order.next_window == span("2024-01-05", "2024-01-05T10:00")
    assert order.urgency(None) == 12


def test_what_its_request_wants_of_later_partitions_counts_too(order):
    want(order, span("2024-01-05", "2024-01-05T12:00"), bars_after=13)
    want(order, DAY)

    assert order.next_window == span("2024-01-01", "2024-01-01T10:00")
    assert order.urgency(None) == 24


def test_who_looks_ahead_comes_after_what_its_request_wants_first_however_little_is_open_of_it(order):
    ahead = want(order, LATER_DAY, bars_before=24)
    want(order, DAY, bars_after=24)
    order.settle([span("2024-01-01", "2024-01-01T01:00"), span("2024-01-05", "2024-01-05T23:00")])

    assert order.next_window == span("2024-01-01T01:00", "2024-01-01T11:00")
    order.call_up(ahead)
    assert order.next_window == span("2024-01-05T23:00", "2024-01-06")
    assert order.urgency(None) == 1


def test_of_two_that_lack_as_much_the_first_who_came_goes_first(order):
    want(order, LATER_DAY)
    want(order, DAY)

    assert order.next_window == span("2024-01-05", "2024-01-05T10:00")


def test_once_the_pages_of_who_lacks_least_are_under_way_the_next_one_has_its_turn(order):
    want(order, DAY)
    want(order, span("2024-01-05", "2024-01-05T08:00"))

    assert order.begin() == span("2024-01-05", "2024-01-05T08:00")
    assert order.next_window == span("2024-01-01", "2024-01-01T10:00")
    assert order.urgency(None) == 24


def test_two_who_want_the_same_have_it_asked_for_once(order):
    want(order, DAY)
    want(order, span("2024-01-01T04:00", "2024-01-01T12:00"))

    assert order.begin() == span("2024-01-01T04:00", "2024-01-01T12:00")
    assert order.begin() == span("2024-01-01", "2024-01-01T04:00")
    assert order.begin() == span("2024-01-01T12:00", "2024-01-01T22:00")
    assert order.begin() == span("2024-01-01T22:00", "2024-01-02")
    assert order.begin() is None


def test_what_a_page_left_open_is_next_again_once_it_has_ended_but_not_while_its_answer_is_taken_in(order):
    want(order, span("2024-01-01", "2024-01-01T10:00"))
    window = order.begin()

    order.arrive(window)
    order.settle([span("2024-01-01", "2024-01-01T04:00")])
    assert list(order.unanswered) == []
    assert order.next_window is None

    order.end(window)
    assert order.next_window == span("2024-01-01T04:00", "2024-01-01T10:00")
    assert order.urgency(None) == 6


def test_what_is_settled_before_its_turn_is_not_asked_for(order):
    want(order, DAY)
    before = order.next_window
    order.settle([span("2024-01-01", "2024-01-01T04:00")])

    assert before == span("2024-01-01", "2024-01-01T10:00")
    assert order.next_window == span("2024-01-01T04:00", "2024-01-01T14:00")
    assert order.urgency(None) == 20


def test_who_comes_with_less_to_ask_for_is_next_at_once(order):
    want(order, DAY)
    before = order.next_window
    want(order, span("2024-01-05", "2024-01-05T10:00"))

    assert (before, order.next_window) == (
        span("2024-01-01", "2024-01-01T10:00"),
        span("2024-01-05", "2024-01-05T10:00"),
    )


def test_who_leaves_is_asked_for_no_longer(order):
    leaving = want(order, span("2024-01-01", "2024-01-01T03:00"))
    want(order, LATER_DAY)
    assert order.next_window == leaving.range
    order.leave(leaving)

    assert order.next_window == span("2024-01-05", "2024-01-05T10:00")
    assert order.wanted_in(DAY) == []


def test_a_page_is_as_urgent_as_the_most_urgent_request_that_wants_something_of_it(order):
    want(order, DAY)
    of_both, of_one = order.begin(), order.begin()
    hasty = want(order, span("2024-01-01T04:00", "2024-01-01T06:00"))

    assert (order.urgency(of_both), order.urgency(of_one)) == (2, 24)
    order.leave(hasty)
    assert order.urgency(of_both) == 24


def test_a_page_that_nobody_wants_any_more_comes_last(order):
    leaving = want(order, DAY)
    settled, left = order.begin(), order.begin()
    order.settle([settled])

    assert not order.is_wanted(settled)
    assert order.urgency(settled) == sys.maxsize
    assert order.is_wanted(left)
    order.leave(leaving)
    assert not order.is_wanted(left)
    assert order.urgency(left) == sys.maxsize


def test_a_page_that_one_under_way_may_show_to_be_wasted_waits_for_it():
    order = PageOrder(PAGING, may_be_wasted=lambda _: True)
    want(order, DAY)

    window = order.begin()
    assert window == span("2024-01-01", "2024-01-01T10:00")
    assert order.next_window is None

    order.settle([window])
    order.end(window)
    assert order.next_window == span("2024-01-01T10:00", "2024-01-01T20:00")


def test_what_is_wanted_of_a_page_is_what_anybody_has_open_in_it(order):
    want(order, span("2024-01-01", "2024-01-01T04:00"))
    want(order, span("2024-01-01T02:00", "2024-01-01T06:00"))
    want(order, span("2024-01-01T08:00", "2024-01-02"))
    order.settle([span("2024-01-01T01:00", "2024-01-01T03:00")])

    assert order.wanted_in(span("2024-01-01", "2024-01-01T09:00")) == [
        span("2024-01-01", "2024-01-01T01:00"),
        span("2024-01-01T03:00", "2024-01-01T06:00"),
        span("2024-01-01T08:00", "2024-01-01T09:00"),
    ]
