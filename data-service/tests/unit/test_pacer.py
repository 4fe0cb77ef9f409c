"""How fast an exchange may be asked, as arithmetic: held in every span of time, whatever happens in between."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some
from unit_builders import quick

from cb_trade_data.exchange_source.facts import Pace
from cb_trade_data.exchange_source.pacer import Pacer

PACES = some.builds(
    Pace, some.integers(1, 3000), some.sampled_from([timedelta(seconds=1), timedelta(minutes=1)]), some.integers(1, 20)
)
ONE_A_SECOND = Pace(1, timedelta(seconds=1))
TEN_A_SECOND = Pace(10, timedelta(seconds=1), burst=5)


def busy(pacer: Pacer, now: float, until: float) -> list[float]:
    """Return when calls begin while there is always another one."""
    begun = []
    while (now := now + pacer.wait_secs(now)) < until:
        pacer.take(1)
        begun.append(now)
    return begun


def most_in_excess(begun: list[float], rate: float) -> float:
    """Return by how much the calls of any span are more than the rate gives in it."""
    excess, lowest = 0.0, math.inf
    for number, at in enumerate(begun):
        lowest = min(lowest, number - rate * at)
        excess = max(excess, number + 1 - rate * at - lowest)
    return excess


EVENTS = some.lists(
    some.tuples(
        some.floats(0, 20),  # seconds since the one before
        some.sampled_from(["call", "call", "call", "too often", "come back later", "success", "unused"]),
        some.floats(0, 30),
    ),
    max_size=150,
)


@quick()
@given(PACES, EVENTS)
def test_in_no_span_of_time_more_calls_begin_than_burst_and_rate_allow(pace, events):
    pacer, now, begun = Pacer(pace, 0.0), 0.0, []
    for passed, event, secs in events:
        now += passed
        match event:
            case "call" | "unused":
                now += pacer.wait_secs(now)
                pacer.take(1)
                if event == "unused":
                    pacer.give_back(1)
                else:
                    begun.append(now)
            case "too often":
                pacer.slow_down(now, now, None)
            case "come back later":
                pacer.pause(now, secs)
            case "success":
                pacer.recover(now, now)
        assert pace.calls_per_sec / 20 <= pacer.rate <= pace.calls_per_sec

    assert most_in_excess(begun, pace.calls_per_sec) <= pace.burst + 1e-6


@quick()
@given(PACES)
def test_who_always_has_a_call_to_make_gets_the_whole_rate(pace):
    secs = 500 / pace.calls_per_sec
    assert len(busy(Pacer(pace, 0.0), 0.0, secs)) >= 0.99 * pace.calls_per_sec * secs


@quick()
@given(some.lists(some.floats(0, 0.09), min_size=60, max_size=60))
def test_looking_a_little_late_costs_nothing_where_there_is_a_burst(delays):
    pacer, now, begun = Pacer(TEN_A_SECOND, 0.0), 0.0, 0
    for delay in delays:
        now += pacer.wait_secs(now) + delay
        while pacer.wait_secs(now) == 0:
            pacer.take(1)
            begun += 1

    # One token less before the first look, when the burst is full anyway, and one that is not whole yet.
    assert begun > 5 + 10 * now - 2 - 1e-6


def test_what_costs_more_begins_with_one_token_and_is_paid_off_afterwards():
    pacer = Pacer(ONE_A_SECOND, 0.0)

    assert pacer.wait_secs(0) == 0
    pacer.take(10)

    assert pacer.wait_secs(0) == pytest.approx(10)


def test_a_quiet_hour_is_saved_up_only_as_far_as_the_burst():
    pacer = Pacer(TEN_A_SECOND, 0.0)
    busy(pacer, 0.0, 1.0)

    assert sum(1 for at in busy(pacer, 3600.0, 3600.05)) == 5


def test_a_limit_halves_the_rate_and_pauses_for_as_long_as_it_says():
    pacer = Pacer(TEN_A_SECOND, 0.0)

    assert pacer.slow_down(0.0, 0.0, 7.0)

    assert pacer.rate == 5
    assert pacer.paused_secs(0.0) == pacer.wait_secs(0.0) == 7
    assert pacer.paused_secs(8.0) == pacer.wait_secs(8.0) == 0


def test_no_burst_follows_a_pause():
    pacer = Pacer(TEN_A_SECOND, 0.0)
    pacer.slow_down(0.0, 0.0, 60.0)

    assert busy(pacer, 0.0, 60.1) == [60.0]


def test_limits_that_were_met_before_slowing_down_count_once():
    pacer = Pacer(TEN_A_SECOND, 0.0)

    assert [pacer.slow_down(1.0 + late, sent, 5.0) for late, sent in ((0, 0.5), (0.1, 0.6), (0.2, 1.0))] == [
        True,
        False,
        False,
    ]
    assert pacer.rate == 5
    assert pacer.paused_secs(1.2) == pytest.approx(5), "the longest word counts"
    assert pacer.slow_down(8.0, 7.0, 5.0)
    assert pacer.rate == 2.5


def test_however_many_limits_a_twentieth_of_the_rate_remains():
    pacer, now = Pacer(TEN_A_SECOND, 0.0), 0.0
    for _ in range(20):
        now += 100
        pacer.slow_down(now, now, 1.0)

    assert pacer.rate == 0.5


def test_a_limit_that_names_no_time_pauses_twice_as_long_each_time_up_to_a_minute():
    pacer, now, pauses = Pacer(TEN_A_SECOND, 0.0), 0.0, []
    for _ in range(8):
        now += 100
        pacer.slow_down(now, now, None)
        pauses.append(pacer.paused_secs(now))
    pacer.recover(now + 70, now + 65)
    pacer.slow_down(now + 80, now + 75, None)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pacer.paused_secs(now + 80) == 1


def test_no_word_of_an_exchange_closes_it_for_more_than_three_days():
    pacer = Pacer(TEN_A_SECOND, 0.0)

    pacer.pause(0.0, 1e12)

    assert pacer.paused_secs(0.0) == 3 * 86_400


@pytest.mark.parametrize("limits", [1, 10])
def test_the_full_rate_is_back_after_a_minute_or_two_of_successes(limits):
    pacer, now = Pacer(TEN_A_SECOND, 0.0), 0.0
    for _ in range(limits):
        now += 10
        pacer.slow_down(now, now, 1.0)
    begun = now + 1
    rates, now = [], begun
    while pacer.rate < pacer.full_rate:
        now += pacer.wait_secs(now)
        pacer.take(1)
        pacer.recover(now, now)
        rates.append(pacer.rate)

    assert 40 <= now - begun <= 120
    assert rates == sorted(rates)


def test_a_success_that_was_sent_before_the_limit_proves_nothing():
    pacer = Pacer(TEN_A_SECOND, 0.0)
    pacer.slow_down(10.0, 9.0, 1.0)

    assert not pacer.recover(60.0, 9.5)
    assert pacer.rate == 5


def test_the_time_of_a_pause_is_no_time_of_success():
    pacer = Pacer(TEN_A_SECOND, 0.0)
    pacer.slow_down(0.0, 0.0, 600.0)

    pacer.recover(600.0, 600.0)

    assert pacer.rate == 5
