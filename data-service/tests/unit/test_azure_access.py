"""Ways into a container, and what happens where there is none: no rights, no container, nobody who answers."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from socket import gaierror
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.storage.blob import BlobLeaseClient as SyncLeaseClient
from azure.storage.blob import ContainerClient
from azure.storage.blob.aio import BlobLeaseClient
from azurite import account_url, shared_access_signature
from service_harness import eventually
from storage_samples import PARTITION, known, write
from unit_builders import assert_same_rows, minute_bars, minutes, series

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.storage.implementations.azure_blob_storage import (
    AzureBlobStorage,
    BlobLock,
    Patience,
    _translated_errors,
    open_container,
)
from cb_trade_data.storage.layouts.parquet import ParquetLayout

ROWS = minute_bars(range(3))
READ, WRITE = ("read", "list"), ("read", "list", "write", "create", "delete")
QUICK = Patience(tries=3, pause_secs=0.0, connect_secs=5.0, read_secs=0.05)


@pytest.fixture
def container(azurite):
    """A container with three rows in it, by its owner's key."""
    name = f"test-{uuid4().hex}"
    with ContainerClient.from_connection_string(azurite, name) as client:
        client.create_container()
        yield client


def signed(azurite: str, name: str, way: str, *rights: str) -> AzureBlobStorage:
    sas = shared_access_signature(name, *rights)
    if way == "account URL":
        opened = open_container(name, account_url=f"{account_url(azurite)}?{sas}")
    else:
        opened = open_container(
            name, connection_string=f"BlobEndpoint={account_url(azurite)};SharedAccessSignature={sas}"
        )
    return AzureBlobStorage(opened, ParquetLayout())


@asynccontextmanager
async def closing(storage: AzureBlobStorage) -> AsyncIterator[AzureBlobStorage]:
    try:
        yield storage
    finally:
        await storage.close()


@pytest.fixture(params=["connection string", "account URL"])
def way(request) -> str:
    return request.param


# --- Signatures ---


async def test_a_signature_that_may_write_but_make_no_container_is_enough_where_there_is_one(azurite, container, way):
    async with closing(signed(azurite, container.container_name, way, *WRITE)) as storage:
        await storage.check()
        await storage.save_bulk_entries(series(), ROWS)
        lock = await storage.try_lock(PARTITION)
        assert lock is not None
        await lock.release()

        assert_same_rows(await storage.get_range(series(), minutes(0, 9)), ROWS)
        assert await storage.list_coins("binance") == ["BTC/USDT"]


async def test_a_signature_that_may_only_read_reads_and_is_told_why_it_may_not_write(azurite, container, way):
    async with closing(signed(azurite, container.container_name, way, *WRITE)) as owner:
        await owner.save_bulk_entries(series(), ROWS)
    before = list(container.list_blob_names())

    async with closing(signed(azurite, container.container_name, way, *READ)) as storage:
        assert_same_rows(await storage.get_range(series(), minutes(0, 9)), ROWS)
        stored = await storage.read_partition(PARTITION)
        for attempt in (
            write(storage, known([7], base=stored)),
            storage.save_bulk_entries(series("ETH/USDT"), ROWS),
            storage.try_lock(PARTITION),
            storage.check(),
        ):
            with pytest.raises(StorageUnavailableError, match="HTTP 403 Authorization") as refused:
                await attempt
            assert "sig=" not in str(refused.value)

    assert list(container.list_blob_names()) == before


async def test_where_there_is_no_container_and_none_may_be_made_that_is_what_is_said(azurite, way):
    name = f"test-{uuid4().hex}"
    async with closing(signed(azurite, name, way, *WRITE)) as storage:
        assert (await storage.read_partition(PARTITION)).version is None
        for attempt in (storage.save_bulk_entries(series(), ROWS), storage.try_lock(PARTITION), storage.check()):
            with pytest.raises(StorageUnavailableError, match="ContainerNotFound"):
                await attempt


