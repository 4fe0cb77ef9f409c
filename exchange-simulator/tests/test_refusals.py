"""Binance's refusals, word for word."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

MISSING = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."
NUMBER = "Illegal characters found in parameter '{}'; legal range is '^[0-9]{{1,20}}$'."
KLINES = {"symbol": "BTCUSDT", "interval": "1m"}


@pytest.mark.parametrize(
    ("endpoint", "query", "code", "message"),
    [
        ("klines", KLINES | {"symbol": "NOPE"}, -1121, "Invalid symbol."),
        ("klines", KLINES | {"interval": "7m"}, -1120, "Invalid interval."),
        ("klines", KLINES | {"interval": "1s"}, -1120, "Invalid interval."),
        ("klines", {"interval": "1m"}, -1102, MISSING.format("symbol")),
        ("klines", {"symbol": "BTCUSDT"}, -1102, MISSING.format("interval")),
        ("klines", KLINES | {"symbol": ""}, -1102, MISSING.format("symbol")),
        ("klines", KLINES | {"startTime": "now"}, -1100, NUMBER.format("startTime")),
        ("klines", KLINES | {"endTime": "-1"}, -1100, NUMBER.format("endTime")),
        ("klines", KLINES | {"limit": "9" * 5000}, -1100, NUMBER.format("limit")),
        ("klines", KLINES | {"limit": ""}, -1105, "Parameter 'limit' was empty."),
        ("klines", KLINES | {"limit": "0"}, -1130, "Data sent for parameter 'limit' is not valid."),
        (
            "klines",
            KLINES | {"symbol": "btcusdt"},
            -1100,
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
        ),
        (
            "klines",
            KLINES | {"colour": "red"},
            -1104,
            "Not all sent parameters were read; read '2' parameter(s) but was sent '3'.",
        ),
        ("depth", {"symbol": "NOPE", "limit": "9" * 5000}, -1100, NUMBER.format("limit")),
        ("trades", {}, -1102, MISSING.format("symbol")),
        ("exchangeInfo", {"symbol": "NOPE"}, -1121, "Invalid symbol."),
    ],
)
async def test_a_bad_request_is_refused_as_binance_refuses_it(endpoint, query, code, message, get):
    reply = await get(endpoint, **query)

    assert reply.status == 400
    assert reply.json == {"code": code, "msg": message}
    assert reply.headers["Content-Type"] == "application/json;charset=UTF-8"


@pytest.mark.parametrize(
    ("endpoint", "host"), [("nonsense", "api.binance.com"), ("klines", "example.com"), ("", "api.binance.com")]
)
async def test_an_unknown_address_is_a_404_and_counted_apart(endpoint, host, get, simulator):
    reply = await get(endpoint, host=host)

    assert reply.status == 404
    assert simulator.calls.by_endpoint == {"unknown": 1}


async def test_a_market_does_not_exist_before_its_listing(get, clock):
    clock.set(datetime(2020, 8, 11, 5, 59, tzinfo=UTC))
    assert (await get("klines", symbol="SOLUSDT", interval="1m")).json["code"] == -1121
    assert "SOLUSDT" not in {market["symbol"] for market in (await get("exchangeInfo")).json["symbols"]}

    clock.set(datetime(2020, 8, 11, 6, 1, tzinfo=UTC))
    assert len((await get("klines", symbol="SOLUSDT", interval="1m", endTime=1597125600000)).json) == 1
    assert "SOLUSDT" in {market["symbol"] for market in (await get("exchangeInfo")).json["symbols"]}


async def test_exchange_info_can_be_asked_for_some_markets(get):
    one = (await get("exchangeInfo", symbol="ETHUSDT")).json["symbols"]
    two = (await get("exchangeInfo", symbols='["ETHUSDT","ADABTC"]')).json["symbols"]

    assert [market["symbol"] for market in one] == ["ETHUSDT"]
    assert [market["symbol"] for market in two] == ["ETHUSDT", "ADABTC"]
