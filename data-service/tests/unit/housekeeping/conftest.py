"""Fixtures of a storage to keep house in: every place and layout, the same storage as another process has it, and a way
around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient
from storage_around import Around, AroundContainer, AroundFolder, ArrowForm, Form, JsonForm, ParquetForm

from cb_trade_data.storage.implementations.azure_blob_storage import AzureBlobStorage, open_container
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.object_storage import ObjectStorage

OpenStorage = Callable[[], ObjectStorage]


@pytest.fixture(params=["local", "azure"])
def place(request) -> str:
    return request.param


@pytest.fixture(params=[ParquetForm(), ArrowForm(), JsonForm()], ids=["parquet", "arrow", "json"])
def form(request) -> Form:
    return request.param


@pytest.fixture
def container(place, request) -> Iterator[ContainerClient | None]:
    if place == "local":
        yield None
        return
    connection_string = request.getfixturevalue("azurite")
    with ContainerClient.from_connection_string(connection_string, f"test-{uuid4().hex}") as client:
        yield client


@pytest.fixture
async def open_storage(place, form, container, tmp_path, request) -> AsyncIterator[OpenStorage]:
    """A way to open the storage once more, as another process would."""
    async with AsyncExitStack() as opened:

        def open_it() -> ObjectStorage:
            if place == "local":
                return LocalFileStorage(tmp_path / "data", form.layout())
            client = open_container(container.container_name, connection_string=request.getfixturevalue("azurite"))
            storage = AzureBlobStorage(client, form.layout())
            opened.push_async_callback(storage.close)
            return storage

        yield open_it


@pytest.fixture
async def storage(open_storage) -> ObjectStorage:
    return open_storage()


@pytest.fixture
async def fresh(open_storage) -> ObjectStorage:
    """The same storage, by which nothing was read yet."""
    return open_storage()


@pytest.fixture
def around(container, tmp_path, monkeypatch) -> Around:
    return (
        AroundFolder(tmp_path / "data", monkeypatch) if container is None else AroundContainer(container, monkeypatch)
    )
