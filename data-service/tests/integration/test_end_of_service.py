"""A service that is told to end: nothing new, the rest finished or handed over, and nothing left locked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import numpy as np
import pytest
from nursery import Nursery, running_nursery
from real_service import MODULES, ServiceProcess, service_process, started
from service_harness import COLUMNS, at, eventually, historical, token
from shared_places import PLACES, Place

from cb_trade_client import DataClient

MONTH = at("2024-01-01"), at("2024-02-01")
PAGES = 45  # of 1,000 minutes
JANUARY = "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=01/part.parquet"
EVER = "600"  # seconds, which no test waits for


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with running_nursery(*MODULES) as running:
        yield running


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    return {"CB_TRADE_STORAGE__ROOT": str(tmp_path / "data"), "CB_TRADE_DRAIN_SECS": EVER}


@pytest.fixture
async def ending(nursery, environment, simulator) -> AsyncIterator[ServiceProcess]:
    async with service_process(nursery, environment, simulator.base_url) as service:
        yield service
        simulator.release("klines")


async def not_ready(session: aiohttp.ClientSession, service: ServiceProcess) -> None:
    """Return once the service says that it ends, on a connection that was there before."""
    while True:
        async with session.get(f"{service.http_url}/health/ready") as response:
            if (await response.json())["status"] == "shutting_down":
                assert response.status == 503
                return


async def test_what_is_under_way_is_finished_and_nothing_new_begins(ending, simulator):
    simulator.hold("klines", after=10)
    async with (
        aiohttp.ClientSession() as session,
        ending.client() as busy,
        ending.client() as idle,
    ):
        await busy.send(historical(*MONTH))
        await simulator.wait_for_calls("klines", 11)
        async with session.get(f"{ending.http_url}/health/ready") as response:
            assert response.status == 200
        ending.tell_to_end()

        assert await idle.close_code() == 1012
        await not_ready(session, ending)
        async with session.get(f"{ending.http_url}/health/live") as response:
            assert response.status == 200
        with pytest.raises(ConnectionRefusedError):
            async with ending.client():
                pass
        refused = await busy.receive_until("new", historical(*MONTH, request_id="new"))
        simulator.release("klines")
        reply = await busy.rest()
        code = await busy.close_code()

    assert (refused["code"], refused["retryable"], refused["retry_after_ms"]) == ("shutting_down", True, 1000)
    assert (reply.last["type"], reply.last["rows"]) == ("historical_data_complete", 31 * 1440)
    assert code == 1012


async def test_a_question_that_is_open_is_answered_while_the_next_one_goes_to_the_successor(
    nursery, ending, environment, simulator
):
    simulator.hold("time")
    async with aiohttp.ClientSession() as session, DataClient(ending.socket_url, token=token()) as client:
        async with session.get(f"{ending.http_url}/health/live"):
            pass
        begun = asyncio.create_task(client.latest("binance", "BTC/USDT", "1m"))
        await simulator.wait_for_calls("time", 1)
        ending.tell_to_end()
        await not_ready(session, ending)
        environment["CB_TRADE_PORT"] = str(ending.port)
        async with service_process(nursery, environment, simulator.base_url):
            plan = await client.plan("binance", "BTC/USDT", "1m", *MONTH)
            assert not begun.done()
            simulator.release("time")
            answer = await begun

    assert plan.exchange_calls == PAGES
    assert answer.closed_until > MONTH[1]
    assert simulator.calls.by_endpoint["time"] == 1  # a second one would be that of a question asked again


async def test_a_second_signal_ends_the_wait(ending, simulator):
    simulator.hold("klines", after=10)
    async with aiohttp.ClientSession() as session, ending.client() as busy:
        await busy.send(historical(*MONTH))
        await simulator.wait_for_calls("klines", 11)
        async with session.get(f"{ending.http_url}/health/ready"):
            pass
        ending.tell_to_end()
        await not_ready(session, ending)
        ending.tell_to_end()

        assert await busy.close_code() == 1012


@pytest.mark.parametrize("make_place", PLACES, ids=lambda make: make.__name__)
async def test_what_is_cut_off_is_stored_and_its_lock_released(nursery, simulator, request, make_place):
    place: Place = make_place(request)
    environment = place.environment | {"CB_TRADE_DRAIN_SECS": "0"}
    simulator.hold("klines", after=10)
    service = await started(nursery, environment, simulator.base_url)
    async with service.client() as client:
        await client.send(historical(*MONTH))
        arrived = 0
        while arrived < 1000:  # the call that is held may be one between those that are answered
            arrived += (await client.receive()).get("rows", 0)
        await eventually(lambda: place.around.is_locked(JANUARY))
        ending = asyncio.create_task(service.end())
        code = await client.close_code()
        await ending
    locked = place.around.is_locked(JANUARY)
    simulator.release("klines")
    simulator.calls.reset()
    async with service_process(nursery, environment, simulator.base_url) as successor, successor.client() as client:
        reply = await client.history(*MONTH)

    assert code == 1012
    assert not locked
    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *MONTH))
    stored = reply.last["rows_from_storage"]
    assert stored >= arrived
    assert simulator.calls.by_endpoint["klines"] == PAGES - stored // 1000


async def test_the_sdk_goes_on_with_the_successor_and_no_row_is_lost_or_repeated(nursery, environment, simulator):
    environment["CB_TRADE_DRAIN_SECS"] = "0"
    simulator.hold("klines", after=10)
    service = await started(nursery, environment, simulator.base_url)
    client = DataClient(service.socket_url, token=token(), retries=10)
    batches = []
    async with client, client.stream("binance", "BTC/USDT", "1m", *MONTH, verify=True) as stream:
        async for batch in stream:
            batches.append(batch)
            if len(batches) == 2:
                await service.end()
                simulator.release("klines")
                successor = await started(
                    nursery, environment | {"CB_TRADE_PORT": str(service.port)}, simulator.base_url
                )
    await successor.end()

    truth = simulator.candles("BTC/USDT", "1m", *MONTH)
    for name in COLUMNS:
        column = np.concatenate([batch.column(name).to_numpy() for batch in batches])
        np.testing.assert_array_equal(column.view(truth[name].dtype), truth[name])
