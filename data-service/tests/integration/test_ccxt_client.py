"""CCXT's own class, unmodified, over HTTP: held to the contract, and without one call too many."""

from __future__ import annotations

import asyncio

import pytest
from exchange_contract import ExchangeClientContract, Subject

from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient
from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_simulator.faults import BodyFault, StatusFault

[BINANCE] = [facts for facts in EXCHANGES if facts.id == "binance"]
SYMBOL = "SOL/USDT"


@pytest.fixture
async def exchange(simulator):
    client = CCXTExchangeClient(BINANCE, base_url=simulator.base_url)
    yield client
    await client.close()


class TestCCXTBinance(ExchangeClientContract):
    @pytest.fixture
    def subject(self, simulator, exchange) -> Subject:
        return Subject(
            exchange,
            SYMBOL,
            "SOLUSDT",
            simulator.listed_at(SYMBOL),
            lambda wanted: simulator.candles(SYMBOL, "1m", wanted.start, wanted.end)["timestamp"].tolist(),
        )


async def test_making_and_closing_a_client_calls_nothing(simulator):
    await CCXTExchangeClient(BINANCE, base_url=simulator.base_url).close()

    assert simulator.calls.total == 0


async def test_markets_are_loaded_once_even_if_the_first_who_asks_goes_away(simulator, exchange):
    simulator.hold("exchangeInfo")
    first = asyncio.create_task(exchange.market(SYMBOL))
    others = [asyncio.create_task(exchange.market(SYMBOL)) for _ in range(3)]
    await simulator.wait_for_calls("exchangeInfo", 1)
    first.cancel()
    simulator.release("exchangeInfo")

    assert [market.id for market in await asyncio.gather(*others)] == ["SOLUSDT"] * 3
    assert simulator.calls.by_endpoint == {"exchangeInfo": 1}


@pytest.mark.parametrize("fault", [StatusFault(503), StatusFault(429), BodyFault("<html>"), BodyFault("{")])
async def test_no_answer_that_can_be_believed_is_one_error(simulator, exchange, fault):
    simulator.inject(fault, endpoint="exchangeInfo")

    with pytest.raises(ExchangeUnavailableError):
        await exchange.market(SYMBOL)
    assert (await exchange.market(SYMBOL)).id == "SOLUSDT"
