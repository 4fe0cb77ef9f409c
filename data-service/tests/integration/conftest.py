from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from ccxt_venues import FACTS, NOW, Venue, running_venue
from service_harness import Client, RunningService, running_service

from cb_trade_simulator import ExchangeSimulator


@pytest.fixture
async def simulator() -> AsyncIterator[ExchangeSimulator]:
    async with ExchangeSimulator(venue="binance", seed=1).serve(host="127.0.0.1", port=0) as running:
        yield running


@pytest.fixture
async def service(simulator: ExchangeSimulator, tmp_path) -> AsyncIterator[RunningService]:
    async with running_service(tmp_path / "data", simulator.base_url) as running:
        yield running


@pytest.fixture
async def client(service: RunningService) -> AsyncIterator[Client]:
    async with service.client() as connected:
        yield connected


@pytest.fixture(params=FACTS)
def name(request: pytest.FixtureRequest) -> str:
    """Each proven exchange in turn; a test that is about some says so with a parameter."""
    return request.param


@pytest.fixture
def now(name: str) -> datetime:
    """Where the exchange's clock stands."""
    return NOW


@pytest.fixture
async def venue(name: str, now: datetime) -> AsyncIterator[Venue]:
    """The exchange's client in front of its simulator, with no service around it."""
    async with running_venue(FACTS[name], now) as running:
        yield running
