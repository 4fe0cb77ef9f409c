from __future__ import annotations

import inspect
from datetime import timedelta

import orjson
import pytest
from unit_builders import utc

from cb_trade_data import errors
from cb_trade_data.errors import (
    AuthenticationError,
    AuthenticationUnavailableError,
    BarTooLongError,
    CbTradeError,
    EmptyRangeError,
    ErrorCode,
    ExchangeForbiddenError,
    ExchangeLimitError,
    ExchangeNonsenseError,
    ExchangeRefusalError,
    ExchangesForbiddenError,
    ExchangeUnavailableError,
    ForbiddenError,
    InvalidSettingsError,
    MessageError,
    MethodNotAllowedError,
    NewerFormatError,
    NoExchangeError,
    NoExchangeNowError,
    OriginForbiddenError,
    OtherSubjectError,
    OverloadedError,
    PartitionChangedError,
    QuotaExceededError,
    RangeInFutureError,
    RangeTooLargeError,
    RequestError,
    ScopeMissingError,
    ShuttingDownError,
    StorageUnavailableError,
    TemporaryError,
    TokenExpiredError,
    TokenInvalidError,
    TokenMissingError,
    TooManyRequestsError,
    UnknownExchangeError,
    UnknownPathError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UnsupportedKindError,
    VersionConflictError,
)

#: Of the wire contract: added to, never renamed.
CODES_OF_THE_CONTRACT = {
    "bad_json", "bad_message", "unknown_type", "missing_field", "unknown_field", "invalid_value",
    "duplicate_request_id", "message_too_large", "too_many_requests", "unknown_exchange", "unknown_symbol",
    "unknown_timeframe", "unsupported_kind", "empty_range", "range_in_future", "range_too_large", "forbidden",
    "quota_exceeded", "exchange_unavailable", "storage_unavailable", "internal_error",
}  # fmt: skip

EXAMPLES = [
    MessageError(
        ErrorCode.INVALID_VALUE, "chunk_rows: too small", field="chunk_rows", problems=[{"field": "chunk_rows"}]
    ),
    UnknownExchangeError("binnance", ["binance"]),
    UnknownSymbolError("binance", "FOO/BAR"),
    UnknownTimeframeError("binance", "7m", ["1m", "5m"]),
    UnsupportedKindError("binance", "trades"),
    NoExchangeError(ErrorCode.UNKNOWN_SYMBOL, {"binance": UnknownSymbolError("binance", "FOO/BAR")}, 3),
    EmptyRangeError(utc("2024-01-02"), utc("2024-01-01")),
    RangeInFutureError(utc("2124-01-01"), utc("2024-01-01T00:00:00.5")),
    RangeTooLargeError(50_000_001, 50_000_000),
    BarTooLongError("1M", utc("2024-01-01"), 90.0),
    UnknownPathError("/v1/candles"),
    MethodNotAllowedError("POST", "/v1/series"),
    TokenMissingError(),
    TokenInvalidError("Signature verification failed"),
    TokenExpiredError(),
    ScopeMissingError("data:refresh"),
    ExchangeForbiddenError("kraken"),
    ExchangesForbiddenError(["kraken", "okx"]),
    ExchangesForbiddenError(None),
    OtherSubjectError(),
    OriginForbiddenError(),
    TooManyRequestsError(256),
    QuotaExceededError("connections", 256, timedelta(seconds=1)),
    OverloadedError("2,000 connections are open", timedelta(seconds=1)),
    ShuttingDownError(timedelta(seconds=1)),
    AuthenticationUnavailableError("the keys cannot be read", timedelta(seconds=1)),
    ExchangeUnavailableError("binance", "503", timedelta(seconds=3)),
    NoExchangeNowError({"binance": ExchangeUnavailableError("binance", "503")}),
    ExchangeLimitError("binance", "429", timedelta(seconds=3)),
    ExchangeNonsenseError("binance", "answered with something that is not candles"),
    ExchangeRefusalError("binance", "no such interval"),
    StorageUnavailableError("ohlcv/part.parquet", "disk full"),
    PartitionChangedError("binance BTC/USDT trades 2024-01-01"),
    VersionConflictError("ohlcv/part.parquet"),
    NewerFormatError("ohlcv/part.parquet", 2, 1),
    InvalidSettingsError(["CB_TRADE_PORT: no number", "CB_TRADE_PRT is no setting"], [".env"]),
]


