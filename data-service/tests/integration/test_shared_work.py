"""Many clients, one fetch: shared, streamed as it comes, and ended when nobody waits any more."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import numpy as np
from service_harness import Reply, at, historical

from cb_trade_data.exchange_source.plugins.exchanges import BINANCE

START, END = at("2024-01-01"), at("2024-01-05")
PAGES = 6


async def test_ten_identical_requests_make_as_many_calls_as_one(service, simulator):
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(service.client()) for _ in range(10)]
        replies = await asyncio.gather(*(client.history(START, END) for client in clients))

    assert simulator.calls.by_endpoint == {"exchangeInfo": 1, "time": 1, "klines": PAGES}
    truth = simulator.candles("BTC/USDT", "1m", START, END)
    for reply in replies:
        np.testing.assert_array_equal(reply.rows, truth)


async def test_the_first_of_ten_going_away_changes_nothing_for_the_others(service, simulator):
    simulator.hold("klines", after=1)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(service.client())
        await first.send(historical(START, END))
        await simulator.wait_for_calls("klines", 2)
        others = [await stack.enter_async_context(service.client()) for _ in range(9)]
        for other in others:
            await other.send(historical(START, END))
            assert (await other.receive())["type"] == "historical_data_start"
        await first.connection.close()
        simulator.release("klines")
        replies = await asyncio.gather(*(other.rest() for other in others))

    assert simulator.calls.by_endpoint["klines"] == PAGES
    truth = simulator.candles("BTC/USDT", "1m", START, END)
    for reply in replies:
        np.testing.assert_array_equal(reply.rows, truth)


async def test_a_latecomer_with_another_range_adds_only_what_is_not_under_way(service, simulator):
    simulator.hold("klines", after=1)
    async with service.client() as early, service.client() as late:
        await early.send(historical(START, at("2024-01-03")))
        await simulator.wait_for_calls("klines", 3)
        await late.send(historical(at("2024-01-02"), at("2024-01-04")))
        await late.receive()
        simulator.release("klines")
        replies = await asyncio.gather(early.rest(), late.rest())

    # The first range takes three pages and leaves the rest of the second, one day, to two more.
    assert simulator.calls.by_endpoint["klines"] == 3 + 2
    for reply, start, end in zip(replies, [START, at("2024-01-02")], [at("2024-01-03"), at("2024-01-04")], strict=True):
        np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", start, end))


async def test_the_first_chunk_leaves_when_the_first_page_is_in(client, simulator):
    simulator.hold("klines", after=1)

    await client.send(historical(START, END))
    start = await client.receive()
    page = []
    while sum(chunk["rows"] for chunk in page) < 1000:
        page.append(await client.receive())
    await simulator.wait_for_calls("klines", 2)
    simulator.release("klines")
    reply = await client.rest(Reply(start, page))

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", START, END))


async def test_a_client_that_leaves_stops_the_work_nobody_else_waits_for(service, simulator):
    calls = 1 + BINANCE.concurrent_calls  # one answered, the others under way
    simulator.hold("klines", after=1)
    async with service.client() as leaving:
        await leaving.send(historical(START, at("2024-02-01")))
        await simulator.wait_for_calls("klines", calls)
    async with service.client() as witness:
        # Its calls come after everything the first client still could have caused.
        simulator.hold("klines", after=calls)
        await witness.send(historical(START, at("2024-01-02"), symbol="ETH/USDT"))
        await simulator.wait_for_calls("klines", calls + 1)
        simulator.release("klines")
        await witness.rest()

    assert [query["symbol"] for query in simulator.calls.queries("klines")].count("BTCUSDT") == calls


async def test_what_was_fetched_before_the_client_left_is_not_fetched_again(service, simulator):
    simulator.hold("klines", after=1)
    async with service.client() as leaving:
        await leaving.send(historical(START, END))
        await leaving.receive()
        await leaving.receive()
        await simulator.wait_for_calls("klines", 5)
    simulator.release("klines")
    simulator.calls.reset()

    async with service.client() as client:
        reply = await client.history(START, END)

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", START, END))
    assert simulator.calls.by_endpoint["klines"] == reply.last["exchange_calls"] == PAGES - 1


async def test_requests_on_one_connection_run_side_by_side(client, simulator):
    simulator.hold("klines", after=0)
    await client.send(historical(START, END, request_id="slow"))
    await simulator.wait_for_calls("klines", 1)

    plan = await client.receive_until(
        "plan", {**historical(START, END), "type": "plan_historical", "request_id": "plan"}
    )
    simulator.release("klines")
    reply = await client.rest()

    assert plan["type"] == "plan_response"
    assert reply.last["request_id"] == "slow"


async def test_a_cancelled_request_ends_with_that_and_nothing_else(client, simulator):
    simulator.hold("klines", after=1)
    await client.send(historical(START, END, request_id="r1", chunk_rows=250))
    for _ in range(1 + 4):  # the start, and the chunks of the first page
        await client.receive()

    cancelled = await client.ask({"type": "cancel_request", "request_id": "r1"})
    simulator.release("klines")
    again = await client.ask({"type": "cancel_request", "request_id": "r1"})

    assert cancelled == {"type": "request_cancelled", "request_id": "r1", "was_running": True}
    assert again == {"type": "request_cancelled", "request_id": "r1", "was_running": False}
