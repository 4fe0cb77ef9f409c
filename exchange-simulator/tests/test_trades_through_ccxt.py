"""Trades as the unmodified CCXT classes see them over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import ccxt.async_support as ccxt
import pytest

from cb_trade_simulator import ExchangeSimulator, ManualClock
from cb_trade_simulator.clock import to_milliseconds
from cb_trade_simulator.faults import Bursting
from cb_trade_simulator.venues import VENUES

from .ccxt_classes import fetch_all_trades, make_exchange
from .conftest import NOW

PAST = ("binance", "coinbase", "coinbaseexchange", "cryptocom", "kraken", "okx")
"""Who tells old trades and lets a client page through them."""
PERPETUALS = {"binance": "BTC/USDT:USDT", "cryptocom": "BTC/USD:USD", "okx": "BTC/USDT:USDT"}
START = datetime(2024, 4, 3, 10, 0, tzinfo=UTC)

Trade = tuple[int, int, float, float, str]


@pytest.fixture(params=PAST)
def venue(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def exchange(venue: str, simulator: ExchangeSimulator) -> AsyncIterator[Any]:
    exchange = make_exchange(simulator, venue)
    yield exchange
    await exchange.close()


def truth(simulator: ExchangeSimulator, symbol: str, start: datetime, end: datetime) -> list[Trade]:
    return [
        (trade_id, time_ms, price, amount, "sell" if buyer_is_maker else "buy")
        for trade_id, time_ms, price, amount, buyer_is_maker in simulator.trades(symbol, start, end).tolist()
    ]


def told(trades: list[dict[str, Any]], contract_size: float = 1.0) -> list[Trade]:
    return [
        (int(t["id"]), t["timestamp"], t["price"], round(t["amount"] * contract_size, 8), t["side"]) for t in trades
    ]


def as_told(venue: str, trades: list[Trade]) -> list[Trade]:
    """Return *trades* as CCXT hands them on: Coinbase tells the maker's side, which CCXT leaves as it is."""
    if venue != "coinbase":
        return trades
    return [(*rest, "sell" if side == "buy" else "buy") for *rest, side in trades]


@pytest.mark.parametrize("symbol", ["BTC/USDT", "ADA/BTC"])
async def test_the_pages_add_up_to_the_truth(symbol, venue, exchange, simulator):
    """Over several pages of a busy market and over quiet minutes of a quiet one."""
    length = timedelta(minutes=12) if symbol == "BTC/USDT" else timedelta(hours=2)

    fetched = await fetch_all_trades(exchange, symbol, START, START + length)

    assert told(fetched) == as_told(venue, truth(simulator, symbol, START, START + length))
    assert len(fetched) > (3000 if symbol == "BTC/USDT" else 50)
    times = [trade["timestamp"] for trade in fetched]
    assert symbol == "ADA/BTC" or len(set(times)) < len(times)
    assert {trade["symbol"] for trade in fetched} == {symbol}


async def test_more_than_a_page_in_one_millisecond_loses_nothing(venue, exchange, simulator):
    if venue == "coinbase":
        pytest.skip("Coinbase pages by the second, and has no way through a second of more than a page")
    at = START + timedelta(minutes=1, seconds=1, milliseconds=234)
    simulator.inject(Bursting("BTC/USDT", at, 2500))
    end = START + timedelta(minutes=2)

    fetched = await fetch_all_trades(exchange, "BTC/USDT", START, end)

    assert told(fetched) == as_told(venue, truth(simulator, "BTC/USDT", START, end))
    assert len([trade for trade in fetched if trade["timestamp"] == to_milliseconds(at)]) == 2500


@pytest.mark.parametrize("venue", PERPETUALS)
async def test_a_perpetual_pages_to_the_truth(venue, exchange, simulator):
    symbol, end = PERPETUALS[venue], START + timedelta(minutes=3)

    fetched = await fetch_all_trades(exchange, symbol, START, end)

    size = exchange.market(symbol)["contractSize"] if venue == "okx" else 1.0
    assert told(fetched, size) == as_told(venue, truth(simulator, symbol, START, end))
    assert len(fetched) > 500


@pytest.mark.parametrize("venue", VENUES)
async def test_the_newest_come_without_a_start_up_to_the_clock(venue, exchange, simulator):
    newest = await exchange.fetch_trades("BTC/USDT", limit=7)

    assert told(newest) == as_told(
        venue, truth(simulator, "BTC/USDT", NOW - timedelta(minutes=1), NOW + timedelta(days=1))[-7:]
    )


async def test_an_unknown_symbol_is_refused_in_the_venues_own_words(venue, exchange):
    await exchange.load_markets()
    exchange.markets["BTC/USDT"]["id"] = "NOPE"

    with pytest.raises(ccxt.ExchangeError) as caught:
        await exchange.fetch_trades("BTC/USDT", limit=5)
    assert not isinstance(caught.value, ccxt.NetworkError)


async def test_an_outage_and_a_listing_page_to_the_truth(venue, exchange, simulator, clock: ManualClock):
    outage = VENUES[venue].outages[-1]
    listed = simulator.listed_at("SOL/USDT")
    spans = [
        ("ADA/BTC", outage.start - timedelta(minutes=20), outage.end + timedelta(minutes=20)),
        ("SOL/USDT", listed - timedelta(minutes=70), listed + timedelta(minutes=2)),
    ]
    for symbol, start, end in spans:
        clock.set(end + timedelta(minutes=5))

        fetched = await fetch_all_trades(exchange, symbol, start, end)

        assert told(fetched) == as_told(venue, truth(simulator, symbol, start, end))
        assert fetched
