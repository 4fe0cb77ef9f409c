from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick, utc

from cb_trade_data.api.incoming import MESSAGE_MAX_BYTES, check_message, parse_json, request_id_of
from cb_trade_data.api.outgoing import error_response
from cb_trade_data.errors import ErrorCode, MessageError
from cb_trade_data.models.messages import CancelRequest, PlanHistorical, RequestCurrentTimestamp, RequestHistorical

HISTORICAL: dict[str, Any] = {
    "type": "request_historical",
    "request_id": "r1",
    "exchange": "binance",
    "symbol": "BTC/USDT",
    "kind": "ohlcv",
    "timeframe": "5m",
    "start_time": "2024-01-01T00:00:00Z",
    "end_time": 1_706_745_600_000,
    "format": "json",
    "chunk_rows": 1000,
    "refresh": False,
    "derive": False,
    "fill": "none",
}
DEEP = "[" * 1000 + "]" * 1000
MEBIBYTE = 1024 * 1024


def refusal_of(fields: dict[str, Any]) -> MessageError:
    with pytest.raises(MessageError) as caught:
        check_message(fields)
    return caught.value


def refusal_of_text(text: str) -> MessageError:
    with pytest.raises(MessageError) as caught:
        check_message(parse_json(text))
    return caught.value


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in HISTORICAL.items() if name not in names}


# --- Text to JSON ----------------------------------------------------------------------------------------------------


def test_a_json_object_is_read():
    assert parse_json('{"type": "cancel_request", "request_id": "é"}') == {"type": "cancel_request", "request_id": "é"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "}",
        "{'type': 1}",
        '{"type": 1,}',
        '{"a": 1} {"b": 2}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 01}',
        '{"a": "\x01"}',
        '{"a": "\\ud800"}',
        "\ufeff{}",
        "[" * 5000,
        '{"a":' * 5000,
    ],
)
def test_what_is_no_json_is_bad_json(text):
    with pytest.raises(MessageError) as caught:
        parse_json(text)

    assert caught.value.code is ErrorCode.BAD_JSON


def test_text_with_half_a_character_is_refused_like_any_bad_text():
    """A lone surrogate has no bytes to count."""
    with pytest.raises(MessageError) as caught:
        parse_json('{"a": "\ud800"}')

    assert caught.value.code is ErrorCode.BAD_JSON


@pytest.mark.parametrize("text", ["[]", "null", "1", '"text"', "true", '[{"type": "cancel_request"}]'])
def test_json_that_is_no_object_is_a_bad_message(text):
    with pytest.raises(MessageError) as caught:
        parse_json(text)

    assert caught.value.code is ErrorCode.BAD_MESSAGE


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
def test_a_message_may_have_64_kibibytes_and_not_one_more(letter):
    """Bytes count, not characters."""
    frame = len('{"a":""}')
    letters, rest = divmod(MESSAGE_MAX_BYTES - frame, len(letter.encode()))
    largest = '{"a":"' + letter * letters + "x" * rest + '"}'
    assert len(largest.encode()) == MESSAGE_MAX_BYTES == 65_536

    parse_json(largest)
    with pytest.raises(MessageError) as caught:
        parse_json(largest + " ")

    assert caught.value.code is ErrorCode.MESSAGE_TOO_LARGE
    assert caught.value.details == {"limit_bytes": 65_536}


# --- The request's id ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_id", ["r", "x" * 64, "é" * 64, "0"])
def test_a_usable_id_is_named_whatever_else_is_wrong(request_id):
    assert request_id_of({"type": 5, "request_id": request_id}) == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 65, None, 5, True, ["r"], {}])
def test_an_unusable_id_is_not_named(request_id):
    assert request_id_of({"request_id": request_id}) is None
    assert request_id_of({}) is None


# --- JSON to a message -----------------------------------------------------------------------------------------------


def test_each_type_becomes_its_message():
    question = {"type": "request_current_timestamp", "exchange": "binance", "symbol": "BTC/USDT", "timeframe": "5m"}

    assert isinstance(check_message(HISTORICAL), RequestHistorical)
    assert isinstance(check_message(HISTORICAL | {"type": "plan_historical"}), PlanHistorical)
    assert isinstance(check_message(question), RequestCurrentTimestamp)
    assert isinstance(check_message({"type": "cancel_request", "request_id": "r1"}), CancelRequest)


