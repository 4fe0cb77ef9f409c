"""One service with all proven exchanges behind it, one simulator for each: shared by the tests of a module.

A test of such a module uses a series of its own, or ranges that no other test asks for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from service_harness import Client, RunningService, running_service
from venues import VENUES, Venue

from cb_trade_simulator import ExchangeSimulator

Simulators = dict[str, ExchangeSimulator]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulators() -> AsyncIterator[Simulators]:
    async with AsyncExitStack() as stack:
        yield {venue.name: await stack.enter_async_context(venue.simulator().serve()) for venue in VENUES}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(simulators: Simulators, tmp_path_factory) -> AsyncIterator[RunningService]:
    exchanges = {name: simulator.base_url for name, simulator in simulators.items()}
    async with running_service(tmp_path_factory.mktemp("data"), exchanges) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(service: RunningService) -> AsyncIterator[Client]:
    async with service.client() as connected:
        yield connected


@pytest.fixture(params=VENUES, ids=str)
def venue(request: pytest.FixtureRequest) -> Venue:
    """Each of the venues in turn; a test that is about some says so with a parameter."""
    return request.param


@pytest.fixture
def simulator(simulators: Simulators, venue: Venue) -> ExchangeSimulator:
    """The venue's, with what happened before forgotten."""
    simulator = simulators[venue.name]
    simulator.clear_faults()
    simulator.release("klines")
    simulator.calls.reset()
    return simulator