async def test_a_container_that_was_removed_is_made_again(azurite, container):
    async with closing(
        AzureBlobStorage(open_container(container.container_name, connection_string=azurite), ParquetLayout())
    ) as storage:
        await storage.save_bulk_entries(series(), ROWS)
        container.delete_container()
        with pytest.raises(StorageUnavailableError, match="Container"):
            await storage.save_bulk_entries(series(), ROWS)

        await storage.save_bulk_entries(series(), ROWS)

        assert_same_rows(await storage.get_range(series(), minutes(0, 9)), ROWS)


# --- Nobody there ---


@asynccontextmanager
async def endpoint(*, is_silent: bool) -> AsyncIterator[tuple[str, list[asyncio.Task]]]:
    """Listen, count connections, and hang up at once or say nothing."""
    connections: list[asyncio.Task] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        if is_silent:
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/account?sig=secret", connections
        await asyncio.gather(*connections)


@pytest.mark.parametrize("is_silent", [False, True], ids=["hangs up", "says nothing"])
async def test_an_endpoint_that_does_not_answer_is_given_up_after_a_few_tries(is_silent):
    async with endpoint(is_silent=is_silent) as (url, connections):
        opened = open_container("data", account_url=url, patience=QUICK)
        async with closing(AzureBlobStorage(opened, ParquetLayout())) as storage:
            with pytest.raises(StorageUnavailableError, match="Service") as given_up:
                await storage.read_partition(PARTITION)

    # An endpoint that hangs up meets aiohttp, too, which by itself tries once more.
    assert len(connections) == QUICK.tries * (1 if is_silent else 2)
    assert "secret" not in str(given_up.value)


async def test_an_endpoint_that_is_not_there_is_unavailable():
    async with endpoint(is_silent=False) as (url, _):
        pass
    async with closing(
        AzureBlobStorage(open_container("data", account_url=url, patience=replace(QUICK, tries=1)), ParquetLayout())
    ) as storage:
        for attempt in (storage.read_partition(PARTITION), storage.check(), storage.try_lock(PARTITION)):
            with pytest.raises(StorageUnavailableError, match="ServiceRequestError: Connection refused"):
                await attempt
        with pytest.raises(StorageUnavailableError, match=r"at its root: .*: Connection refused"):
            await anext(storage.list_objects(""))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (HttpResponseError("…"), "HttpResponseError"),
        (ServiceRequestError("…", error=OSError(errno.EPIPE, "sig=s")), "ServiceRequestError: Broken pipe"),
        (ServiceRequestError("…", error=gaierror(-2, "Name unknown")), "ServiceRequestError: Name unknown"),
        (ServiceResponseError("…", error=TimeoutError("sig=s")), "ServiceResponseError: TimeoutError"),
    ],
)
async def test_what_went_wrong_is_told_with_its_cause_and_without_addresses(storage, monkeypatch, error, reason):
    async def fail(*_, **__):
        raise error

    monkeypatch.setattr(storage._container, "download_blob", fail)

    with pytest.raises(StorageUnavailableError) as told:
        await storage.read_partition(PARTITION)

    assert told.value.details["reason"] == reason


async def test_the_services_own_codes_are_told_as_it_spells_them(storage, container):
    await storage.save_bulk_entries(series(), ROWS)
    [name] = container.list_blob_names()
    container.get_blob_client(name).acquire_lease(15)

    with pytest.raises(StorageUnavailableError, match="HTTP 412 LeaseIdMissing"):
        async with _translated_errors(name):
            await storage._container.get_blob_client(name).set_blob_metadata({"a": "b"})


# --- Refusals ---


@asynccontextmanager
async def refusing_with_409(code: str) -> AsyncIterator[tuple[AzureBlobStorage, list[str]]]:
    """A storage whose service is there, takes what is read or written for a conflict of that name, and counts."""
    asked: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        if request.query.get("restype") == "container" and request.method == "PUT":
            return web.Response(status=201)
        asked.append(request.method)
        return web.Response(status=409, headers={"x-ms-error-code": code})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    async with TestServer(app) as server:
        opened = open_container(
            "data", account_url=f"{server.make_url('/account')}?sig=secret", patience=Patience(tries=1)
        )
        async with closing(AzureBlobStorage(opened, ParquetLayout())) as storage:
            yield storage, asked


