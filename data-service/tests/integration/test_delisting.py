"""Markets that end, vanish or begin anew: found out once, told apart from holes, and never asked about in vain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from service_harness import RunningService, at, ms, running_service

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.faults import Delisting, Relisting

SYMBOL = "SOL/USDT"
BEFORE, GONE, AFTER = at("2024-01-01"), at("2024-01-03T10:30"), at("2024-03-01")


@pytest.fixture
async def simulator() -> AsyncIterator[ExchangeSimulator]:
    async with ExchangeSimulator(venue="binance", seed=1).serve() as running:
        yield running


def states(reply) -> list[str]:
    return [segment["state"] for segment in reply.last["coverage"]]


async def test_what_lies_after_delisting_is_delisted_and_costs_nothing(simulator, service, client):
    simulator.inject(Delisting(SYMBOL, GONE))

    first = await client.history(BEFORE, AFTER, symbol=SYMBOL)
    calls = simulator.calls.by_endpoint["klines"]
    later = await client.history(GONE, at("2025-01-01"), symbol=SYMBOL)
    again = await client.history(BEFORE, AFTER, symbol=SYMBOL)

    np.testing.assert_array_equal(first.rows, simulator.candles(SYMBOL, "1m", BEFORE, GONE))
    np.testing.assert_array_equal(again.rows, first.rows)
    assert first.last["coverage"] == [
        {"start_time": ms(BEFORE), "end_time": ms(GONE), "state": "held"},
        {"start_time": ms(GONE), "end_time": ms(AFTER), "state": "delisted"},
    ]
    assert first.last["gaps"] == []
    assert states(later) == ["delisted"]
    assert first.last["exchange_calls"] == 4
    assert calls <= 4 + 7  # the pages, and what it took to find the last bar
    assert simulator.calls.by_endpoint["klines"] == calls


async def test_a_market_that_ends_while_it_is_known_ends_with_its_last_bar(simulator, tmp_path):
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        await client.history(BEFORE, at("2024-01-02"), symbol=SYMBOL)
    simulator.inject(Delisting(SYMBOL, GONE))

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        reply = await client.history(BEFORE, AFTER, symbol=SYMBOL)
        calls = simulator.calls.by_endpoint["klines"]
        await client.history(at("2024-02-01"), AFTER, symbol=SYMBOL)

    np.testing.assert_array_equal(reply.rows, simulator.candles(SYMBOL, "1m", BEFORE, GONE))
    assert states(reply) == ["held", "delisted"]
    assert simulator.calls.by_endpoint["klines"] == calls


async def test_of_a_symbol_that_vanished_what_is_stored_is_delivered_and_the_rest_says_why_not(simulator, tmp_path):
    stored = at("2024-01-02"), at("2024-01-03")
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        await client.history(*stored, symbol=SYMBOL)
    simulator.inject(Delisting(SYMBOL, GONE, vanishes=True))
    simulator.calls.reset()

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        reply = await client.history(BEFORE, AFTER, symbol=SYMBOL)
        after = await client.history(stored[1], AFTER, symbol=SYMBOL)

    np.testing.assert_array_equal(reply.rows, simulator.candles(SYMBOL, "1m", *stored))
    assert (states(reply)[:2], set(states(reply)[2:])) == (["failed", "held"], {"failed"})
    assert {gap["reason"] for gap in reply.last["gaps"]} == {"binance does not list SOL/USDT any more"}
    assert set(states(after)) == {"failed"}
    assert simulator.calls.by_endpoint == {"time": 1, "exchangeInfo": 1}


async def test_a_symbol_that_was_never_known_and_is_not_listed_stays_an_error(simulator, service: RunningService):
    simulator.inject(Delisting(SYMBOL, GONE, vanishes=True))
    async with service.client() as client:
        reply = await client.history(BEFORE, AFTER, symbol=SYMBOL)

    assert (reply.last["type"], reply.last["code"]) == ("error_response", "unknown_symbol")


async def test_a_relisting_takes_the_delisting_back(simulator, tmp_path):
    begin = at("2024-01-05")
    simulator.inject(Delisting(SYMBOL, GONE))
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        delisted = await client.history(BEFORE, at("2024-01-06"), symbol=SYMBOL)
    async with ExchangeSimulator(venue="binance", seed=1).serve() as reborn:
        reborn.inject(Relisting(SYMBOL, GONE, begin))
        async with running_service(tmp_path, reborn.base_url) as service, service.client() as client:
            believed = await client.history(BEFORE, at("2024-01-06"), symbol=SYMBOL)
            refreshed = await client.history(at("2024-01-03"), at("2024-01-06"), symbol=SYMBOL, refresh=True)
            whole = await client.history(BEFORE, at("2024-01-06"), symbol=SYMBOL)

        assert states(delisted) == states(believed) == ["held", "delisted"]
        truth = reborn.candles(SYMBOL, "1m", BEFORE, at("2024-01-06"))
    assert truth["timestamp"][-1] == ms(at("2024-01-05T23:59"))
    np.testing.assert_array_equal(whole.rows, truth)
    assert "delisted" not in states(refreshed) + states(whole)
