"""Reading and writing instants."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cb_trade_client.errors import RequestError
from cb_trade_client.instants import from_ms, to_ms, to_text, to_utc

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001 - hypothesis wants naive bounds


@given(moments)
def test_a_moment_keeps_its_instant_to_the_next_millisecond(moment):
    read = to_utc(moment, "start")

    assert read.utcoffset() == timedelta(0)
    assert read.microsecond % 1000 == 0
    assert timedelta(0) <= read - moment < timedelta(milliseconds=1)


@given(moments)
def test_iso_text_means_the_same_as_the_datetime(moment):
    assert to_utc(moment.isoformat(), "start") == to_utc(moment, "start")


@given(moments)
def test_what_is_written_reads_back_the_same(moment):
    read = to_utc(moment, "start")

    assert to_text(read).endswith("Z")
    assert to_utc(to_text(read), "start") == read
    assert from_ms(to_ms(read)) == read


@given(moments, st.integers(0, 2**40))
def test_rounding_selects_the_same_rows(moment, row_ms):
    assert (from_ms(row_ms) >= moment) == (from_ms(row_ms) >= to_utc(moment, "start"))


def test_whole_seconds_are_written_without_a_fraction():
    assert to_text(datetime(2024, 1, 1, tzinfo=UTC)) == "2024-01-01T00:00:00Z"
    assert to_text(datetime(2024, 1, 1, microsecond=7000, tzinfo=UTC)) == "2024-01-01T00:00:00.007Z"


@pytest.mark.parametrize("value", [datetime.max.replace(tzinfo=UTC), "0001-01-01T00:00:00+05:00"])
def test_times_beyond_the_calendar_are_refused(value):
    with pytest.raises(RequestError, match="outside the years"):
        to_utc(value, "end")