@pytest.mark.parametrize(
    "use",
    [
        lambda storage: storage.read_partition(PARTITION),
        lambda storage: storage.partition_version(PARTITION),
        lambda storage: storage.list_series(),
        lambda storage: storage.write_partition(known([0]), minute_bars([0])),
        lambda storage: storage.delete_object("part", "version"),
        lambda storage: storage.try_lock(PARTITION),
        lambda storage: storage.get_entries(["entry"]),
        lambda storage: storage.put_entries({"entry": b"{}"}),
        lambda storage: storage.delete_entries(["entry"]),
    ],
    ids=["read", "version", "list", "write", "delete", "lock", "get entries", "put entries", "delete entries"],
)
@pytest.mark.parametrize("code", ["BlobArchived", "ContainerDisabled", "BlobImmutableDueToPolicy"])
async def test_a_conflict_that_is_nobody_elses_write_is_unavailable_storage_at_once(use, code):
    """Taken for a lost race, it would be tried again and again."""
    async with refusing_with_409(code) as (storage, asked):
        with pytest.raises(StorageUnavailableError, match=code):
            await use(storage)

    assert len(asked) == 1


def test_a_dead_endpoint_is_noticed_within_a_few_seconds():
    """By what the SDK is told; it would take 80 s by itself."""
    patience = Patience()
    pauses_secs = sum(number + 2 * patience.pause_secs for number in range(patience.tries - 1))

    assert patience.tries * patience.connect_secs + pauses_secs < 10
    assert patience.options()["retry_total"] == patience.tries - 1


# --- Leases ---


@pytest.fixture
async def storage(azurite, container):
    opened = open_container(container.container_name, connection_string=azurite)
    async with closing(AzureBlobStorage(opened, ParquetLayout())) as storage:
        yield storage


async def lease_on(storage: AzureBlobStorage, lease_secs: float) -> BlobLock:
    """Take a real lease of 15 s and renew it as if it were shorter."""
    blob = storage._container.get_blob_client("_locks/part")
    await blob.upload_blob(b"")
    return BlobLock("_locks/part", await blob.acquire_lease(15), lease_secs)


async def test_a_lease_is_renewed_as_long_as_it_is_held(storage, monkeypatch):
    renewed: list[str] = []
    real = BlobLeaseClient.renew

    async def renew(self, **options):
        await real(self, **options)
        renewed.append(self.id)

    monkeypatch.setattr(BlobLeaseClient, "renew", renew)
    lock = await lease_on(storage, lease_secs=0.3)
    await eventually(lambda: len(renewed) >= 3)
    assert not lock.is_lost
    await lock.release()
    count = len(renewed)

    again = await storage._container.get_blob_client("_locks/part").acquire_lease(15)

    assert (len(renewed), again.id in renewed) == (count, False)


async def test_a_lease_that_was_broken_and_taken_by_another_is_lost_and_stays_the_others(storage, container):
    lock = await lease_on(storage, lease_secs=0.3)
    blob = container.get_blob_client("_locks/part")
    SyncLeaseClient(blob).break_lease(0)
    other = blob.acquire_lease(15)

    await eventually(lambda: lock._renewing.done())
    assert lock.is_lost
    await lock.release()

    other.renew()  # fails if it is not held any more


async def test_a_lease_that_cannot_be_renewed_for_a_while_is_lost_until_it_can(storage, monkeypatch):
    async def unreachable(self, **options):
        raise ServiceRequestError("nobody answers")

    lock = await lease_on(storage, lease_secs=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(BlobLeaseClient, "renew", unreachable)
        await eventually(lambda: lock.is_lost)
    await eventually(lambda: not lock.is_lost)
    await lock.release()
