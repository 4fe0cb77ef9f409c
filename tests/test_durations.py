"""Service and SDK know nothing of each other, and say a length of time alike."""

from datetime import timedelta

import pytest

from cb_trade_client import durations
from cb_trade_data.commands import terminal


@pytest.mark.parametrize(
    "duration",
    [
        timedelta(),
        timedelta(microseconds=999),
        timedelta(milliseconds=7),
        timedelta(seconds=5, milliseconds=20),
        timedelta(seconds=59, milliseconds=999),
        timedelta(minutes=12),
        timedelta(hours=3, seconds=9),
        timedelta(hours=24),
        timedelta(days=31, hours=4, minutes=59),
        timedelta(days=12_345),
    ],
    ids=str,
)
def test_the_commands_of_both_tell_a_duration_in_the_same_words(duration):
    assert durations.duration_text(duration) == terminal.duration_text(duration)
