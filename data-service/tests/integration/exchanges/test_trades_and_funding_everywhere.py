"""Trades and funding rates of every exchange that has them: all there are, value for value, with the fewest calls."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from service_harness import Client, Reply, fewest_calls, running_service

from cb_trade_simulator import ExchangeSimulator

# The most rows of a page of trades, and whether it is the newest ones of a window.
TRADES = {
    "binance": (1_000, False),
    "coinbase": (1_000, True),
    "cryptocom": (150, True),
    "kraken": (1_000, False),
    "okx": (100, True),
}
FUNDING = {
    "binance": ("BTC/USDT:USDT", 1_000),
    "bybit": ("BTC/USDT:USDT", 200),
    "cryptocom": ("BTC/USD:USD", 300),
    "okx": ("BTC/USDT:USDT", 400),
}
MS = timedelta(milliseconds=1)
EPOCH = datetime.fromisoformat("1970-01-01T00:00Z")


async def asked(client: Client, exchange: str, symbol: str, kind: str, start: datetime, end: datetime) -> Reply:
    return await client.history(start, end, exchange=exchange, symbol=symbol, kind=kind, timeframe=None)


@pytest.mark.parametrize("exchange", TRADES)
async def test_all_trades_of_a_range_come_with_the_fewest_calls_and_never_again(exchange: str, tmp_path: Path):
    page_rows, newest_first = TRADES[exchange]
    async with ExchangeSimulator(venue=exchange, seed=3).serve(host="127.0.0.1", port=0) as simulator:
        end = simulator.clock.now().replace(hour=4, minute=0, second=0, microsecond=0) - timedelta(days=2)
        start = end - timedelta(minutes=4)
        truth = simulator.trades("BTC/USDT", start, end)
        async with running_service(tmp_path, {exchange: simulator.base_url}) as service, service.client() as client:
            cold = await asked(client, exchange, "BTC/USDT", "trades", start, end)
            calls = cold.last["exchange_calls"]
            simulator.calls.reset()
            warm = await asked(client, exchange, "BTC/USDT", "trades", start, end)
            again = simulator.calls.total

    expected = [
        (int(each["timestamp"]), str(each["id"]), float(each["price"]), float(each["amount"])) for each in truth
    ]
    assert [(row["timestamp"], row["id"], row["price"], row["amount"]) for row in cold.events] == expected
    assert [row["side"] for row in cold.events] == ["sell" if each["buyer_is_maker"] else "buy" for each in truth]
    assert cold.last["gaps"] == []
    assert len(expected) > page_rows
    times = truth["timestamp"]
    ordered = -times[::-1] if newest_first else times
    assert calls == fewest_calls(ordered, page_rows)
    assert warm.events == cold.events
    assert warm.last["digest"] == cold.last["digest"]
    assert again == 0


@pytest.mark.parametrize("exchange", FUNDING)
async def test_all_funding_rates_of_a_range_come_with_the_fewest_calls_and_never_again(exchange: str, tmp_path: Path):
    symbol, page_rows = FUNDING[exchange]
    async with ExchangeSimulator(venue=exchange, seed=3).serve(host="127.0.0.1", port=0) as simulator:
        end = simulator.clock.now() - timedelta(days=1)
        start = end - timedelta(days=80)
        truth = simulator.funding(symbol, start, end)
        async with running_service(tmp_path, {exchange: simulator.base_url}) as service, service.client() as client:
            cold = await asked(client, exchange, symbol, "funding_rate", start, end)
            simulator.calls.reset()
            warm = await asked(client, exchange, symbol, "funding_rate", start, end)
            again = simulator.calls.total

    assert [(row["timestamp"], row["rate"]) for row in cold.events] == [
        (int(each["timestamp"]), float(each["rate"])) for each in truth
    ]
    assert cold.last["gaps"] == []
    assert cold.last["exchange_calls"] == 1 + (len(truth) - 1) // (page_rows - 1)
    assert warm.events == cold.events
    assert again == 0


@pytest.mark.parametrize(
    ("exchange", "kind", "symbol"),
    [
        ("bybit", "trades", "BTC/USDT"),
        ("coinbaseexchange", "trades", "BTC/USDT"),
        ("kraken", "funding_rate", "BTC/USDT"),
        ("coinbase", "funding_rate", "BTC/USDT"),
    ],
)
async def test_what_an_exchange_does_not_have_is_an_unsupported_kind(
    exchange: str, kind: str, symbol: str, tmp_path: Path
):
    start = datetime.fromisoformat("2024-01-01T00:00Z")
    async with running_service(tmp_path, {exchange: "http://127.0.0.1:9"}) as service, service.client() as client:
        reply = await asked(client, exchange, symbol, kind, start, start + timedelta(days=1))

    assert reply.last["code"] == "unsupported_kind"


async def test_what_is_kept_for_three_months_is_unavailable_before(tmp_path: Path):
    async with ExchangeSimulator(venue="okx", seed=3).serve(host="127.0.0.1", port=0) as simulator:
        end = simulator.clock.now() - timedelta(days=60)
        async with running_service(tmp_path, {"okx": simulator.base_url}) as service, service.client() as client:
            reply = await asked(client, "okx", "BTC/USDT:USDT", "funding_rate", end - timedelta(days=60), end)

    truth = simulator.funding("BTC/USDT:USDT", EPOCH + reply.last["gaps"][-1]["end_time"] * MS, end)
    assert {gap["state"] for gap in reply.last["gaps"]} == {"unavailable"}
    assert [row["timestamp"] for row in reply.events] == truth["timestamp"].tolist()
    assert len(truth) > 50