@pytest.mark.parametrize("type_", ["", "request", "REQUEST_HISTORICAL", "request_historical ", 5, True, [], {}, ["x"]])
def test_a_type_nobody_knows_is_unknown_and_the_known_ones_are_told(type_):
    refusal = refusal_of(HISTORICAL | {"type": type_})

    assert refusal.code is ErrorCode.UNKNOWN_TYPE
    assert refusal.details["known"] == [
        "request_historical",
        "plan_historical",
        "request_current_timestamp",
        "cancel_request",
        "authenticate",
    ]


@pytest.mark.parametrize("fields", [{}, {"type": None}, {"request_id": "r1"}])
def test_a_message_without_a_type_lacks_a_field(fields):
    refusal = refusal_of(fields)

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.MISSING_FIELD, "type")


@pytest.mark.parametrize("name", ["exchange", "symbol", "start_time", "end_time"])
def test_a_field_that_has_no_default_must_be_there(name):
    refusal = refusal_of(without(name))

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.MISSING_FIELD, name)
    assert name in str(refusal)


@pytest.mark.parametrize(
    "name", ["request_id", "kind", "timeframe", "format", "chunk_rows", "refresh", "derive", "fill"]
)
def test_a_field_with_a_default_may_be_left_out(name):
    check_message(without(name))


@pytest.mark.parametrize("name", ["fills", "derived", "Symbol", "start", "", " symbol"])
def test_a_field_nobody_knows_is_refused_not_ignored(name):
    refusal = refusal_of(HISTORICAL | {name: 1})

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.UNKNOWN_FIELD, name)


def test_a_current_timestamp_has_no_range_fields():
    refusal = refusal_of(HISTORICAL | {"type": "request_current_timestamp"})

    assert refusal.code is ErrorCode.UNKNOWN_FIELD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("request_id", value) for value in ["", "x" * 65, 5, True, []]),
        *(("exchange", value) for value in ["", "x" * 33, 5, None, True, [], ["binance", 5], {}]),
        *(("symbol", value) for value in ["", "x" * 65, 5, None, {}]),
        *(("kind", value) for value in ["", "candles", "OHLCV", 5, None, [], {}]),
        *(("timeframe", value) for value in ["", "x" * 17, 5, []]),
        *(("start_time", value) for value in ["", "2024-01-01", "soon", -1, 1.5, True, None, [], 10**30, 2**63]),
        *(("end_time", value) for value in ["2024-01-01T00:00:00", "9999-12-31T23:59:59-12:00", None]),
        *(("format", value) for value in ["", "csv", "JSON", None, 5, []]),
        *(("chunk_rows", value) for value in [0, -1, 10_000_001, 1.0, "5", True, 10**30]),
        *(("refresh", value) for value in [0, 1, "true", None, []]),
    ],
)
def test_a_value_a_field_cannot_have_is_invalid_and_its_field_named(name, value):
    refusal = refusal_of_text(json.dumps(HISTORICAL | {name: value}))

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.INVALID_VALUE, name)
    assert name in str(refusal)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request_id", "x"),
        ("request_id", "x" * 64),
        ("exchange", "x"),
        ("symbol", "x"),
        ("timeframe", "x"),
        ("exchange", "x" * 32),
        ("symbol", "x" * 64),
        ("timeframe", "x" * 16),
        ("start_time", 0),
        ("chunk_rows", 1),
        ("chunk_rows", 10_000_000),
        ("chunk_rows", None),
        ("timeframe", None),
        ("request_id", None),
    ],
)
def test_a_value_at_its_limit_is_accepted(name, value):
    assert getattr(check_message(HISTORICAL | {name: value}), name) in (value, utc("1970-01-01"))


def test_the_names_of_the_original_plan_are_accepted():
    message = check_message(without("exchange", "symbol") | {"exchange_name": "okx", "coin_symbol": "ETH/USDT"})

    assert isinstance(message, RequestHistorical)
    assert (message.exchange, message.symbol) == ("okx", "ETH/USDT")


