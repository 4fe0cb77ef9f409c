from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import instants, quick, utc

from cb_trade_data.models.instants import EPOCH, from_ms, to_ms, to_ms_ceil, utc_now


def test_the_epoch_is_millisecond_zero():
    assert to_ms(utc("1970-01-01")) == 0
    assert from_ms(0) == EPOCH == utc("1970-01-01")


def test_a_known_instant_has_its_known_milliseconds():
    assert to_ms(utc("2024-02-29T12:00:00.123")) == 1_709_208_000_123


@quick()
@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_millisecond_of_the_calendar_survives_the_round_trip(milliseconds):
    """A float would lose the last digits of far instants."""
    assert to_ms(from_ms(milliseconds)) == milliseconds


@quick()
@given(instants)
def test_an_instant_between_two_milliseconds_is_rounded_down(instant):
    assert timedelta(0) <= instant - from_ms(to_ms(instant)) < timedelta(milliseconds=1)


def test_rounding_goes_down_before_the_epoch_too():
    assert to_ms(EPOCH - timedelta(microseconds=1)) == -1


def test_milliseconds_outside_the_calendar_are_an_overflow():
    with pytest.raises(OverflowError):
        from_ms(253_402_300_800_000)
    with pytest.raises(OverflowError):
        from_ms(2**63)


def test_the_present_is_aware_utc():
    assert utc_now().utcoffset() == timedelta(0)


@quick()
@given(instants)
def test_an_instant_between_two_milliseconds_can_be_rounded_up(instant):
    assert timedelta(0) <= from_ms(to_ms_ceil(instant)) - instant < timedelta(milliseconds=1)
