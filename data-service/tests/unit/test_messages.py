from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from unit_builders import epoch_ms, quick, utc

from cb_trade_data.models.messages import (
    CancelRequest,
    PlanHistorical,
    RequestCurrentTimestamp,
    RequestHistorical,
    WireFormat,
    parse_instant,
)
from cb_trade_data.models.series import Kind

HISTORICAL = {
    "type": "request_historical",
    "exchange": "binance",
    "symbol": "BTC/USDT",
    "start_time": 0,
    "end_time": 1,
}


# --- Instants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-29T12:30:00Z",
        "2024-02-29T12:30Z",
        "2024-02-29T12:30:00.000Z",
        "2024-02-29 12:30:00+00:00",
        "2024-02-29T14:30:00+02:00",
        "2024-02-29T07:00:00-05:30",
        "20240229T123000Z",
        "2024-03-01T00:30:00+12:00",
    ],
)
def test_an_iso_time_with_a_zone_is_that_instant(text):
    assert parse_instant(text) == utc("2024-02-29T12:30")


@quick()
@given(st.integers(0, 253_402_300_799_999))
def test_a_number_is_epoch_milliseconds(milliseconds):
    instant = parse_instant(milliseconds)

    assert (instant - utc("1970-01-01")) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize("value", ["2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00Z", 1_704_067_200_000])
def test_an_instant_is_utc_whatever_zone_it_came_in(value):
    assert parse_instant(value) == utc("2024-01-01")
    assert parse_instant(value).utcoffset() == timedelta(0)
    assert (parse_instant(value).year, parse_instant(value).hour) == (2024, 0)


def test_fractions_of_a_second_are_kept():
    assert parse_instant("2024-01-01T00:00:00.123456Z") == utc("2024-01-01T00:00:00.123456")


@pytest.mark.parametrize("text", ["2024-01-01", "2024-01-01T00:00:00", "20240101T000000"])
def test_an_iso_time_without_a_zone_is_refused(text):
    with pytest.raises(ValueError, match="needs a zone"):
        parse_instant(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "now", "2024", "1704067200000", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T25:00Z"],
)
def test_text_that_is_no_time_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own words
        parse_instant(text)


@pytest.mark.parametrize("value", [True, False, None, 0.0, 1_704_067_200_000.0, [], {}, b"2024-01-01T00:00:00Z"])
def test_what_is_neither_text_nor_a_whole_number_is_refused(value):
    with pytest.raises(ValueError, match="ISO 8601 with a zone, or epoch milliseconds"):
        parse_instant(value)


@pytest.mark.parametrize("value", [-1, "1969-12-31T23:59:59.999Z", "1970-01-01T00:59:59+01:00", -62_135_596_800_000])
def test_what_lies_before_1970_is_refused(value):
    with pytest.raises(ValueError, match="before 1970"):
        parse_instant(value)


def test_the_first_instant_of_1970_is_accepted():
    assert parse_instant(0) == parse_instant("1970-01-01T01:00:00+01:00") == utc("1970-01-01")


@pytest.mark.parametrize(
    "value",
    [
        253_402_300_800_000,
        2**63,
        2**64,
        10**400,
        -(2**63),
        "9999-12-31T23:59:59-00:01",
        "0001-01-01T00:00:00+00:01",
    ],
)
def test_what_no_calendar_holds_is_refused(value):
    with pytest.raises(ValueError, match="outside the years"):
        parse_instant(value)


# --- Messages --------------------------------------------------------------------------------------------------------


def test_a_historical_request_has_the_defaults_of_the_contract():
    message = RequestHistorical.model_validate(HISTORICAL)

    assert message.request_id is None
    assert message.kind is Kind.OHLCV
    assert message.timeframe_or_default == "5m"
    assert message.format is WireFormat.JSON
    assert message.chunk_rows is None
    assert message.refresh is False


