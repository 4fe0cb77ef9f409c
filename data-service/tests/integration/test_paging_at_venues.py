"""The whole service in front of each proven exchange: the truth, for the fewest calls, and nothing asked twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import numpy as np
import pytest
from service_harness import RunningService, at, historical, ms, running_service, token

from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.venues import VENUES

FACTS = {facts.id: facts for facts in EXCHANGES}
WITH_HISTORY = [name for name in FACTS if FACTS[name].history_bars is None]
MINUTE = timedelta(minutes=1)
LISTED_AT = at("2020-08-11T06:00")


@pytest.fixture(params=WITH_HISTORY)
def exchange(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def simulator(exchange: str) -> AsyncIterator[ExchangeSimulator]:
    async with ExchangeSimulator(exchange, seed=1).serve() as running:
        yield running


@pytest.fixture
async def service(simulator: ExchangeSimulator, exchange: str, tmp_path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path, {exchange: simulator.base_url}) as running:
        yield running


async def test_a_range_around_an_outage_is_the_truth_for_the_fewest_pages(exchange, simulator, client):
    """Quiet minutes among it, which some exchanges omit."""
    outage, limit = VENUES[exchange].outages[-1], FACTS[exchange].page_limit_bars
    start = outage.start - 30 * MINUTE
    end = start + (2 * limit + 100) * MINUTE
    ask = {"exchange": exchange, "symbol": "ADA/BTC"}

    plan = await client.ask({**historical(start, end, **ask), "type": "plan_historical"})
    cold = await client.history(start, end, **ask)
    calls = simulator.calls.by_endpoint["klines"]
    warm = await client.history(start, end, **ask)

    np.testing.assert_array_equal(cold.rows, simulator.candles("ADA/BTC", "1m", start, end))
    np.testing.assert_array_equal(warm.rows, cold.rows)
    assert calls == plan["exchange_calls"] == cold.last["exchange_calls"] == 3
    assert simulator.calls.by_endpoint["klines"] == calls
    assert cold.last["gaps"] == []


async def test_before_the_listing_is_unlisted_for_a_handful_of_calls(exchange, simulator, client):
    start, end = LISTED_AT - timedelta(days=900), LISTED_AT + 60 * MINUTE

    reply = await client.history(start, end, exchange=exchange, symbol="SOL/USDT")

    np.testing.assert_array_equal(reply.rows, simulator.candles("SOL/USDT", "1m", start, end))
    assert reply.last["coverage"] == [
        {"start_time": ms(start), "end_time": ms(LISTED_AT), "state": "unlisted"},
        {"start_time": ms(LISTED_AT), "end_time": ms(end), "state": "held"},
    ]
    assert simulator.calls.by_endpoint["klines"] <= 2 + 7  # an empty page, the one with rows, and the search


@pytest.mark.parametrize("exchange", ["kraken"])
async def test_what_an_exchange_serves_no_more_is_unavailable_and_no_hole(exchange, simulator, service, client):
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start, end = now - timedelta(hours=900), now - timedelta(hours=600)

    plan = await client.ask({**historical(start, end, exchange=exchange, timeframe="1h"), "type": "plan_historical"})
    reply = await client.history(start, end, exchange=exchange, timeframe="1h")
    calls = simulator.calls.total
    again = await client.history(start, end, exchange=exchange, timeframe="1h", refresh=False)
    older = await client.history(start - timedelta(days=900), start, exchange=exchange, timeframe="1h")
    address = f"{service.http_url}/v1/coverage"
    parameters = {
        "exchange": exchange,
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "start_time": ms(start),
        "end_time": ms(end),
    }
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        session.get(address, params=parameters) as response,
    ):
        ledger = await response.json()

    [gap] = reply.last["gaps"]
    horizon = datetime.fromtimestamp(gap["end_time"] / 1000, UTC)
    assert horizon - now in {timedelta(hours=-719), timedelta(hours=-718)}  # the latter if an hour begins meanwhile
    assert (gap["start_time"], gap["state"]) == (ms(start), "unavailable")
    assert gap["reason"] == "kraken serves only its newest 720 bars"
    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1h", horizon, end))
    np.testing.assert_array_equal(again.rows, reply.rows)
    assert [segment["state"] for segment in older.last["coverage"]] == ["unavailable"]
    assert [segment["state"] for segment in ledger["segments"]] == ["unavailable", "held"]
    assert plan["exchange_calls"] == reply.last["exchange_calls"] == 1
    assert plan["missing"] == [{"start_time": gap["end_time"], "end_time": ms(end)}]
    assert simulator.calls.total == calls
