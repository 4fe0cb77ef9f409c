"""What a test can see and do: counts, weights, held calls and faults."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from cb_trade_simulator import (
    ExchangeSimulator,
    ManualClock,
    SimulatorError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UnknownVenueError,
)
from cb_trade_simulator.faults import BodyFault, RowsFault, StatusFault

PAGE = {"symbol": "BTCUSDT", "interval": "1m", "startTime": 1709251200000, "limit": 3}


async def test_every_call_is_counted_by_endpoint(get, simulator):
    await get("klines", **PAGE)
    await get("klines", **PAGE | {"symbol": "NOPE"})
    await get("time")

    assert simulator.calls.total == 3
    assert simulator.calls.by_endpoint == {"klines": 2, "time": 1}
    assert simulator.calls.by_endpoint["depth"] == 0


async def test_the_parameters_of_calls_are_remembered(get, simulator):
    await get("klines", **PAGE)

    assert simulator.calls.queries("klines") == [{name: str(value) for name, value in PAGE.items()}]
    assert simulator.calls.queries("depth") == []


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/_calls"), ("POST", "/_calls/reset")])
async def test_the_counts_are_told_and_reset_over_http_without_counting_that(method, path, get, simulator):
    await get("klines", **PAGE)

    async with aiohttp.ClientSession() as session:
        async with session.get(f"{simulator.url}/_calls") as response:
            assert await response.json() == {"total": 1, "by_endpoint": {"klines": 1}, "refused": {}}
        async with session.request(method, simulator.url + path) as response:
            assert response.status == 204
        async with session.get(f"{simulator.url}/_calls") as response:
            assert await response.json() == {"total": 0, "by_endpoint": {}, "refused": {}}
    assert simulator.calls.queries("klines") == []


async def test_the_weight_headers_add_up_within_a_minute_of_the_clock(get, clock):
    async def weight(endpoint: str, **query: object) -> int:
        reply = await get(endpoint, **query)
        assert reply.headers["x-mbx-used-weight"] == reply.headers["x-mbx-used-weight-1m"]
        return int(reply.headers["x-mbx-used-weight-1m"])

    assert await weight("ping") == 1
    assert await weight("klines", **PAGE) == 1 + 2
    assert await weight("exchangeInfo") == 1 + 2 + 20
    assert await weight("depth", symbol="BTCUSDT", limit=1000) == 1 + 2 + 20 + 50
    clock.advance(timedelta(minutes=1))
    assert await weight("klines", **PAGE) == 2


async def test_held_calls_have_arrived_but_are_answered_only_after_release(get, simulator):
    simulator.hold("klines", after=1)
    first = await get("klines", **PAGE)

    async with asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(get("klines", **PAGE)) for _ in range(2)]
        await simulator.wait_for_calls("klines", 3)
        await get("time")  # a whole round trip, and other endpoints are not held
        assert not any(task.done() for task in held)
        simulator.release("klines")

    assert [task.result().json for task in held] == [first.json] * 2
    assert (await get("klines", **PAGE)).status == 200


async def test_a_heavy_page_does_not_keep_a_light_call_waiting(get, simulator):
    async with asyncio.TaskGroup() as tasks:
        heavy = tasks.create_task(get("klines", symbol="ETHUSDT", interval="1d", limit=1000))  # 1.44 million minutes
        await simulator.wait_for_calls("klines", 1)
        await get("ping")
        assert not heavy.done()

    assert len(heavy.result().json) == 1000


async def test_calls_that_have_already_arrived_are_not_waited_for(get, simulator):
    await get("klines", **PAGE)

    await simulator.wait_for_calls("klines", 1)


async def test_a_simulator_ends_although_calls_are_still_held(clock):
    async with aiohttp.ClientSession() as session:
        async with ExchangeSimulator(clock=clock).serve() as simulator:
            simulator.hold("time")
            call = asyncio.create_task(session.get(f"{simulator.base_url}/api.binance.com/api/v3/time"))
            await simulator.wait_for_calls("time", 1)
        assert (await call).status == 200


async def test_a_status_fault_answers_so_many_calls_and_then_no_more(get, simulator):
    simulator.inject(StatusFault(429, '{"code":-1003,"msg":"Too many requests."}', {"Retry-After": "7"}), times=2)

    replies = [await get("klines", **PAGE) for _ in range(3)]

    assert [reply.status for reply in replies] == [429, 429, 200]
    assert replies[0].headers["Retry-After"] == "7"
    assert replies[0].json["code"] == -1003
    assert simulator.calls.by_endpoint["klines"] == 3


async def test_a_body_fault_says_200_and_something_else(get, simulator):
    simulator.inject(BodyFault("<html>maintenance</html>"))

    reply = await get("klines", **PAGE)

    assert (reply.status, reply.text) == (200, "<html>maintenance</html>")
    assert reply.headers["Content-Type"].startswith("text/html")


async def test_a_rows_fault_changes_the_honest_rows(get, simulator):
    honest = (await get("klines", **PAGE)).json
    simulator.inject(RowsFault(lambda rows: [rows[0], *rows]))

    assert (await get("klines", **PAGE)).json == [honest[0], *honest]
    assert (await get("klines", **PAGE)).json == honest


async def test_faults_queue_up_and_touch_only_their_endpoint(get, simulator):
    simulator.inject(StatusFault(500))
    simulator.inject(StatusFault(418), times=None)

    assert (await get("time")).status == 200
    assert [(await get("klines", **PAGE)).status for _ in range(3)] == [500, 418, 418]
    simulator.clear_faults()
    assert (await get("klines", **PAGE)).status == 200


async def test_two_simulators_with_one_seed_tell_the_same(get, clock):
    span = (datetime(2023, 3, 1, tzinfo=UTC), datetime(2023, 3, 2, tzinfo=UTC))
    one, two, other = (ExchangeSimulator(seed=seed, clock=clock) for seed in (3, 3, 4))

    assert one.candles("ETH/USDT", "1m", *span).tolist() == two.candles("ETH/USDT", "1m", *span).tolist()
    assert one.candles("ETH/USDT", "1m", *span).tolist() != other.candles("ETH/USDT", "1m", *span).tolist()


async def test_the_markets_are_named(simulator):
    assert set(simulator.symbols) >= {"BTC/USDT", "ETH/USDT", "SOL/USDT"}
    assert simulator.listed_at("SOL/USDT") == datetime(2020, 8, 11, 6, tzinfo=UTC)


def test_what_does_not_exist_is_named_with_what_does():
    simulator = ExchangeSimulator()
    now = datetime(2024, 1, 1, tzinfo=UTC)

    with pytest.raises(UnknownVenueError, match=r"unknown exchange 'mtgox', there is: .*binance"):
        ExchangeSimulator(venue="mtgox")
    with pytest.raises(UnknownSymbolError, match=r"BTC/USDT"):
        simulator.candles("BTC/XYZ", "1m", now, now)
    with pytest.raises(UnknownTimeframeError, match=r"1M"):
        simulator.candles("BTC/USDT", "7m", now, now)
    with pytest.raises(SimulatorError, match="not serving"):
        _ = simulator.url


def test_a_manual_clock_wants_to_know_the_zone():
    with pytest.raises(ValueError, match="no time zone"):
        ManualClock(datetime(2024, 1, 1))  # noqa: DTZ001 - that is the point
