"""What every client of a CCXT class does beside fetching rows: loading markets, refreshing them, closing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from ccxt_venues import FACTS, NOW, Venue, running_venue
from service_harness import at

from cb_trade_data.errors import ExchangeUnavailableError, UnknownSymbolError
from cb_trade_data.models.time_range import TimeRange
from cb_trade_simulator.faults import BodyFault, StatusFault

SYMBOL, PERPETUAL = "SOL/USDT", "SOL/USDT:USDT"
WINDOW = TimeRange(at("2024-05-01T10:00"), at("2024-05-01T10:10"))


class Stopwatch:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.secs = 1_000.0

    def __call__(self) -> float:
        return self.secs

    def advance(self, step: timedelta) -> None:
        self.secs += step.total_seconds()


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
async def binance(stopwatch):
    async with running_venue(FACTS["binance"], monotonic_secs=stopwatch) as venue:
        yield venue


async def test_making_and_closing_a_client_calls_nothing():
    async with running_venue(FACTS["binance"]) as venue:
        await venue.client.close()

        assert venue.simulator.calls.total == 0


async def test_spot_markets_and_perpetuals_are_each_loaded_when_first_needed(binance: Venue):
    await binance.client.market(SYMBOL)
    assert binance.simulator.calls.paths("exchangeInfo") == ["/api/v3/exchangeInfo"]

    spot, perpetual = await asyncio.gather(
        binance.client.fetch_ohlcv(binance.series(SYMBOL, "1m"), WINDOW),
        binance.client.fetch_ohlcv(binance.series(PERPETUAL, "1m"), WINDOW),
    )

    assert spot.rows.num_rows == perpetual.rows.num_rows == 10
    assert spot.rows != perpetual.rows
    assert binance.simulator.calls.paths("exchangeInfo") == ["/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo"]


async def test_perpetuals_that_cannot_be_had_do_not_take_the_spot_markets_with_them(binance: Venue):
    await binance.client.market(SYMBOL)
    binance.simulator.inject(StatusFault(451), endpoint="exchangeInfo")

    with pytest.raises(ExchangeUnavailableError, match="451"):
        await binance.client.market(PERPETUAL)

    assert (await binance.client.fetch_ohlcv(binance.series(SYMBOL, "1m"), WINDOW)).rows.num_rows == 10


async def test_whoever_says_in_the_options_which_markets_are_loaded_gets_these():
    options = {"fetchMarkets": {"types": ["spot", "linear"]}}
    async with running_venue(FACTS["binance"], options=options) as venue:
        await venue.client.market(SYMBOL)

        assert (await venue.client.market(PERPETUAL)).is_active
        assert venue.simulator.calls.by_endpoint == {"exchangeInfo": 2}


async def test_a_market_that_is_not_found_is_looked_for_again_after_ten_minutes(binance: Venue, stopwatch: Stopwatch):
    for minutes, loads in ((0, 1), (9, 1), (11, 2), (11, 2)):
        stopwatch.secs = 1_000 + minutes * 60
        with pytest.raises(UnknownSymbolError):
            await binance.client.market("NO/SUCH")
        assert binance.simulator.calls.by_endpoint["exchangeInfo"] == loads


async def test_a_market_that_is_listed_later_is_found(stopwatch: Stopwatch):
    before = at("2020-08-11T05:59")
    async with running_venue(FACTS["binance"], before, monotonic_secs=stopwatch) as venue:
        with pytest.raises(UnknownSymbolError):
            await venue.client.market(SYMBOL)
        venue.clock.set(NOW)
        stopwatch.advance(timedelta(minutes=11))

        assert (await venue.client.market(SYMBOL)).is_active
        assert (await venue.client.fetch_ohlcv(venue.series(SYMBOL, "1m"), WINDOW)).rows.num_rows == 10


async def test_whether_a_market_is_traded_is_due_again_after_an_hour(binance: Venue, stopwatch: Stopwatch):
    assert (await binance.client.market(SYMBOL)).is_active
    binance.simulator.inject("delist=SOL/USDT,2024-05-01T12:00")

    stopwatch.advance(timedelta(minutes=59))
    assert binance.client.markets_due(SYMBOL, anew=True) is None
    stopwatch.advance(timedelta(minutes=2))
    assert binance.client.markets_due(SYMBOL, anew=False) is None
    due = binance.client.markets_due(SYMBOL, anew=True)
    assert due is not None
    await binance.client.load_markets(due)
    assert not (await binance.client.market(SYMBOL)).is_active
    assert binance.simulator.calls.by_endpoint == {"exchangeInfo": 2}


async def test_rows_need_no_fresh_markets(binance: Venue, stopwatch: Stopwatch):
    for _ in range(3):
        stopwatch.advance(timedelta(days=1))
        await binance.client.fetch_ohlcv(binance.series(SYMBOL, "1m"), WINDOW)

    assert binance.simulator.calls.by_endpoint == {"exchangeInfo": 1, "klines": 3}


@pytest.mark.parametrize("fault", [StatusFault(503), StatusFault(429), BodyFault("<html>"), BodyFault("{")])
async def test_no_answer_that_can_be_believed_is_one_error(binance: Venue, fault):
    binance.simulator.inject(fault, endpoint="exchangeInfo")

    with pytest.raises(ExchangeUnavailableError):
        await binance.client.market(SYMBOL)
    assert (await binance.client.market(SYMBOL)).id == "SOLUSDT"
