"""Storage that holds what it should not, or takes nothing: the client is told, or gets its rows all the same."""

from __future__ import annotations

import asyncio
import errno
import json
import os
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
from service_harness import RunningService, at, historical, ms, running_service
from structlog.testing import capture_logs

from cb_trade_data.config import AzureSettings, StorageSettings
from cb_trade_simulator.faults import RowsFault

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


async def readiness(service: RunningService) -> tuple[int, str | None]:
    """Return the status of `/health/ready` and what is wrong with storage, by what it says."""

    def ask() -> tuple[int, str | None]:
        try:
            with urllib.request.urlopen(f"{service.http_url}/health/ready") as answer:  # noqa: S310 - our own service
                return answer.status, json.load(answer)["components"]["storage"]["problem"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["components"]["storage"]["problem"]

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
    assert accepted == (200, None)
    assert simulator.calls.total == 0
    assert [file.name for file in tmp_path.rglob(".writing-*")] == []


async def test_a_folder_without_rights_costs_the_client_nothing_and_shows_in_health(
    client, service, simulator, monkeypatch
):
    real = os.open

    def denied(path, flags, *arguments, **options):
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        refused = await client.history(*DAY)
        health = await readiness(service)
    accepted = await client.history(*DAY)
    simulator.calls.reset()
    warm = await client.history(*DAY)

    for reply in (refused, accepted, warm):
        np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *DAY))
    assert health[0] == 503
    assert "Permission denied" in health[1]
    assert simulator.calls.total == 0


@pytest.mark.parametrize("thing", ["a folder", "a link to nowhere", "a link to itself", "a link to another disk"])
async def test_something_else_in_the_place_of_a_partition_costs_the_client_nothing_and_is_not_destroyed(
    client, simulator, tmp_path, thing
):
    await client.history(at("2024-02-01"), at("2024-02-02"))
    (february,) = tmp_path.rglob("part.parquet")
    january = february.parents[1] / "month=01" / "part.parquet"
    january.parent.mkdir()
    match thing:
        case "a folder":
            january.mkdir()
            (january / "notes.txt").write_text("mine")
        case "a link to nowhere":
            january.symlink_to(tmp_path / "nowhere")
        case "a link to itself":
            january.symlink_to(january)
        case _:
            await client.history(at("2024-03-01"), at("2024-03-02"))
            (tmp_path / "other").mkdir()
            january.unlink(missing_ok=True)
            moved = february.rename(tmp_path / "other" / "part.parquet")
            february.symlink_to(moved)

    replies = [await client.history(*DAY) for _ in range(2)]
    held = await client.history(at("2024-02-01"), at("2024-02-02"))

    for reply in replies:
        np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *DAY))
    assert held.last["exchange_calls"] == 0
    if thing == "a folder":
        assert (january / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "data" / "_damaged").exists()


async def test_foreign_files_anywhere_in_the_tree_are_left_alone(client, simulator, tmp_path):
    await client.history(*DAY)
    root = tmp_path / "data"
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    strangers = [folder / name for folder in folders for name in ("notes.txt", ".hidden", "part.parquet.bak", "x=1")]
    for file in strangers:
        file.write_text("mine")
    simulator.calls.reset()

    warm = await client.history(*DAY)
    more = await client.history(DAY[0], at("2024-01-03"))

    for reply in (warm, more):
        assert reply.last["gaps"] == []
    assert simulator.calls.by_endpoint["klines"] == 2
    assert {file.read_text() for file in strangers} == {"mine"}


async def test_rows_that_cannot_be_true_are_gaps_and_the_next_request_mends_them(client, simulator):
    """Out of order, no numbers, two tales of one minute: the rest of the page is good."""

    def spoil(rows: list) -> list:
        spoilt = []
        for row in [*rows[30:], *rows[:30]]:
            number = (row[0] - ms(DAY[0])) // 60_000
            spoilt.append([*row[:4], "NaN", *row[5:]] if number == 3 else row)
            if number == 5:
                spoilt.append([*row[:5], "123.0", *row[6:]])
        return spoilt

    hour = DAY[0], at("2024-01-01T01:00")
    simulator.inject(RowsFault(spoil), endpoint="klines", times=5)
    with capture_logs() as logs:
        spoiled = await client.history(*hour)
    mended = await client.history(*hour)
    simulator.calls.reset()
    warm = await client.history(*hour)

    truth = simulator.candles("BTC/USDT", "1m", *hour)
    np.testing.assert_array_equal(spoiled.rows, np.delete(truth, [3, 5]))
    assert [gap["state"] for gap in spoiled.last["gaps"]] == ["failed", "failed"]
    findings, *others = [line for line in logs if line["event"] == "page.findings"]
    assert len(others) == 4
    assert (findings["not_a_number"], findings["conflict"]) == (1, 2)
    assert findings["unsorted"] > 0
    for reply in (mended, warm):
        np.testing.assert_array_equal(reply.rows, truth)
    assert simulator.calls.total == 0
