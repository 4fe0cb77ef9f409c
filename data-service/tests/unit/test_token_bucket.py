"""A token bucket: how much may come at once, and how much in the long run."""

from __future__ import annotations

import pytest

from cb_trade_data.api.token_bucket import TokenBucket


def test_a_seconds_worth_may_come_at_once_and_then_one_after_the_other():
    bucket = TokenBucket(5.0, 100.0)

    at_once = [bucket.take(100.0) for _ in range(6)]

    assert at_once == [0, 0, 0, 0, 0, pytest.approx(0.2)]
    assert bucket.take(100.19) == pytest.approx(0.01)
    assert bucket.take(100.21) == 0


def test_what_was_refused_costs_nothing():
    bucket = TokenBucket(1.0, 0.0)
    bucket.take(0.0)

    waits = [bucket.take(0.5) for _ in range(3)]

    assert waits == [0.5, 0.5, 0.5]
    assert bucket.take(1.0) == 0


def test_less_than_one_a_second_is_one_at_a_time():
    bucket = TokenBucket(0.1, 0.0)

    assert [bucket.take(0.0), bucket.take(0.0)] == [0, pytest.approx(10.0)]
    assert bucket.fills_in_secs == 10.0


def test_a_long_rest_saves_up_no_more_than_a_second():
    bucket = TokenBucket(2.0, 0.0)

    assert [bucket.take(1e6) for _ in range(3)] == [0, 0, pytest.approx(0.5)]
