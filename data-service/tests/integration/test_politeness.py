"""An exchange over HTTP that limits, bans, hangs and breaks down: what it is asked meanwhile, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from service_harness import RunningService, at, eventually, running_service
from structlog.testing import capture_logs

from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient
from cb_trade_data.exchange_source.plugins.exchanges import COINBASEEXCHANGE
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.faults import StatusFault
from cb_trade_simulator.faults.kinds import Asked
from cb_trade_simulator.venues.venue import Answer

WEEK = at("2024-01-01"), at("2024-01-08")
PAGES = 11  # of 1000 minutes


async def condition(service: RunningService) -> dict[str, object]:
    """Return what `/health/ready` says of Binance."""

    def get() -> dict[str, object]:
        with urllib.request.urlopen(f"{service.http_url}/health/ready") as answer:  # noqa: S310 - our own service
            ready = json.loads(answer.read())
        return {**ready["components"]["exchanges"]["binance"], **ready["exchanges"]["binance"]}

    return await asyncio.to_thread(get)


def patient_service(simulator: ExchangeSimulator, root: Path) -> AbstractAsyncContextManager[RunningService]:
    """Run a service whose patience lasts long enough for a test to look at it: a breaker is open for 150 ms."""
    return running_service(root, simulator.base_url, stopwatch=Stopwatch(speed=100))


async def test_pages_fail_only_for_good_and_every_fault_costs_one_call(client, simulator):
    simulator.inject(StatusFault(503), probability=0.2, times=None)

    reply = await client.history(*WEEK)

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *WEEK))
    assert reply.last["exchange_calls"] == simulator.calls.by_endpoint["klines"] == PAGES + simulator.faults.met


class NonsenseAbout:
    """A fault of one market: every answer about it is HTTP 200 and JSON, and holds no candles."""

    def __init__(self, market_id: str) -> None:
        self._market_id = market_id

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], asked: Asked, /) -> Answer:
        is_about = asked.question.query.get("symbol") == self._market_id
        return Answer(b'{"code":0,"data":{}}') if is_about else await venue_answer()


async def test_one_market_of_nonsense_fails_with_few_calls_and_all_others_are_delivered_at_once(simulator, tmp_path):
    async with (
        patient_service(simulator, tmp_path) as service,
        service.client() as bad_client,
        service.client() as good_client,
    ):
        simulator.inject(NonsenseAbout("SOLUSDT"), times=None)
        asking = asyncio.create_task(bad_client.history(*WEEK, symbol="SOL/USDT"))
        good = []
        while not asking.done():
            good.append(await good_client.history(*WEEK, symbol="ETH/USDT", refresh=True))
            told = await condition(service)
            assert told["breaker"] == "closed"
        bad = await asking

    asked = [query["symbol"] for query in simulator.calls.queries("klines")]
    assert {gap["state"] for gap in bad.last["gaps"]} == {"failed"}
    assert all("not candles" in gap["reason"] for gap in bad.last["gaps"])
    assert asked.count("SOLUSDT") < PAGES, "five tries, perhaps a probe, and not five tries for each page"
    assert asked.count("ETHUSDT") == PAGES * len(good)
    for reply in good:
        np.testing.assert_array_equal(reply.rows, simulator.candles("ETH/USDT", "1m", *WEEK))
        assert reply.last["gaps"] == []


async def test_an_exchange_that_breaks_down_is_left_alone_but_for_one_probe_at_a_time(simulator, tmp_path):
    """Pages that wait for its return cost nothing, and are fetched when it is there."""
    february = at("2024-02-01"), at("2024-03-01")
    async with patient_service(simulator, tmp_path) as service, service.client() as client:
        # Once a bar is held nobody asks whether it was listed yet, and pages go side by side.
        await client.history(at("2024-02-01"), at("2024-02-02"))
        simulator.calls.reset()
        simulator.inject(StatusFault(503), times=None)
        with capture_logs() as logs:
            asking = asyncio.create_task(client.history(*february))
            await eventually(lambda: any(entry["event"] == "exchange.breaker_opened" for entry in logs))
            simulator.clear_faults()
            reply = await asking
        told = await condition(service)

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *february))
    pages = -(-28 * 1440 // 1000)
    assert reply.last["exchange_calls"] == simulator.calls.by_endpoint["klines"] == pages + simulator.faults.met
    assert [entry["event"] for entry in logs].count("exchange.breaker_closed") == 1
    assert (told["status"], told["breaker"]) == ("ok", "closed")


async def test_a_conclusive_outage_is_told_and_costs_later_requests_no_call(simulator, tmp_path):
    async with patient_service(simulator, tmp_path) as service, service.client() as client:
        await client.history(at("2024-01-01"), at("2024-01-02"), symbol="ETH/USDT")
        simulator.inject(StatusFault(503), times=None)
        await client.history(*WEEK)
        told = await condition(service)
        simulator.calls.reset()
        later = await client.history(*WEEK, symbol="ETH/USDT")

    assert told["breaker"] == "open"
    assert "503" in told["problem"]
    assert {gap["state"] for gap in later.last["gaps"]} == {"failed"}
    assert later.last["rows"] == 1440
    assert later.last["exchange_calls"] == simulator.calls.by_endpoint.get("klines", 0) <= 1


async def test_after_too_many_requests_nobody_calls_before_the_time_the_exchange_named(simulator, tmp_path):
    stopwatch = Stopwatch(speed=20)
    async with (
        running_service(tmp_path, simulator.base_url, stopwatch=stopwatch) as service,
        service.client() as client,
    ):
        simulator.inject("429=6", times=1)
        reply = await client.history(*WEEK)
        told = await condition(service)

    refused, second, *_ = simulator.calls.times("klines")
    assert second - refused >= stopwatch.real_secs(6)
    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *WEEK))
    assert reply.last["exchange_calls"] == simulator.calls.by_endpoint["klines"] == PAGES + 1
    assert told["calls_per_sec"] < told["full_calls_per_sec"]
    assert (told["status"], told["breaker"]) == ("ok", "closed")


async def test_a_ban_is_told_at_once_with_its_end(client, service, simulator):
    simulator.inject("429=86400", times=1)

    reply = await client.history(*WEEK)
    told = await condition(service)

    assert {gap["state"] for gap in reply.last["gaps"]} == {"failed"}
    assert simulator.calls.by_endpoint["klines"] == 1
    assert 3_600 < told["paused_secs"] <= 86_400  # patience runs a thousand times as fast as the clock
    assert told["status"] != "ok"


@pytest.fixture
async def coinbase() -> AsyncIterator[tuple[ExchangeSimulator, DataSourceConnectorImpl]]:
    """A venue that counts in tenths of seconds, and the connector at its pace; both ten times as fast as in earnest."""
    facts = COINBASEEXCHANGE
    async with ExchangeSimulator(venue=facts.id).serve() as simulator:
        registry = PluginRegistry()
        registry.register(
            facts, partial(CCXTExchangeClient, facts, base_url=simulator.base_url, timeout=timedelta(seconds=1))
        )
        source = DataSourceConnectorImpl(registry, stopwatch=Stopwatch(speed=10))
        yield simulator, source
        await source.close()


async def fetch_pages(source: DataSourceConnectorImpl, number: int) -> list[Page | None]:
    series = Series("coinbaseexchange", "BTC/USD", Kind.OHLCV, Timeframe.parse("1m"))
    windows = [
        TimeRange(at("2024-01-01") + step, at("2024-01-01") + step + timedelta(hours=5))
        for step in (timedelta(hours=5) * each for each in range(number))
    ]
    return await asyncio.gather(*(source.fetch_page(series, lambda window=window: window, int) for window in windows))


async def test_an_answer_that_never_comes_costs_one_call_and_holds_up_nobody_else(coinbase):
    simulator, source = coinbase
    simulator.inject("hang", times=1)

    pages = await fetch_pages(source, 10)

    assert sorted(page.calls for page in pages) == [1] * 9 + [2]
    assert simulator.calls.by_endpoint["klines"] == 11


async def test_a_venue_that_enforces_its_limits_turns_no_page_away(coinbase):
    simulator, source = coinbase
    simulator.limits.enforce(speed=10)

    await fetch_pages(source, 60)

    assert simulator.limits.refused == {}


async def test_a_venue_that_allows_less_than_it_says_is_asked_ever_slower_and_answers_all(coinbase):
    simulator, source = coinbase
    simulator.limits.enforce(speed=3)

    pages = await fetch_pages(source, 60)

    condition = source.conditions()["coinbaseexchange"]
    assert simulator.calls.by_endpoint["klines"] == sum(page.calls for page in pages)
    assert 0 < simulator.limits.refused["klines"] <= 20
    assert condition.calls_per_sec < condition.full_calls_per_sec
    assert condition.breaker == "closed"
