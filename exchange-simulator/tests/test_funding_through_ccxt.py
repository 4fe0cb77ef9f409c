"""Funding as the unmodified CCXT classes see it over HTTP."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import DAY_MS, to_milliseconds

from .ccxt_classes import fetch_all_funding, make_exchange
from .conftest import NOW

PERPETUALS = {
    "binance": ("BTC/USDT:USDT", "SOL/USDT:USDT"),
    "bybit": ("BTC/USDT:USDT", "SOL/USDT:USDT"),
    "cryptocom": ("BTC/USD:USD", "SOL/USD:USD"),
    "okx": ("BTC/USDT:USDT", "SOL/USDT:USDT"),
}
RECORDED = Path(__file__).resolve().parents[3] / "shared/data"


@pytest.fixture(params=PERPETUALS)
def venue(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def exchange(venue: str, simulator: ExchangeSimulator) -> AsyncIterator[Any]:
    exchange = make_exchange(simulator, venue)
    yield exchange
    await exchange.close()


def truth(simulator: ExchangeSimulator, symbol: str, start: datetime, end: datetime) -> list[tuple[int, float]]:
    rows = simulator.funding(symbol, start, end)
    return list(zip(rows["timestamp"].tolist(), rows["rate"].tolist(), strict=True))


async def test_the_pages_add_up_to_the_truth(venue, exchange, simulator, clock):
    """Over more than one page, over the change of the schedule, from before the listing."""
    clock.set(datetime(2023, 6, 1, 12, 34, tzinfo=UTC))
    for symbol in PERPETUALS[venue]:
        start = simulator.listed_at(symbol) - timedelta(days=5)
        end = clock.now() - timedelta(days=1)
        if venue == "okx":  # it has no more
            start = clock.now() - timedelta(days=92)

        fetched = await fetch_all_funding(exchange, symbol, start, end)

        assert fetched == truth(simulator, symbol, start, end)
        assert len(fetched) > (250 if venue == "okx" else 1000)
    if venue == "okx":
        assert simulator.calls.by_endpoint["fundingRate"] == 1 + 2  # the second has 4 hours between them


async def test_the_newest_come_without_a_start(venue, exchange, simulator):
    symbol = PERPETUALS[venue][0]

    page = await exchange.fetch_funding_rate_history(symbol, limit=7)

    told = [(row["timestamp"], row["fundingRate"]) for row in page]
    assert told == truth(simulator, symbol, NOW - timedelta(days=30), NOW)[-7:]
    assert {row["symbol"] for row in page} == {symbol}


@pytest.mark.parametrize("venue", ["coinbase", "coinbaseexchange", "kraken"])
async def test_who_has_no_perpetuals_has_no_funding(venue, exchange):
    assert not exchange.has["fetchFundingRateHistory"]


async def test_an_unknown_perpetual_is_refused_in_the_venues_own_words(venue, exchange):
    await exchange.load_markets()
    exchange.markets[PERPETUALS[venue][0]]["id"] = "NOPE"

    with pytest.raises(ccxt.ExchangeError) as caught:
        await exchange.fetch_funding_rate_history(PERPETUALS[venue][0], since=to_milliseconds(NOW) - DAY_MS, limit=5)
    assert not isinstance(caught.value, ccxt.NetworkError)


@pytest.mark.parametrize("name", ["binance", "okx"])
@pytest.mark.parametrize("venue", PERPETUALS)
async def test_recorded_funding_is_replayed_with_its_duplicates_and_its_gaps(name, venue, exchange, simulator, clock):
    recorded = RECORDED / f"{name}_BTCUSDT_funding_rates.csv"
    if not recorded.exists():
        pytest.skip("the recorded data is not here")
    with recorded.open(newline="") as file:
        rows = [
            (to_milliseconds(datetime.fromisoformat(row["funding_timestamp"])), float(row["funding_rate"]))
            for row in csv.DictReader(file)
        ]
    clock.set(datetime(2026, 6, 1, tzinfo=UTC))
    symbol = PERPETUALS[venue][0]
    simulator.replay_funding(symbol, *zip(*rows, strict=True))
    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)

    fetched = await fetch_all_funding(exchange, symbol, start, end)

    assert truth(simulator, symbol, start, end) == sorted(rows, key=lambda row: row[0])
    assert set(fetched) <= set(rows)
    assert {time for time, _ in fetched} == {time for time, _ in rows}
    if name == "okx":  # the same instant twice, with two rates
        assert len(rows) - len({time for time, _ in rows}) == 210
