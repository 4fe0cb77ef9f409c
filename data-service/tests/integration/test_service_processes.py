"""Services as processes of their own over one storage: at once, stopped, killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from nursery import Nursery, running_nursery
from real_service import MODULES, service_process, started
from service_harness import Reply, at, eventually, historical
from shared_places import PLACES, Place, azure, local
from storage_around import Around
from venues import pages_for, some

from cb_trade_data.exchange_source.plugins.exchanges import BINANCE

START, END = at("2024-01-30T12:00"), at("2024-02-02T06:00")
JANUARY = "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=01/part.parquet"
PAGES = 3 + 2  # 1,000 bars each; January has 36 hours of it, February 30


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with running_nursery(*MODULES) as running:
        yield running


@pytest.fixture(params=PLACES, ids=lambda make: make.__name__)
def place(request) -> Place:
    return request.param(request)


@pytest.fixture(
    params=[(local, "arrow"), (local, "json"), (azure, "parquet")], ids=lambda param: f"{param[0].__name__}-{param[1]}"
)
def shared(request) -> Place:
    """Each place and each layout in turn: what any two of them promise, their contract suites prove of all pairs."""
    make, layout = request.param
    place = make(request)
    place.environment["CB_TRADE_STORAGE__LAYOUT"] = layout
    return place


def assert_is_the_truth(reply: Reply, simulator: Any, start=START, end=END, **fields: Any) -> None:
    assert reply.last["type"] == "historical_data_complete", reply.last
    timeframe = fields.get("timeframe", "1m")
    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", timeframe, start, end))


async def test_two_asked_for_the_same_cold_ranges_at_once_fetch_each_page_once(nursery, simulator, shared):
    """Of two timeframes, and of two months of one of them; of few bars where each is a file."""
    year = at("2023-01-01"), at("2024-01-01")
    short, long, pages = "1m", "1h", PAGES + 9  # a year has 8,760 hours
    if shared.environment["CB_TRADE_STORAGE__LAYOUT"] == "json":
        short, long, pages = "30m", "1w", 2 + 1
    async with (
        service_process(nursery, shared.environment, simulator.base_url) as one,
        service_process(nursery, shared.environment, simulator.base_url) as other,
        one.client() as first,
        other.client() as second,
        one.client() as third,
        other.client() as fourth,
    ):
        assert one.pid != other.pid
        bars = await asyncio.gather(
            first.history(START, END, timeframe=short),
            second.history(START, END, timeframe=short),
            third.history(*year, timeframe=long),
            fourth.history(*year, timeframe=long),
        )
        calls = simulator.calls.by_endpoint["klines"]

        # Ranges that overlap: nothing is lost, and what both have asked for is there for both.
        ranges = [(at("2024-03-01"), at("2024-03-03")), (at("2024-03-02"), at("2024-03-04"))]
        halves = await asyncio.gather(
            *(client.history(*wanted, timeframe=short) for client, wanted in zip([first, second], ranges, strict=True))
        )
        simulator.calls.reset()
        whole = await second.history(ranges[0][0], ranges[1][1], timeframe=short)

    for reply in bars[:2]:
        assert_is_the_truth(reply, simulator, timeframe=short)
    for reply in bars[2:]:
        assert_is_the_truth(reply, simulator, *year, timeframe=long)
    assert calls == pages
    for reply, wanted in zip(halves, ranges, strict=True):
        assert_is_the_truth(reply, simulator, *wanted, timeframe=short)
    assert_is_the_truth(whole, simulator, ranges[0][0], ranges[1][1], timeframe=short)
    assert simulator.calls.total == 0


@pytest.mark.parametrize("venue", some("bybit", "coinbase"), ids=str)
async def test_two_processes_over_one_storage_ask_for_each_page_once(nursery, venue, tmp_path):
    start, end = at("2024-01-29"), at("2024-02-02")
    environment = {"CB_TRADE_STORAGE__ROOT": str(tmp_path / "data")}
    async with (
        venue.simulator().serve() as simulator,
        service_process(nursery, environment, simulator.base_url, venue.name) as one,
        service_process(nursery, environment, simulator.base_url, venue.name) as other,
        one.client() as first,
        other.client() as second,
    ):
        replies = await asyncio.gather(
            *(client.history(start, end, exchange=venue.name, timeframe="5m") for client in (first, second))
        )

        for reply in replies:
            assert_is_the_truth(reply, simulator, start, end, timeframe="5m")
        assert simulator.calls.by_endpoint["klines"] == pages_for(venue, "5m", start, end)


async def test_one_that_was_stopped_with_the_lock_in_its_hands_wakes_up_and_overwrites_nothing(
    nursery, simulator, place
):
    """Another takes over when the lease is over, and stores more of the month than the first one knows of."""
    day, week = (at("2024-01-10"), at("2024-01-13")), (at("2024-01-10"), at("2024-01-17"))
    async with (
        service_process(nursery, place.environment, simulator.base_url) as one,
        service_process(nursery, place.environment, simulator.base_url) as other,
        one.client() as first,
        other.client() as second,
    ):
        simulator.hold("klines", after=2)
        asking = asyncio.create_task(first.history(*day))
        await simulator.wait_for_calls("klines", 3)
        # It has stored what it has, and is not within a write, where others would have to wait for it.
        await eventually(lambda: part(place.around) is not None and not place.around.is_being_written(JANUARY))
        one.stop()
        try:
            simulator.release("klines")
            place.around.expire_lock(JANUARY)
            taken_over = await second.history(*week)
        finally:
            one.go_on()
        woken = await asking
        simulator.calls.reset()
        again = await first.history(*week)

    assert_is_the_truth(taken_over, simulator, *week)
    assert_is_the_truth(woken, simulator, *day)
    assert_is_the_truth(again, simulator, *week)
    assert simulator.calls.total == 0
    assert [name for name in place.around.paths() if name.startswith("_damaged/")] == []


async def test_a_service_that_is_killed_again_and_again_finishes_its_history_and_fetches_little_twice(
    nursery, simulator, place
):
    """Killed with pages that it has not stored yet, and right after: only what is not stored is fetched again."""
    fortnight = at("2024-01-01"), at("2024-01-15")
    pages, answered, under_way = 21, 4, BINANCE.concurrent_calls
    for is_stored in (False, True, True):
        before = simulator.calls.by_endpoint["klines"]
        stored = part(place.around)
        simulator.hold("klines", after=before + answered)
        service = await started(nursery, place.environment, simulator.base_url)
        async with service.client() as client:
            await client.send(historical(*fortnight))
            await simulator.wait_for_calls("klines", before + answered + 1)
            if is_stored:
                await eventually(lambda stored=stored: part(place.around) != stored)
            await service.kill()
        simulator.release("klines")
        place.around.expire_lock(JANUARY)  # a lease outlives its holder by 15 s, which we spare ourselves
    async with (
        service_process(nursery, place.environment, simulator.base_url) as service,
        service.client() as client,
    ):
        reply = await client.history(*fortnight)
        calls = simulator.calls.by_endpoint["klines"]
        simulator.calls.reset()
        again = await client.history(*fortnight)

    assert_is_the_truth(reply, simulator, *fortnight)
    assert_is_the_truth(again, simulator, *fortnight)
    assert simulator.calls.total == 0
    assert reply.last["rows_from_storage"] >= 2 * 1000
    assert calls <= pages + 3 * (answered + under_way)


def part(around: Around) -> bytes | None:
    """Return what is stored of January."""
    return around.read(JANUARY) if JANUARY in around.paths() else None
