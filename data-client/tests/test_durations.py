"""Lengths of time for people."""

from datetime import timedelta

import pytest

from cb_trade_client.durations import duration_text


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0 s"),
        (timedelta(milliseconds=7), "7 ms"),
        (timedelta(seconds=5, milliseconds=20), "5 s 20 ms"),
        (timedelta(minutes=12), "12 min"),
        (timedelta(hours=3, seconds=9), "3 h"),
        (timedelta(days=31, hours=4, minutes=59), "31 d 4 h"),
        (timedelta(days=12_345), "12,345 d"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(duration, text):
    assert duration_text(duration) == text
