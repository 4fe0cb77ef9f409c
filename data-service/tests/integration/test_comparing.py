"""Bars of an exchange beside those that its trades make: equal, or told where they differ; nobody is asked for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from service_harness import RunningService, at, ms, token

MORNING = (at("2024-03-05T00:00"), at("2024-03-05T06:00"))

Compare = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def compare(service: RunningService) -> AsyncIterator[Compare]:
    """Ask `/v1/comparison` of BTC/USDT on Binance with a good token; return the status and the answer."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token(scopes=['data:read'])}"}) as session:

        async def compare(start: Any, end: Any, timeframe: str = "1m", **query: Any) -> tuple[int, Any]:
            times = {
                name: ms(time) if isinstance(time, datetime) else time
                for name, time in (("start_time", start), ("end_time", end))
                if time is not None
            }
            asked = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": timeframe, **times, **query}
            async with session.get(f"{service.http_url}/v1/comparison", params=asked) as response:
                return response.status, await response.json()

        yield compare


async def fetch(client, start, end, *timeframes: str, symbol: str = "BTC/USDT") -> None:
    """Have the service store trades, and bars of *timeframes*."""
    trades = await client.history(start, end, kind="trades", timeframe=None, symbol=symbol)
    assert trades.last["gaps"] == []
    for timeframe in timeframes:
        assert (await client.history(start, end, timeframe=timeframe, symbol=symbol)).last["gaps"] == []


@pytest.mark.parametrize("timeframe", ["1m", "3m", "15m", "1h", "2h", "6h"])
async def test_bars_that_the_exchange_made_of_its_trades_do_not_differ(compare, client, timeframe):
    await fetch(client, *MORNING, timeframe)

    status, answer = await compare(*MORNING, timeframe)

    minutes = {"1m": 1, "3m": 3, "15m": 15, "1h": 60, "2h": 120, "6h": 360}[timeframe]
    assert status == 200
    assert answer == {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": timeframe,
        "start_time": ms(MORNING[0]),
        "end_time": ms(MORNING[1]),
        "bars_compared": 360 // minutes,
        "bars_that_differ": 0,
        "differences": [],
        "without_trades_ms": 0,
        "without_bars_ms": 0,
        "next_start_time": None,
    }
