"""Which error an exchange's trouble becomes: the same on every venue, whatever CCXT's class makes of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from ccxt_venues import FACTS, PERPETUALS, Venue, running_venue
from service_harness import at

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeNonsenseError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
    UnknownSymbolError,
)
from cb_trade_data.models.time_range import TimeRange
from cb_trade_simulator.faults import BodyFault, StatusFault

WINDOW = TimeRange(at("2024-05-01T12:00"), at("2024-05-01T12:10"))
LIMIT, UNAVAILABLE, REFUSAL = ExchangeLimitError, ExchangeUnavailableError, ExchangeRefusalError
NONSENSE = ExchangeNonsenseError


@pytest.fixture
async def venue(venue: Venue) -> Venue:
    """One whose markets are loaded."""
    await venue.client.market("SOL/USDT")
    return venue


async def failure(venue: Venue, timeframe: str = "1m") -> tuple[type[Exception], float | None]:
    """Return the kind of error that a page ends with, and the wait in seconds that goes with it."""
    with pytest.raises(Exception, match=r".") as caught:
        await venue.client.fetch_ohlcv(venue.series("SOL/USDT", timeframe), WINDOW)
    wait = getattr(caught.value, "retry_after", None)
    return type(caught.value), None if wait is None else wait.total_seconds()


async def test_a_fault_has_the_same_meaning_on_every_venue(venue: Venue, name: str):
    expected = {
        "429": (LIMIT, None),
        "429=7": (LIMIT, 7.0),
        "too-many": (LIMIT, None),
        "418": (LIMIT, None),
        "418=120": (LIMIT, 120.0),
        "403": (LIMIT if name == "bybit" else UNAVAILABLE, None),
        "400": (NONSENSE, None),  # and not a word
        "404": (NONSENSE, None),
        "451": (REFUSAL, None),
        "500": (UNAVAILABLE, None),
        "503=30": (UNAVAILABLE, 30.0),
        "truncated": (UNAVAILABLE, None),
        "cut-json": (NONSENSE, None),
        "html": (NONSENSE, None),
        "reset": (UNAVAILABLE, None),
    }

    met = {}
    for fault in expected:
        venue.simulator.inject(fault, times=None)  # aiohttp asks again at once if a connection was reset
        met[fault] = await failure(venue)
        venue.simulator.clear_faults()

    assert met == expected


async def test_an_exchange_that_does_not_answer_is_not_waited_for(name: str):
    async with running_venue(FACTS[name], timeout=timedelta(seconds=0.1)) as venue:
        venue.simulator.inject("hang@*", times=None)

        assert await failure(venue) == (UNAVAILABLE, None)


@pytest.mark.parametrize("name", [name for name in FACTS if name != "binance"])
async def test_a_fault_while_markets_are_loaded_has_that_meaning_too(name: str):
    for fault, kind in (("429=7", LIMIT), ("503", UNAVAILABLE), ("html", NONSENSE), ("cut-json", NONSENSE)):
        async with running_venue(FACTS[name]) as venue:
            venue.simulator.inject(f"{fault}@exchangeInfo")
            with pytest.raises(ExchangeUnavailableError) as caught:
                await venue.client.market("SOL/USDT")
            assert type(caught.value) is kind, fault


async def test_an_answer_that_is_json_and_no_candles_is_not_believed(venue: Venue):
    """CCXT reads silence out of most of these."""
    for body in (
        "{}", "null", "0", '"maintenance"', "[null]", '{"status":"maintenance"}', '{"result":{}}', '{"candles":null}',
        '{"code":"0"}', '{"code":0,"result":{}}', '{"error":[],"result":{}}', '{"retCode":0,"result":{}}',
    ):  # fmt: skip
        venue.simulator.inject(BodyFault(body))
        assert await failure(venue) == (NONSENSE, None), body


async def test_waits_of_concurrent_calls_are_not_mixed_up(venue: Venue):
    """CCXT keeps the headers of whichever answer came last in one attribute for all."""
    waits = [3, 5, 7, 11]
    for wait in waits:
        venue.simulator.inject(f"429={wait}", times=1)

    failures = await asyncio.gather(*(failure(venue) for _ in waits))

    assert sorted(failures, key=lambda met: met[1] or 0) == [(LIMIT, float(wait)) for wait in waits]


async def test_a_market_that_vanished_is_unknown_in_whatever_words_the_venue_says_so(venue: Venue):
    venue.simulator.inject("delist=SOL/USDT,2024-05-01T12:00,vanishes")

    assert await failure(venue) == (UnknownSymbolError, None)


@pytest.mark.parametrize("name", [name for name in FACTS if name != "kraken"])
async def test_what_a_venue_does_not_serve_is_a_refusal(venue: Venue):
    """Kraken is not asked at all: CCXT does not know how."""
    assert await failure(venue, "7m") == (REFUSAL, None)


async def test_a_hole_in_the_rows_is_no_error(venue: Venue):
    venue.simulator.inject("empty", times=1)

    assert (await venue.client.fetch_ohlcv(venue.series("SOL/USDT", "1m"), WINDOW)).rows.num_rows == 0


async def test_a_missing_price_is_not_a_number(venue: Venue):
    venue.simulator.inject("null", times=1)

    page = await venue.client.fetch_ohlcv(venue.series("SOL/USDT", "1m"), WINDOW)

    opens = page.rows.column("open").to_numpy()
    assert (opens != opens).sum() == 1


@pytest.mark.parametrize("name", ["bybit"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"retCode":10016,"retMsg":"System error. Please try again later.","result":{}}', NONSENSE),
        ('{"retCode":10006,"retMsg":"Too many visits!","result":{}}', LIMIT),
        ('{"retCode":10001,"retMsg":"params error: interval","result":{}}', REFUSAL),
        ('{"retCode":10001,"retMsg":"Not supported symbols","result":{}}', UnknownSymbolError),
        ('{"retCode":424242,"retMsg":"?","result":{}}', NONSENSE),
    ],
)
async def test_words_under_an_http_200_are_told_apart(venue: Venue, body: str, kind: type[Exception]):
    venue.simulator.inject(BodyFault(body))

    assert await failure(venue) == (kind, None)


@pytest.mark.parametrize("name", ["cryptocom"])
async def test_an_error_in_cryptocoms_words_under_a_5xx_passes(venue: Venue):
    """CCXT makes a plain ExchangeError of it, which looks like a refusal."""
    venue.simulator.inject(StatusFault(500, '{"id":-1,"code":50001,"message":"ERR_INTERNAL"}'))

    assert await failure(venue) == (UNAVAILABLE, None)


@pytest.mark.parametrize("name", ["coinbase"])
@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"error":"unknown"}', '{"data":{}}', '{"errors":[{"id":"x"}]}'])
async def test_coinbase_says_too_many_in_whatever_body(venue: Venue, body: str):
    venue.simulator.inject(StatusFault(429, body))

    assert await failure(venue) == (LIMIT, None)


async def test_where_there_is_a_perpetual_its_errors_are_the_same():
    async with running_venue(FACTS["bybit"]) as venue:
        series = venue.series(PERPETUALS["bybit"], "1m")
        venue.simulator.inject("429=9", times=1)
        with pytest.raises(ExchangeLimitError) as caught:
            await venue.client.fetch_ohlcv(series, WINDOW)

    assert caught.value.retry_after == timedelta(seconds=9)
