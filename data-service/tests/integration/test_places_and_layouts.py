"""The main job over every place and layout: the same answers, the same calls."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import numpy as np
import pytest
from service_harness import at, running_service

from cb_trade_data.config import AzureSettings, StorageSettings

START, END = at("2024-01-30T12:00"), at("2024-02-02T06:00")
PAGES = 3 + 2


@pytest.fixture(params=["local", "azure"])
def place(request, tmp_path) -> dict:
    if request.param == "local":
        return {"backend": "local", "root": tmp_path}
    connection_string = request.getfixturevalue("azurite")
    azure = AzureSettings(connection_string=connection_string, container=f"test-{uuid4().hex[:12]}")
    return {"backend": "azure", "azure": azure}


@pytest.fixture(params=["parquet", "arrow"])
def storage(request, place) -> StorageSettings:
    return StorageSettings(**place, layout=request.param)


async def test_cold_warm_and_after_a_restart(simulator, storage):
    async with running_service(storage, simulator.base_url) as service, service.client() as client:
        await client.history(at("2024-01-31T00:00"), at("2024-01-31T03:00"))
        cold = await client.history(START, END)
        warm = await client.history(START, END)
    calls = simulator.calls.by_endpoint["klines"]
    simulator.calls.reset()
    async with running_service(storage, simulator.base_url) as service, service.client() as client:
        again = await client.history(START, END)
        part = await client.history(at("2024-02-01T00:00"), at("2024-02-01T10:00"))

    truth = simulator.candles("BTC/USDT", "1m", START, END)
    for reply in (cold, warm, again):
        np.testing.assert_array_equal(reply.rows, truth)
    some = simulator.candles("BTC/USDT", "1m", at("2024-02-01T00:00"), at("2024-02-01T10:00"))
    np.testing.assert_array_equal(part.rows, some)
    assert calls == 1 + PAGES
    assert simulator.calls.total == 0


async def test_two_services_share_one_fetch(simulator, storage):
    async with (
        running_service(storage, simulator.base_url) as one,
        running_service(storage, simulator.base_url) as other,
        one.client() as first,
        other.client() as second,
    ):
        replies = await asyncio.gather(first.history(START, END), second.history(START, END))

    truth = simulator.candles("BTC/USDT", "1m", START, END)
    for reply in replies:
        np.testing.assert_array_equal(reply.rows, truth)
    assert simulator.calls.by_endpoint["klines"] == PAGES
