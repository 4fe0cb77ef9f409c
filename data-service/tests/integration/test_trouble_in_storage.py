"""Storage that holds what it should not, or takes nothing: the client is told, or gets its rows all the same."""

from __future__ import annotations

import asyncio
import json
import resource
import urllib.error
import urllib.request
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
from azure.storage.blob import ContainerClient
from azurite import account_url, shared_access_signature
from nursery import running_nursery
from real_service import MODULES, service_process
from service_harness import RunningService, at, historical, running_service

from cb_trade_data.config import AzureSettings, StorageSettings

DAY = at("2024-01-01"), at("2024-01-02")


async def test_a_partition_of_a_later_release_is_refused_by_name_and_nothing_is_fetched_instead(
    client, simulator, tmp_path
):
    await client.history(*DAY)
    (file,) = tmp_path.rglob("part.parquet")
    later = pq.read_table(file).replace_schema_metadata({b"cb_trade.format": b"2"})
    file.unlink()
    pq.write_table(later, file)
    content = file.read_bytes()
    simulator.calls.reset()

    for fields in ({}, {"refresh": True}):
        reply = await client.history(at("2024-01-01"), at("2024-01-03"), **fields)
        assert (reply.last["type"], reply.last["code"], reply.last["retryable"]) == (
            "error_response",
            "newer_format",
            False,
        )
    other = await client.ask(historical(at("2024-03-01"), at("2024-03-02")))

    assert other["type"] == "historical_data_start"
    assert file.read_bytes() == content
    assert not (tmp_path / "data" / "_damaged").exists()
    assert all(int(query["startTime"]) >= DAY[1].timestamp() * 1000 for query in simulator.calls.queries("klines"))


async def readiness(service: RunningService) -> tuple[int, str]:
    """Return the status of `/health/ready` and what it says of storage."""

    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{service.http_url}/health/ready") as answer:  # noqa: S310 - our own service
                return answer.status, json.load(answer)["components"]["storage"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["components"]["storage"]

    return await asyncio.to_thread(ask)


async def test_a_container_that_may_only_be_read_costs_the_client_nothing_and_shows_in_health(simulator, azurite):
    name = f"test-{uuid4().hex}"
    url = f"{account_url(azurite)}?{shared_access_signature(name, 'read', 'list')}"
    settings = StorageSettings(backend="azure", azure=AzureSettings(account_url=url, container=name))
    with ContainerClient.from_connection_string(azurite, name) as container:
        container.create_container()
        async with running_service(settings, simulator.base_url) as service, service.client() as client:
            reply = await client.history(*DAY)
            status, storage = await readiness(service)
        assert list(container.list_blob_names()) == []

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *DAY))
    assert (status, reply.last["gaps"]) == (503, [])
    assert "HTTP 403 Authorization" in storage
    assert "sig=" not in storage


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are set by Linux only")
async def test_a_disk_without_room_costs_the_client_nothing_shows_in_health_and_is_used_again_when_there_is_room(
    simulator, tmp_path
):
    """The real thing: the operating system refuses every byte that the service process writes to a file."""
    environment = {"CB_TRADE_STORAGE__ROOT": str(tmp_path / "data")}
    with running_nursery(*MODULES) as nursery:
        async with (
            service_process(nursery, environment, simulator.base_url) as service,
            service.client() as client,
        ):
            before = resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            full = await client.history(*DAY)
            refused = await readiness(service)
            resource.prlimit(service.pid, resource.RLIMIT_FSIZE, before)
            again = await client.history(*DAY)
            accepted = await readiness(service)
            simulator.calls.reset()
            warm = await client.history(*DAY)

    for reply in (full, again, warm):
        np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *DAY))
    assert refused[0] == 503
    assert "File too large" in refused[1]
    assert accepted == (200, "ok")
    assert simulator.calls.total == 0
    assert [file.name for file in tmp_path.rglob(".writing-*")] == []