def leaves(of: type[CbTradeError] = CbTradeError) -> list[type[CbTradeError]]:
    children = of.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [of]


def test_every_code_of_the_contract_exists_under_its_name():
    assert {code.value for code in ErrorCode} >= CODES_OF_THE_CONTRACT


def test_a_code_is_its_name_in_small_letters():
    assert all(code.value == code.name.lower() for code in ErrorCode)


def test_every_error_there_is_has_an_example_here():
    ours = {leaf for leaf in leaves() if leaf.__module__ == errors.__name__}

    assert ours <= {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_every_error_has_a_code_of_its_own_not_that_of_a_defect(example):
    assert isinstance(example.code, ErrorCode)
    assert example.code is not ErrorCode.INTERNAL_ERROR


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_the_details_of_every_error_can_be_sent(example):
    assert orjson.loads(orjson.dumps(example.details)) == example.details


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_the_text_of_an_error_names_its_facts(example):
    facts = [value for value in example.details.values() if isinstance(value, str) and not value[:4].isdigit()]

    assert str(example) == example.message
    assert all(fact in str(example) for fact in facts if fact != "chunk_rows")


def test_what_may_succeed_later_says_so_and_nothing_else_does():
    for example in EXAMPLES:
        assert example.retryable is isinstance(example, TemporaryError)


def test_errors_are_grouped_by_what_a_handler_would_do():
    groups = (
        RequestError,
        AuthenticationError,
        ForbiddenError,
        TemporaryError,
        InvalidSettingsError,
        NewerFormatError,
    )

    for example in EXAMPLES:
        assert sum(isinstance(example, group) for group in groups) == 1


def test_an_error_of_no_kind_is_a_defect_of_ours():
    defect = CbTradeError("we made a mistake", where="here")

    assert (defect.code, defect.retryable, defect.retry_after) == (ErrorCode.INTERNAL_ERROR, False, None)
    assert defect.details == {"where": "here"}


def test_an_unavailable_exchange_says_how_long_to_wait_where_that_is_known():
    assert ExchangeUnavailableError("binance", "429", timedelta(seconds=3)).retry_after == timedelta(seconds=3)
    assert ExchangeUnavailableError("binance", "503").retry_after is None


def test_several_exchanges_are_worth_another_try_when_the_first_of_them_is():
    problems = {
        name: ExchangeUnavailableError(name, "429", wait and timedelta(seconds=wait))
        for name, wait in (("binance", 30), ("kraken", 7), ("okx", None))
    }

    assert NoExchangeNowError(problems).retry_after == timedelta(seconds=7)


def test_of_many_exchanges_the_text_tells_some_and_the_details_all():
    problems = {f"venue_{number}": UnknownSymbolError(f"venue_{number}", "FOO/BAR") for number in range(8)}

    error = NoExchangeError(ErrorCode.UNKNOWN_SYMBOL, problems, 2)

    assert "venue_4" in str(error)
    assert "venue_5" not in str(error)
    assert "3 more cannot, either; 2 more were not looked at" in str(error)
    assert [each["exchange"] for each in error.details["problems"]] == list(problems)


def test_the_instants_of_a_range_error_are_iso_with_a_zone():
    assert EmptyRangeError(utc("2024-01-02"), utc("2024-01-01")).details == {
        "start_time": "2024-01-02T00:00:00+00:00",
        "end_time": "2024-01-01T00:00:00+00:00",
    }


def test_a_failure_of_the_whole_storage_names_a_place_too():
    assert str(StorageUnavailableError("", "Not a directory")) == "storage failed at its root: Not a directory"


def test_a_token_that_has_expired_is_replaced_where_it_came_from_whoever_signed_it():
    assert "cb-trade" not in str(TokenExpiredError())


def test_bad_settings_are_told_one_to_a_line():
    assert str(InvalidSettingsError(["a", "b"], [".env"])) == "a\nb"
    assert InvalidSettingsError(["a", "b"], [".env"]).problems == ["a", "b"]


def test_no_authentication_error_takes_a_token():
    """What is never handed over can never be shown."""
    for kind in (TokenMissingError, TokenInvalidError, TokenExpiredError):
        assert set(inspect.signature(kind).parameters) <= {"reason"}
