from __future__ import annotations

from collections.abc import AsyncIterator

import ccxt.async_support as ccxt
import pytest
from service_harness import Client, RunningService, running_service

from cb_trade_simulator import ExchangeSimulator


@pytest.fixture(scope="session", autouse=True)
def _ccxt_closes_at_once() -> None:
    """After its connections are closed it waits a quarter of a second for those with TLS, of which there are none."""
    ccxt.Exchange.timeout_on_exit = 0


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
