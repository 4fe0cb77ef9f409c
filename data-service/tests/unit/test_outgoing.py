from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from unit_builders import epoch_ms, minute, minutes, series, span, utc

from cb_trade_data.api.outgoing import (
    current_timestamp_response,
    defect,
    error_response,
    historical_data_complete,
    historical_data_start,
    plan_response,
    request_cancelled,
)
from cb_trade_data.errors import (
    ErrorCode,
    ExchangeUnavailableError,
    MessageError,
    TooManyRequestsError,
    UnknownSymbolError,
)
from cb_trade_data.historical.interfaces import CurrentState
from cb_trade_data.historical.planning import HistoryPlan
from cb_trade_data.historical.receipt import SEGMENTS_MAX, Receipt
from cb_trade_data.models.messages import WireFormat
from cb_trade_data.storage.coverage import Segment, State

MEBIBYTE = 1024 * 1024
LONGEST_ID = "😀" * 64
# As long as a number gets: 17 digits, a point, a three-digit exponent with its sign.
LONGEST_FLOAT = 2.7776852113709037e-205


def read(message: bytes) -> dict[str, Any]:
    return orjson.loads(message)


def test_a_start_message_has_the_fields_of_the_contract():
    answer = SimpleNamespace(start=utc("2024-01-01"), end=utc("2024-02-01"), estimated_rows=8928)

    message = read(historical_data_start("r1", series(timeframe="5m"), answer, WireFormat.ARROW, 48))

    assert message == {
        "type": "historical_data_start",
        "request_id": "r1",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "kind": "ohlcv",
        "timeframe": "5m",
        "start_time": 1_704_067_200_000,
        "end_time": 1_706_745_600_000,
        "format": "arrow",
        "estimated_rows": 8928,
        "estimated_bytes": 8928 * 48,
    }


def test_a_complete_message_tells_what_the_answer_was_made_of():
    receipt = Receipt(rows_from_storage=5, rows_from_exchange=7, exchange_calls=2, digest="v1:00ff")
    receipt.enter(
        [
            Segment(minutes(0, 5), State.HELD),
            Segment(minutes(5, 6), State.EMPTY, minute(100), asks=2),
            Segment(minutes(6, 9), State.FAILED, minute(101), reason="timeout"),
        ]
    )

    message = read(historical_data_complete("r1", rows=12, chunks=1, receipt=receipt, elapsed_ms=34))

    held = {"start_time": epoch_ms(minute(0)), "end_time": epoch_ms(minute(5)), "state": "held"}
    empty = {
        "start_time": epoch_ms(minute(5)),
        "end_time": epoch_ms(minute(6)),
        "state": "empty",
        "asked_at": epoch_ms(minute(100)),
        "asks": 2,
        "code": "DATA-003",
    }
    failed = {
        "start_time": epoch_ms(minute(6)),
        "end_time": epoch_ms(minute(9)),
        "state": "failed",
        "asked_at": epoch_ms(minute(101)),
        "reason": "timeout",
        "code": "DATA-027",
    }
    assert message == {
        "type": "historical_data_complete",
        "request_id": "r1",
        "rows": 12,
        "chunks": 1,
        "digest": "v1:00ff",
        "coverage": [held, empty, failed],
        "coverage_truncated": False,
        "gaps": [empty, failed],
        "rows_from_storage": 5,
        "rows_from_exchange": 7,
        "exchange_calls": 2,
        "elapsed_ms": 34,
    }


@pytest.mark.parametrize("letter", ["x", '"', "\\", "é", "…", "😀", "\x00", "\x7f"])
def test_a_receipt_as_long_as_it_gets_fits_into_a_message(letter):
    """A reason has up to 200 characters, of whatever an exchange answered; each segment may have its own."""
    receipt = Receipt()
    receipt.enter(
        Segment(minutes(number, number + 1), State.FAILED, minute(number), reason=letter * 200)
        for number in range(SEGMENTS_MAX)
    )

    message = historical_data_complete(LONGEST_ID, rows=0, chunks=0, receipt=receipt, elapsed_ms=10**9)

    assert len(message) < MEBIBYTE


def test_a_current_timestamp_has_the_fields_of_the_contract():
    state = CurrentState(timestamp=utc("2024-01-31T23:55"), closed_until=utc("2024-02-01T00:05"))

    assert read(current_timestamp_response("r2", series(timeframe="5m"), state)) == {
        "type": "current_timestamp_response",
        "request_id": "r2",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "5m",
        "timestamp": 1_706_745_300_000,
        "closed_until": 1_706_745_900_000,
    }


def test_the_current_timestamp_is_null_where_nothing_is_stored():
    state = CurrentState(timestamp=None, closed_until=utc("2024-02-01"))

    assert read(current_timestamp_response("r2", series(), state))["timestamp"] is None


def test_a_plan_lists_what_is_missing():
    plan = HistoryPlan(7, (span("2024-01-01", "2024-01-02"), span("2024-01-03", "2024-01-04")), 4)

    message = read(plan_response("r3", series(), plan))

    assert (message["type"], message["exchange"]) == ("plan_response", "binance")
    assert (message["request_id"], message["rows_in_storage"], message["exchange_calls"]) == ("r3", 7, 4)
    assert message["missing"] == [
        {"start_time": epoch_ms(part.start), "end_time": epoch_ms(part.end)} for part in plan.missing
    ]
    assert message["missing_truncated"] is False


def test_a_plan_lists_at_most_as_many_ranges_as_a_receipt_and_says_when_there_are_more():
    missing = tuple(minutes(2 * number, 2 * number + 1) for number in range(SEGMENTS_MAX + 1))

    whole = read(plan_response("r3", series(), HistoryPlan(0, missing[:-1], 1)))
    cut = read(plan_response("r3", series(), HistoryPlan(0, missing, 1)))

    assert (len(whole["missing"]), whole["missing_truncated"]) == (SEGMENTS_MAX, False)
    assert (len(cut["missing"]), cut["missing_truncated"]) == (SEGMENTS_MAX, True)


@pytest.mark.parametrize("was_running", [True, False])
def test_a_cancel_is_answered_with_whether_anything_was_running(was_running):
    assert read(request_cancelled("r1", was_running=was_running)) == {
        "type": "request_cancelled",
        "request_id": "r1",
        "was_running": was_running,
    }


def test_an_error_has_the_fields_of_the_contract():
    assert read(error_response("r1", UnknownSymbolError("binance", "FOO/BAR"))) == {
        "type": "error_response",
        "request_id": "r1",
        "code": "unknown_symbol",
        "message": "binance has no market 'FOO/BAR'; symbols are spelled like BTC/USDT",
        "retryable": False,
        "retry_after_ms": None,
        "details": {"exchange": "binance", "symbol": "FOO/BAR"},
    }


def test_an_error_to_nobody_in_particular_has_no_request_id():
    assert read(error_response(None, MessageError(ErrorCode.BAD_JSON, "no")))["request_id"] is None


def test_an_error_tells_whether_and_when_to_try_again():
    busy = read(error_response("r1", TooManyRequestsError(256)))
    down = read(error_response("r1", ExchangeUnavailableError("binance", "503", timedelta(seconds=1.5))))
    ours = read(error_response("r1", defect()))

    assert (busy["retryable"], busy["retry_after_ms"]) == (True, None)
    assert (down["retryable"], down["retry_after_ms"]) == (True, 1500)
    assert (ours["code"], ours["retryable"]) == ("internal_error", False)
