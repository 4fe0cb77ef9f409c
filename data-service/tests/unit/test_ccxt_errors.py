from __future__ import annotations

from datetime import timedelta

import ccxt
import pytest

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeNonsenseError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
    UnknownSymbolError,
)
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.plugins.ccxt_errors import reason_of, retry_after, translated

FACTS = ExchangeFacts("fake", ("1m",), 100)


@pytest.mark.parametrize(
    ("headers", "secs"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 7.5 "}, 7.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "99999999999"}, 3 * 86_400),
        ({"Retry-After": "Wed, 01 May 2024 12:01:00 GMT", "Date": "Wed, 01 May 2024 12:00:00 GMT"}, 60),
        ({"Retry-After": "Wed, 01 May 2024 11:00:00 GMT", "Date": "Wed, 01 May 2024 12:00:00 GMT"}, 0),
        ({"Retry-After": "Wed, 01 May 2999 11:00:00 GMT", "Date": "Wed, 01 May 2024 12:00:00 GMT"}, 3 * 86_400),
        ({"Retry-After": "Wed, 01 May 2024 12:01:00 GMT"}, 0),
    ],
)
def test_how_long_to_wait_is_read_from_seconds_and_from_dates(headers, secs):
    wait = retry_after(headers)

    assert (None if wait is None else wait.total_seconds()) == secs


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ccxt.RateLimitExceeded("?"), 200, ExchangeLimitError),
        (ccxt.DDoSProtection("?"), 400, ExchangeLimitError),
        (ccxt.OnMaintenance("?"), 200, ExchangeUnavailableError),
        (ccxt.ExchangeNotAvailable("?"), None, ExchangeUnavailableError),
        (ccxt.RequestTimeout("?"), None, ExchangeUnavailableError),
        (ccxt.BadResponse("?"), 200, ExchangeNonsenseError),
        (ccxt.InvalidNonce("?"), 400, ExchangeUnavailableError),
        (ccxt.ExchangeError("the body was cut"), None, ExchangeUnavailableError),
        (ccxt.ExchangeError("try again later"), 200, ExchangeNonsenseError),
        (ccxt.ExchangeError("no"), 400, ExchangeRefusalError),
        (ccxt.BadRequest("?"), 200, ExchangeRefusalError),
        (ccxt.AuthenticationError("?"), 401, ExchangeRefusalError),
        (ccxt.PermissionDenied("?"), 200, ExchangeRefusalError),
        (ccxt.NotSupported("?"), None, ExchangeRefusalError),
        (ccxt.ArgumentsRequired("?"), None, ExchangeRefusalError),
        (ccxt.BadSymbol("?"), 400, UnknownSymbolError),
        (TypeError("CCXT tripped"), None, ExchangeNonsenseError),
        (KeyError("CCXT tripped"), None, ExchangeNonsenseError),
    ],
)
def test_an_error_of_ccxts_becomes_one_of_ours(error, status, kind):
    assert type(translated(FACTS, error, "BTC/USDT", status)) is kind


def test_without_a_symbol_nothing_is_unknown():
    assert type(translated(FACTS, ccxt.BadSymbol("?"), "")) is ExchangeRefusalError


def test_an_error_that_is_ours_already_stays():
    ours = ExchangeLimitError("fake", "HTTP 429", timedelta(seconds=3))

    assert translated(FACTS, ours, "BTC/USDT") is ours


def test_a_reason_is_short_and_names_no_address():
    reason = reason_of(ccxt.ExchangeError("fake GET https://api.example.com/?key=hunter2 \N{SNOWMAN} " + "x" * 999))

    assert "hunter2" not in reason
    assert reason.startswith("ExchangeError: fake GET (address) ?")
    assert len(reason) == 200
