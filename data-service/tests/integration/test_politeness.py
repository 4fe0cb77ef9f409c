"""An exchange over HTTP that limits, bans, hangs and breaks down: what it is asked meanwhile, and what comes of it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np
from service_harness import RunningService, at, eventually, running_service
from structlog.testing import capture_logs

from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.faults import StatusFault

WEEK = at("2024-01-01"), at("2024-01-08")
PAGES = 11  # of 1000 minutes


async def condition(service: RunningService) -> dict[str, object]:
    """Return what `/health/ready` says of Binance."""

    def get() -> dict[str, object]:
        with urllib.request.urlopen(f"{service.http_url}/health/ready") as answer:  # noqa: S310 - our own service
            ready = json.loads(answer.read())
        return {"status": ready["components"]["exchanges"]["binance"], **ready["exchanges"]["binance"]}

    return await asyncio.to_thread(get)


def patient_service(simulator: ExchangeSimulator, root: Path) -> AbstractAsyncContextManager[RunningService]:
    """Run a service whose patience lasts long enough for a test to look at it: a breaker is open for 150 ms."""
    return running_service(root, simulator.base_url, stopwatch=Stopwatch(speed=100))


async def test_pages_fail_only_for_good_and_every_fault_costs_one_call(client, simulator):
    simulator.inject(StatusFault(503), probability=0.2, times=None)

    reply = await client.history(*WEEK)

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *WEEK))
    assert reply.last["exchange_calls"] == simulator.calls.by_endpoint["klines"] == PAGES + simulator.faults.met


async def test_an_exchange_that_breaks_down_is_left_alone_but_for_one_probe_at_a_time(simulator, tmp_path):
    """Pages that wait for its return cost nothing, and are fetched when it is there."""
    february = at("2024-02-01"), at("2024-03-01")
    async with patient_service(simulator, tmp_path) as service, service.client() as client:
        simulator.inject(StatusFault(503), times=None)
        with capture_logs() as logs:
            asking = asyncio.create_task(client.history(*february))
            await eventually(lambda: any(entry["event"] == "exchange.breaker_opened" for entry in logs))
            simulator.clear_faults()
            reply = await asking
        told = await condition(service)

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *february))
    pages = -(-29 * 1440 // 1000)
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
    assert "503" in told["status"]
    assert {gap["state"] for gap in later.last["gaps"]} == {"failed"}
    assert later.last["rows"] == 1440
    assert later.last["exchange_calls"] == simulator.calls.by_endpoint.get("klines", 0) <= 1
