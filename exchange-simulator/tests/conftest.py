"""One simulator per test, on a free port, with a clock that only tests move."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from cb_trade_simulator import ExchangeSimulator, ManualClock
from cb_trade_simulator.clock import to_milliseconds
from cb_trade_simulator.markets.catalogue import MARKETS
from cb_trade_simulator.markets.history import History
from cb_trade_simulator.venues.binance import Binance

NOW = datetime(2024, 5, 1, 12, 34, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """What came back over HTTP."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


Get = Callable[..., Awaitable[Reply]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def venue() -> str:
    """Whose wire format the simulator speaks; tests of all venues override it."""
    return "binance"


@pytest.fixture
async def simulator(venue: str, clock: ManualClock) -> AsyncIterator[ExchangeSimulator]:
    async with ExchangeSimulator(venue, seed=1, clock=clock).serve() as serving:
        yield serving


@pytest.fixture
async def get(simulator: ExchangeSimulator) -> AsyncIterator[Get]:
    """Ask Binance: `await get("klines", symbol="BTCUSDT", interval="1m")`."""
    async with aiohttp.ClientSession() as session:

        async def ask(endpoint: str, host: str = "api.binance.com", **query: object) -> Reply:
            address = f"{simulator.base_url}/{host}/api/v3/{endpoint}"
            async with session.get(address, params={name: str(value) for name, value in query.items()}) as response:
                return Reply(response.status, response.headers, await response.text())

        yield ask


@pytest.fixture(scope="session")
def histories() -> dict[str, History]:
    """Every market as Binance traded it with seed 1."""
    return {market.symbol: History(market, Binance.outages, seed=1) for market in MARKETS}


@pytest.fixture(scope="session")
def now_ms() -> int:
    """A moment after all that a test of the past looks at."""
    return to_milliseconds(NOW)