def test_every_field_of_a_historical_request_is_read():
    message = RequestHistorical.model_validate(
        HISTORICAL
        | {
            "request_id": "r1",
            "kind": "ohlcv",
            "timeframe": "1M",
            "start_time": "2024-01-01T00:00:00Z",
            "end_time": epoch_ms(utc("2024-02-01")),
            "format": "json",
            "chunk_rows": 7,
            "refresh": True,
        }
    )

    assert (message.request_id, message.exchange, message.symbol) == ("r1", "binance", "BTC/USDT")
    assert (message.kind, message.timeframe, message.format) == (Kind.OHLCV, "1M", WireFormat.JSON)
    assert (message.start_time, message.end_time) == (utc("2024-01-01"), utc("2024-02-01"))
    assert (message.chunk_rows, message.refresh) == (7, True)


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("binance", "binance"),
        ("any", "any"),
        (["kraken"], "kraken"),
        (["kraken", "coinbase"], ["kraken", "coinbase"]),
        ([f"venue_{number}" for number in range(16)], [f"venue_{number}" for number in range(16)]),
    ],
)
@pytest.mark.parametrize("field", ["exchange", "exchange_name"])
def test_an_exchange_is_a_name_or_any_or_a_list_which_is_a_name_where_it_has_one(field, asked, read):
    fields = {name: value for name, value in HISTORICAL.items() if name != "exchange"}

    assert RequestHistorical.model_validate({**fields, field: asked}).exchange == read


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ([], "at least 1 item"),
        ([f"venue_{number}" for number in range(17)], "at most 16 items"),
        (["kraken", "coinbase", "kraken"], "names an exchange twice"),
        (["kraken", "any"], '"any" stands alone, not in a list'),
        (["any"], '"any" stands alone, not in a list'),
        (["kraken", ""], "at least 1 character"),
        (["kraken", 5], "valid string"),
        ([["kraken"]], "valid string"),
        ("", "at least 1 character"),
        (5, 'must be the name of an exchange, a list of such names, or "any"'),
        (None, 'must be the name of an exchange, a list of such names, or "any"'),
        ({"kraken": 1}, 'must be the name of an exchange, a list of such names, or "any"'),
    ],
)
def test_what_is_wrong_with_a_choice_of_exchanges_is_told_once(asked, problem):
    with pytest.raises(ValidationError) as caught:
        RequestHistorical.model_validate(HISTORICAL | {"exchange": asked})

    (found,) = caught.value.errors()
    assert found["loc"][0] == "exchange"
    assert problem in found["msg"]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.OHLCV])
def test_kinds_without_bars_get_no_default_timeframe(kind):
    message = RequestHistorical.model_validate(HISTORICAL | {"kind": kind.value})

    assert message.kind is kind
    assert message.timeframe_or_default is None


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.OHLCV])
def test_a_timeframe_is_refused_for_kinds_without_bars(kind):
    with pytest.raises(ValidationError, match="has no timeframe"):
        RequestHistorical.model_validate(HISTORICAL | {"kind": kind.value, "timeframe": "5m"})


def test_a_plan_takes_the_same_fields_as_the_request_it_plans():
    assert set(PlanHistorical.model_fields) == set(RequestHistorical.model_fields)


def test_a_question_for_the_current_timestamp_has_no_range():
    message = RequestCurrentTimestamp.model_validate(
        {"type": "request_current_timestamp", "exchange": "binance", "symbol": "BTC/USDT"}
    )

    assert message.timeframe_or_default == "5m"
    assert not hasattr(message, "start_time")


def test_a_cancel_must_say_which_request():
    with pytest.raises(ValidationError):
        CancelRequest.model_validate({"type": "cancel_request"})
    with pytest.raises(ValidationError):
        CancelRequest.model_validate({"type": "cancel_request", "request_id": None})


def test_messages_do_not_change_once_checked():
    message = RequestHistorical.model_validate(HISTORICAL)

    with pytest.raises(ValidationError):
        message.start_time = message.end_time
