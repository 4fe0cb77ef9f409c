"""What an answer without candles means: that there are none only where it says so, whatever CCXT's class makes of it.

The classes are CCXT's own, of exchanges that nobody has proven; the answers have the form that their code reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import ccxt.async_support as ccxt
import pytest

from cb_trade_data.exchange_source.plugins.distrustful import distrustful_class
from cb_trade_data.exchange_source.plugins.generic import generic_facts

SINCE_MS = 1_700_000_000_000
SPOT, PERPETUAL = "BTC/USDT", "BTC/USDT:USDT"
COLUMNS = {name: [] for name in ("time", "open", "close", "high", "low", "vol", "amount")}

SILENCE = [
    ("bitget", SPOT, {"code": "00000", "msg": "success", "requestTime": 1695865615662, "data": []}),
    ("htx", SPOT, {"status": "ok", "ch": "market.btcusdt.kline.1min", "ts": 1591515374371, "data": []}),
    ("kucoin", SPOT, {"code": "200000", "data": []}),
    ("kucoin", PERPETUAL, {"code": "200000", "data": []}),
    ("bitstamp", SPOT, {"data": {"pair": "BTC/USDT", "ohlc": []}}),
    ("mudrex", PERPETUAL, {"success": True, "data": {"asset_ticks": {"btc/usdt": []}}}),
    ("krakenfutures", PERPETUAL, {"candles": [], "more_candles": False}),
    ("bitfinex", SPOT, []),
    ("gate", SPOT, []),
    ("gemini", SPOT, []),
    ("hyperliquid", SPOT, []),
    ("mexc", SPOT, []),
    ("mexc", PERPETUAL, {"success": True, "code": 0, "data": COLUMNS}),
    (
        "deribit",
        PERPETUAL,
        {
            "jsonrpc": "2.0",
            "result": {"status": "no_data"}
            | {name: [] for name in ("volume", "ticks", "open", "low", "high", "cost", "close")},
        },
    ),
    ("mercado", SPOT, {name: [] for name in "tohlcv"}),
]
NO_ANSWERS = [
    {"retCode": 0},
    {"status": "maintenance"},
    {"code": 0, "data": None},
    {"code": "200000", "data": {}},
    {"result": {"list": None}},
    {"error": [], "result": {}},
    {"errors": [], "warnings": [], "data": {}},
    {"data": {"time": [], "open": [1.0], "close": [1.0], "high": [1.0], "low": [1.0], "vol": [1.0]}},
]


@pytest.fixture(params=SILENCE, ids=[f"{name} {symbol}" for name, symbol, _ in SILENCE])
def case(request: pytest.FixtureRequest) -> tuple[str, str, Any]:
    return request.param


@pytest.fixture
async def candles(case, monkeypatch) -> AsyncIterator[Callable[[Any], Awaitable[Any]]]:
    """Return what fetches candles from a class that gets an answer over the wire."""
    name, symbol, _ = case
    exchange = distrustful_class(generic_facts(name))({"enableRateLimit": False})
    exchange.set_markets([market(exchange, symbol)])

    async def candles(answer: Any) -> Any:
        async def fetch(*_: Any) -> Any:
            return answer

        monkeypatch.setattr(ccxt.Exchange, "fetch", fetch)
        return await exchange.fetch_ohlcv(symbol, "15m", SINCE_MS, 100)

    yield candles
    await exchange.close()


def market(exchange: Any, symbol: str) -> dict[str, Any]:
    swap = ":" in symbol
    return exchange.safe_market_structure(
        {
            "id": "BTCUSDT", "symbol": symbol, "base": "BTC", "quote": "USDT", "baseId": "btc", "quoteId": "usdt",
            "type": "swap" if swap else "spot", "spot": not swap, "swap": swap, "contract": swap, "future": False,
            "option": False, "settle": "USDT" if swap else None, "linear": swap or None, "inverse": not swap or None,
            "info": {}, "baseName": "BTC",
        }
    )  # fmt: skip


async def test_an_exchange_that_says_that_there_is_nothing_is_believed(candles, case):
    _, _, silence = case

    assert (await candles(silence)).num_rows == 0


async def test_an_answer_that_lacks_its_candles_is_no_word_on_whether_there_are_any(candles):
    for answer in NO_ANSWERS:
        with pytest.raises(ccxt.BadResponse):
            await candles(answer)