@pytest.mark.parametrize(("alias", "name"), [("exchange_name", "exchange"), ("coin_symbol", "symbol")])
def test_a_field_under_both_its_names_is_refused(alias, name):
    """Which of the two was meant cannot be known."""
    assert refusal_of(HISTORICAL | {alias: "other"}).code is ErrorCode.UNKNOWN_FIELD


def test_a_wrong_value_under_an_alias_is_told_by_that_name():
    refusal = refusal_of(without("exchange") | {"exchange_name": 5})

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.INVALID_VALUE, "exchange_name")


def test_a_timeframe_for_a_kind_without_bars_is_invalid():
    assert refusal_of(HISTORICAL | {"kind": "trades"}).code is ErrorCode.INVALID_VALUE


@pytest.mark.parametrize(("name", "value"), [("derive", True), ("fill", "null"), ("fill", "previous_close")])
@pytest.mark.parametrize("kind", ["trades", "funding_rate", "order_book"])
def test_kinds_without_bars_are_neither_derived_nor_filled(kind, name, value):
    refusal = refusal_of(without("timeframe") | {"kind": kind, name: value})

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.INVALID_VALUE, name)


def test_kinds_without_bars_may_be_asked_for_without_a_fill():
    check_message(without("timeframe") | {"kind": "trades", "derive": False, "fill": "none"})


@pytest.mark.parametrize("fill", [None, "", "None", "zero", False, 0, []])
def test_a_fill_that_nobody_knows_is_invalid(fill):
    refusal = refusal_of(HISTORICAL | {"fill": fill})

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.INVALID_VALUE, "fill")


def test_everything_wrong_with_a_message_is_listed():
    refusal = refusal_of(without("symbol") | {"chunk_rows": 0, "fills": True})

    assert {(problem["field"], problem["code"]) for problem in refusal.details["problems"]} == {
        ("symbol", "missing_field"),
        ("chunk_rows", "invalid_value"),
        ("fills", "unknown_field"),
    }
    assert refusal.code is ErrorCode(refusal.details["problems"][0]["code"])


def test_a_cancel_without_an_id_lacks_a_field():
    refusal = refusal_of({"type": "cancel_request"})

    assert (refusal.code, refusal.details["field"]) == (ErrorCode.MISSING_FIELD, "request_id")


# --- Hostile ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*HISTORICAL, "fills"])
def test_a_value_that_is_nested_very_deep_is_refused_like_any_wrong_value(name):
    """It must not end the connection, as an error nobody expects would."""
    text = json.dumps(HISTORICAL | {name: "deep"}).replace('"deep"', DEEP)
    expected = {"type": ErrorCode.UNKNOWN_TYPE, "fills": ErrorCode.UNKNOWN_FIELD}

    assert refusal_of_text(text).code is expected.get(name, ErrorCode.INVALID_VALUE)


def test_a_value_is_quoted_in_its_refusal_only_as_far_as_people_read():
    refusal = refusal_of(HISTORICAL | {"start_time": "x" * 60_000})

    assert len(str(refusal)) < 500
    assert len(str(refusal.details)) < 1_000


@pytest.mark.parametrize(
    "fields",
    [
        HISTORICAL | {"start_time": "\x7f" * 32_000, "end_time": "\x7f" * 32_000},
        HISTORICAL | {"type": "\x7f" * 64_000},
        HISTORICAL | {"\x7f" * 64_000: 1},
        HISTORICAL | {str(number): number for number in range(6_000)},
    ],
)
def test_the_answer_to_a_large_bad_message_fits_into_a_message(fields):
    text = orjson.dumps(fields).decode()

    assert len(error_response("x" * 64, refusal_of_text(text))) < MEBIBYTE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@quick(200)
@given(st.dictionaries(st.sampled_from([*HISTORICAL, "coin_symbol", "fills"]), json_values), st.booleans())
def test_any_json_object_becomes_a_message_or_a_refusal_that_can_be_sent(fields, is_complete):
    fields = HISTORICAL | fields if is_complete else fields
    try:
        check_message(fields)
    except MessageError as refusal:
        answer = orjson.loads(error_response(request_id_of(fields), refusal))
        assert answer["code"] in set(ErrorCode)
        assert answer["retryable"] is False


@quick(200)
@given(st.text(max_size=200))
def test_any_text_becomes_an_object_or_a_refusal(text):
    with suppress(MessageError):
        assert isinstance(parse_json(text), dict)
