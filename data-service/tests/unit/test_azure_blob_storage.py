from __future__ import annotations

from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient
from storage_around import AroundContainer, ArrowForm, JsonForm, ParquetForm
from storage_contract import PARTITION, JsonContract, SingleObjectContract, StorageContract
from unit_builders import minute_bars, series

from cb_trade_data.storage.implementations.azure_blob_storage import AzureBlobStorage, open_container


@pytest.fixture
def container() -> str:
    """The name of a container that is not there yet."""
    return f"test-{uuid4().hex}"


class AzureBlobStorageContract(StorageContract):
    @pytest.fixture
    async def storage(self, azurite, container):
        storage = AzureBlobStorage(open_container(container, connection_string=azurite), self.form.layout())
        yield storage
        await storage.close()

    @pytest.fixture
    async def twin(self, azurite, container):
        twin = AzureBlobStorage(open_container(container, connection_string=azurite), self.form.layout())
        yield twin
        await twin.close()

    @pytest.fixture
    def around(self, azurite, container, monkeypatch):
        with ContainerClient.from_connection_string(azurite, container) as client:
            yield AroundContainer(client, monkeypatch)


class TestAzureBlobStorageParquet(SingleObjectContract, AzureBlobStorageContract):
    form = ParquetForm()


class TestAzureBlobStorageArrow(SingleObjectContract, AzureBlobStorageContract):
    form = ArrowForm()


class TestAzureBlobStorageJson(JsonContract, AzureBlobStorageContract):
    form = JsonForm()


@pytest.fixture
async def storage(azurite, container):
    storage = AzureBlobStorage(open_container(container, connection_string=azurite), ParquetForm().layout())
    yield storage
    await storage.close()


async def test_the_container_is_made_when_it_is_first_written_to(azurite, container, storage):
    with ContainerClient.from_connection_string(azurite, container) as client:
        await storage.read_partition(PARTITION)
        assert not client.exists()

        await storage.save_bulk_entries(series(), minute_bars([0]))
        assert client.exists()


async def test_blobs_lie_where_the_design_says(azurite, container, storage):
    await storage.save_bulk_entries(series("BTC/USDT:USDT"), minute_bars([0]))

    with ContainerClient.from_connection_string(azurite, container) as client:
        assert list(client.list_blob_names()) == [
            "ohlcv/exchange=binance/symbol=BTC%2FUSDT%3AUSDT/timeframe=1m/year=2024/month=02/part.parquet"
        ]


async def test_locks_lie_apart_from_the_data(azurite, container, storage):
    lock = await storage.try_lock(PARTITION)
    await lock.release()

    with ContainerClient.from_connection_string(azurite, container) as client:
        (name,) = client.list_blob_names()
    assert name.startswith("_locks/")


def test_a_container_needs_an_account():
    with pytest.raises(ValueError, match="connection string"):
        open_container("data")
