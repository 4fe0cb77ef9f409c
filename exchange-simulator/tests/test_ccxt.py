"""The unmodified CCXT class takes the simulator for Binance."""

from __future__ import annotations

from datetime import UTC, datetime

import ccxt.async_support as ccxt
import pytest

from cb_trade_simulator.clock import MINUTE_MS, to_milliseconds
from cb_trade_simulator.faults import StatusFault

from .ccxt_classes import make_exchange
from .conftest import NOW

START_MS = to_milliseconds(datetime(2024, 3, 1, tzinfo=UTC))


@pytest.fixture
async def exchange(simulator):
    exchange = make_exchange(simulator, "binance", options={"fetchMarkets": {"types": ["spot"]}})
    yield exchange
    await exchange.close()


async def test_markets_are_loaded_with_one_call(exchange, simulator):
    markets = await exchange.load_markets()

    assert set(markets) == {symbol for symbol in simulator.symbols if ":" not in symbol}
    assert simulator.calls.by_endpoint == {"exchangeInfo": 1}
    assert markets["BTC/USDT"]["spot"]
    assert markets["BTC/USDT"]["active"]
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["PEPE/USDT"]["precision"]["price"] == 0.00000001


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1w", "1M"])
async def test_candles_are_the_truth(timeframe, exchange, simulator):
    fetched = await exchange.fetch_ohlcv("SOL/USDT", timeframe, since=0, limit=5)

    truth = simulator.candles("SOL/USDT", timeframe, datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 2, 1, tzinfo=UTC))
    assert fetched == [list(row) for row in truth[:5].tolist()]


async def test_without_since_the_newest_candles_come(exchange):
    fetched = await exchange.fetch_ohlcv("BTC/USDT", "1m")

    assert len(fetched) == 500
    assert fetched[-1][0] == to_milliseconds(NOW.replace(second=0))


async def test_the_time_is_the_clocks(exchange):
    assert await exchange.fetch_time() == to_milliseconds(NOW)


async def test_the_order_book_stands_around_the_last_price(exchange):
    book = await exchange.fetch_order_book("BTC/USDT", 50)
    last = (await exchange.fetch_ohlcv("BTC/USDT", "1m", limit=1))[-1][4]

    bids, asks = [level[0] for level in book["bids"]], [level[0] for level in book["asks"]]
    assert len(bids) == len(asks) == 50
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert bids[0] < asks[0]
    assert abs(bids[0] - last) < 0.001 * last


@pytest.mark.parametrize("method", ["publicGetTrades", "publicGetAggTrades"])
async def test_the_newest_trades_end_at_the_last_price(method, exchange):
    trades = await exchange.fetch_trades("BTC/USDT", limit=50, params={"fetchTradesMethod": method})
    last = (await exchange.fetch_ohlcv("BTC/USDT", "1m", limit=1))[-1][4]

    assert len(trades) == 50
    assert trades[-1]["price"] == last
    assert trades[-1]["timestamp"] <= to_milliseconds(NOW)
    assert [trade["timestamp"] for trade in trades] == sorted(trade["timestamp"] for trade in trades)
    assert {trade["side"] for trade in trades} == {"buy", "sell"}


async def test_trades_since_a_time_add_up_to_its_candle(exchange):
    candle = (await exchange.fetch_ohlcv("ADA/BTC", "1h", since=START_MS, limit=1))[0]

    trades = await exchange.fetch_trades("ADA/BTC", since=START_MS, limit=1000)

    of_the_hour = [trade for trade in trades if trade["timestamp"] < START_MS + 60 * MINUTE_MS]
    assert sum(trade["amount"] for trade in of_the_hour) == candle[5]


async def test_refusals_and_faults_become_ccxts_own_errors(exchange, simulator):
    await exchange.load_markets()
    with pytest.raises(ccxt.BadRequest, match="-1120"):
        await exchange.fetch_ohlcv("BTC/USDT", "1s")

    simulator.inject(StatusFault(429, '{"code":-1003,"msg":"Too much request weight used."}'))
    with pytest.raises(ccxt.DDoSProtection):
        await exchange.fetch_ohlcv("BTC/USDT", "1m")
