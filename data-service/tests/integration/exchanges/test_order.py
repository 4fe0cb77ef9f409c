"""Who waits for little goes first, and who leaves makes room: at an exchange that is asked as fast as it allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from service_harness import RunningService, at, eventually, historical, ms, running_service
from venues import Venue, some

from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_data.exchange_source.stopwatch import Stopwatch

pytestmark = pytest.mark.asyncio(loop_scope="module")

MORE_PAGES_MAX = 3
MINUTE = timedelta(minutes=1)
FIVE_YEARS = at("2019-01-01"), at("2024-01-01")


@pytest_asyncio.fixture(loop_scope="module")
async def service(simulators, tmp_path) -> AsyncIterator[RunningService]:
    exchanges = {name: simulator.base_url for name, simulator in simulators.items()}
    async with running_service(tmp_path, exchanges, stopwatch=Stopwatch()) as running:
        yield running


@pytest.fixture
def venue() -> Venue:
    """One that allows ten pages a second, so that each is an event."""
    return some("coinbase")[0]


def places(venue: Venue) -> int:
    """Return how many calls may be under way at once."""
    return next(facts.concurrent_calls for facts in EXCHANGES if facts.id == venue.name)


@pytest.mark.parametrize(
    ("symbol", "start", "end", "queue"),
    [
        pytest.param("BTC/USDT", at("2019-01-25"), at("2019-01-26"), "for the pace", id="of the same month"),
        pytest.param("BTC/USDT", at("2019-01-25"), at("2019-01-26"), "for a place", id="while every place is taken"),
        pytest.param("BTC/USDT", at("2021-06-10"), at("2021-06-11"), "for the pace", id="of another month"),
        pytest.param("ETH/USDT", at("2021-06-10"), at("2021-06-11"), "for the pace", id="of another symbol"),
    ],
)
async def test_a_day_asked_for_in_the_middle_of_five_years_comes_after_three_more_pages_at_most(
    service, simulator, venue, symbol, start, end, queue
):
    asked: dict[str, Any] = {"exchange": venue.name, "timeframe": "1m"}
    async with service.client() as patient, service.client() as hasty:
        await hasty.history(start - MINUTE, start, **asked, symbol=symbol)  # so that nothing is new but the day
        simulator.calls.reset()
        await patient.send(historical(*FIVE_YEARS, **asked, symbol="BTC/USDT"))
        await simulator.wait_for_calls("klines", 4)
        if queue == "for a place":  # every one is taken by a call that is not answered
            simulator.hold("klines")
            await eventually(lambda: simulator.calls.by_endpoint["klines"] >= 3 + places(venue))
        before = simulator.calls.by_endpoint["klines"]
        await hasty.send(historical(start, end, **asked, symbol=symbol))
        assert (await hasty.receive())["type"] == "historical_data_start"
        simulator.release("klines")
        chunk = await hasty.receive()
        more = simulator.calls.by_endpoint["klines"] - before

    assert (chunk["type"], chunk["start_time"]) == ("historical_data_chunk", ms(start))
    assert more <= MORE_PAGES_MAX


async def test_a_cancelled_request_frees_its_place(service, simulator, venue):
    asked: dict[str, Any] = {"exchange": venue.name, "timeframe": "1m"}
    async with service.client() as leaving, service.client() as staying:
        await staying.history(at("2022-01-01"), at("2022-01-01T00:01"), **asked, symbol="ETH/USDT")
        simulator.calls.reset()
        simulator.hold("klines", after=1)  # the first page tells that the market was listed by then
        await leaving.send(historical(*FIVE_YEARS, **asked, symbol="BTC/USDT", request_id="r1"))
        await eventually(lambda: simulator.calls.by_endpoint["klines"] == 1 + places(venue))
        await leaving.send({"type": "cancel_request", "request_id": "r1"})
        await staying.send(historical(at("2022-01-01"), at("2022-01-02"), **asked, symbol="ETH/USDT"))
        # Those of the first are still held: only a place that was given back can have been taken.
        await eventually(lambda: any("ETH" in path for path in simulator.calls.paths("klines")))
        simulator.release("klines")
        reply = await staying.rest()

    assert reply.last["rows"] == 1440
    assert sum("BTC" in path for path in simulator.calls.paths("klines")) == 1 + places(venue)
