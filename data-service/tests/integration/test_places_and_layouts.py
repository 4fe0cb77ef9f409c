"""The main job over every place and layout: the same answers, the same calls."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import numpy as np
import pytest
from service_harness import Client, Reply, at, running_service

from cb_trade_data.config import AzureSettings, StorageSettings
from cb_trade_simulator.faults import RowsFault

START, END = at("2024-01-30T12:00"), at("2024-02-02T06:00")
PAGES = {"1m": 3 + 2, "15m": 1 + 1}


@pytest.fixture(params=["local", "azure"])
def place(request, tmp_path) -> dict:
    if request.param == "local":
        return {"backend": "local", "root": tmp_path}
    connection_string = request.getfixturevalue("azurite")
    azure = AzureSettings(connection_string=connection_string, container=f"test-{uuid4().hex[:12]}")
    return {"backend": "azure", "azure": azure}


@pytest.fixture(params=["parquet", "arrow", "json"])
def storage(request, place) -> StorageSettings:
    return StorageSettings(**place, layout=request.param)


@pytest.fixture
def timeframe(storage) -> str:
    """One that gives the layout no more rows than it is made for."""
    return "15m" if storage.layout == "json" else "1m"


async def test_cold_warm_and_after_a_restart(simulator, storage, timeframe):
    async with running_service(storage, simulator.base_url) as service, service.client() as client:
        await client.history(at("2024-01-31T00:00"), at("2024-01-31T03:00"), timeframe=timeframe)
        cold = await client.history(START, END, timeframe=timeframe)
        warm = await client.history(START, END, timeframe=timeframe)
    calls = simulator.calls.by_endpoint["klines"]
    simulator.calls.reset()
    async with running_service(storage, simulator.base_url) as service, service.client() as client:
        again = await client.history(START, END, timeframe=timeframe)
        part = await client.history(at("2024-02-01T00:00"), at("2024-02-01T10:00"), timeframe=timeframe)

    truth = simulator.candles("BTC/USDT", timeframe, START, END)
    for reply in (cold, warm, again):
        np.testing.assert_array_equal(reply.rows, truth)
    some = simulator.candles("BTC/USDT", timeframe, at("2024-02-01T00:00"), at("2024-02-01T10:00"))
    np.testing.assert_array_equal(part.rows, some)
    assert len({reply.last["digest"] for reply in (cold, warm, again)}) == 1
    assert calls == 1 + PAGES[timeframe]
    assert simulator.calls.total == 0


async def test_every_format_delivers_the_same_rows_with_the_same_digest(simulator, storage, timeframe):
    """Cold, warm from memory and after a restart; the asked range begins and ends in the middle of days."""
    formats = ("arrow", "json_columns", "json", "arrow")
    async with running_service(storage, simulator.base_url) as service, service.client() as client:
        replies = [await client.history(START, END, timeframe=timeframe, format=each) for each in formats]
    async with running_service(storage, simulator.base_url) as service, service.client() as client:
        replies += [await client.history(START, END, timeframe=timeframe, format=each) for each in formats]
        replies.append(await client.history(START, END, timeframe=timeframe, format="arrow", chunk_rows=77))

    truth = simulator.candles("BTC/USDT", timeframe, START, END)
    for reply in replies:
        np.testing.assert_array_equal(reply.rows, truth)
    assert [reply.start["format"] for reply in replies] == [*formats, *formats, "arrow"]
    assert len({reply.last["digest"] for reply in replies}) == 1


async def test_readers_beside_a_refresh_get_the_old_rows_or_the_new_ones_and_fetch_none(simulator, storage, timeframe):
    """The venue has restated a page meanwhile. The readers' service knows of the refresh by storage alone."""
    hours = at("2024-01-31T00:00"), at("2024-01-31T06:00")
    async with (
        running_service(storage, simulator.base_url) as one,
        running_service(storage, simulator.base_url) as other,
        one.client() as first,
        other.client() as second,
    ):
        old = await first.history(*hours, timeframe=timeframe)
        simulator.calls.reset()
        simulator.inject(RowsFault(lambda rows: [[*row[:5], "4321.5", *row[6:]] for row in rows]))
        refreshing = asyncio.create_task(first.history(*hours, timeframe=timeframe, refresh=True))
        readings = await _read_until(refreshing, second, hours, timeframe)
        new = await refreshing
        last = await second.history(*hours, timeframe=timeframe)

    assert set(new.rows["volume"]) == {4321.5}
    np.testing.assert_array_equal(last.rows, new.rows)
    for reading in readings:
        assert any(np.array_equal(reading.rows, rows) for rows in (old.rows, new.rows))
    assert simulator.calls.by_endpoint["klines"] == 1


async def _read_until(done: asyncio.Task, client: Client, hours: tuple, timeframe: str) -> list[Reply]:
    readings = []
    while not done.done():
        readings.append(await client.history(*hours, timeframe=timeframe))
    return readings
