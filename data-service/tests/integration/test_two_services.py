"""Two services over one storage: no lost rows, no double fetch. As processes: `test_service_processes.py`."""

from __future__ import annotations

import asyncio

import numpy as np
from service_harness import Reply, at, historical, running_service

START, END = at("2024-01-01"), at("2024-01-05")
PAGES = 6


async def test_the_same_cold_range_asked_of_both_at_once_is_fetched_once(simulator, tmp_path):
    async with (
        running_service(tmp_path, simulator.base_url) as one,
        running_service(tmp_path, simulator.base_url) as other,
        one.client() as first,
        other.client() as second,
    ):
        replies = await asyncio.gather(first.history(START, END), second.history(START, END))

    truth = simulator.candles("BTC/USDT", "1m", START, END)
    for reply in replies:
        np.testing.assert_array_equal(reply.rows, truth)
    assert simulator.calls.by_endpoint["klines"] == PAGES
    assert sum(reply.last["rows_from_exchange"] for reply in replies) == len(truth)


async def test_one_streams_what_the_other_has_stored_while_that_one_still_fetches(simulator, tmp_path):
    async with (
        running_service(tmp_path, simulator.base_url) as one,
        running_service(tmp_path, simulator.base_url) as other,
        one.client() as first,
        other.client() as second,
    ):
        simulator.hold("klines", after=2)
        await first.send(historical(START, END))
        await simulator.wait_for_calls("klines", 3)
        await second.send(historical(START, END))
        start = await second.receive()
        # The first service stores its two pages at a checkpoint, although it still waits for the others.
        chunk = await second.receive()
        simulator.release("klines")
        replies = await asyncio.gather(first.rest(), second.rest(Reply(start, [chunk])))

    truth = simulator.candles("BTC/USDT", "1m", START, END)
    np.testing.assert_array_equal(replies[1].rows, truth)
    assert simulator.calls.by_endpoint["klines"] == PAGES
