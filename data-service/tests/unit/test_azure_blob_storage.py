from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.blob.aio import BlobClient, StorageStreamDownloader
from event_samples import DAY_PARTITION, TRADES, holding, many_trades, span_ms, trades
from json_contract import JsonContract
from storage_around import AroundContainer, ArrowForm, JsonForm, ParquetForm
from storage_contract import SingleObjectContract, StorageContract
from storage_samples import PARTITION, known_apart, known_stretch, write
from unit_builders import assert_same_rows, minute_bars, series

from cb_trade_data.models.market import slice_range
from cb_trade_data.storage.implementations.azure_blob_storage import AzureBlobStorage, open_container
from cb_trade_data.storage.manager import StorageManagerImpl


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


@pytest.fixture
def downloads(monkeypatch) -> list[int]:
    """The size of each download."""
    sizes: list[int] = []
    readall = StorageStreamDownloader.readall

    async def counted(self):
        data = await readall(self)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(StorageStreamDownloader, "readall", counted)
    return sizes


class TestMetadata:
    """What a partition says about itself is at its end: nobody downloads the rows to count them."""

    @pytest.fixture(params=[ParquetForm(), ArrowForm()], ids=["parquet", "arrow"])
    async def storage(self, azurite, container, request):
        storage = AzureBlobStorage(open_container(container, connection_string=azurite), request.param.layout())
        yield storage
        await storage.close()

    async def test_the_metadata_of_a_partition_is_read_from_its_end(self, storage, downloads):
        stored = await write(storage, known_stretch(range(20_000)))

        head = await storage.inspect_metadata(PARTITION)

        assert (head.metadata.rows, head.metadata.coverage) == (20_000, stored.coverage)
        assert head.version == stored.version
        assert downloads == [64 * 1024]

    async def test_metadata_that_takes_more_than_the_end_is_read_all_the_same(self, storage, downloads):
        """Every other minute: as many segments of coverage as there are rows."""
        stored = await write(storage, known_apart(range(0, 6_000, 2)))

        head = await storage.inspect_metadata(PARTITION)

        assert (head.metadata.rows, head.metadata.coverage) == (3_000, stored.coverage)
        assert downloads[0] == 64 * 1024 < downloads[1]

    async def test_metadata_is_that_of_one_version_also_where_it_is_replaced_meanwhile(self, storage, monkeypatch):
        stored = await write(storage, known_stretch(range(20_000)))
        get_blob_properties = BlobClient.get_blob_properties

        async def replaced_after(self, **options):
            properties = await get_blob_properties(self, **options)
            monkeypatch.setattr(BlobClient, "get_blob_properties", get_blob_properties)
            await write(storage, replace(known_stretch(range(10_000)), version=stored.version))
            return properties

        monkeypatch.setattr(BlobClient, "get_blob_properties", replaced_after)

        head = await storage.inspect_metadata(PARTITION)

        assert head.metadata.rows == 10_000
        assert head.version == await storage.object_version(storage.paths.part_path(PARTITION))

    async def test_a_partition_is_deleted_without_downloading_it(self, storage, downloads):
        stored = await write(storage, known_stretch(range(20_000)))

        await storage.delete_partition(PARTITION, stored.version)

        assert downloads == []
        assert await storage.inspect_metadata(PARTITION) is None


class TestParts:
    """An hour of a day of trades is read without downloading the day."""

    ROWS = many_trades(100_000, 1)
    STORED = holding(TRADES, ROWS, span_ms(0, 100_000))

    @pytest.mark.parametrize(("first", "end"), [(0, 9), (40_000, 40_010), (99_990, 100_000), (200_000, 200_001)])
    async def test_a_part_costs_its_row_groups(self, storage, downloads, first, end):
        written = await storage.write_partition(self.STORED, self.ROWS)
        size = (await storage.get_object(storage.paths.part_path(DAY_PARTITION))).data.size
        downloads.clear()

        part = await storage.read_partition(DAY_PARTITION, span_ms(first, end))

        expected = slice_range(self.ROWS, span_ms(first, end))
        assert_same_rows(part.rows_in(span_ms(first, end)).combine_chunks(), expected.combine_chunks())
        assert (part.coverage, part.version) == (self.STORED.coverage, written.version)
        assert sum(downloads) < size * 3 / 4

    async def test_what_is_known_costs_the_end(self, storage, downloads):
        await storage.write_partition(self.STORED, self.ROWS)

        assert await StorageManagerImpl(storage).coverage(DAY_PARTITION) == self.STORED.coverage

        assert downloads == [64 * 1024]

    async def test_a_part_of_an_object_that_is_replaced_meanwhile_is_of_one_version(self, storage, monkeypatch):
        written = await storage.write_partition(self.STORED, self.ROWS)
        get_blob_properties = BlobClient.get_blob_properties
        other = holding(TRADES, trades((5, "1")), span_ms(0, 9))

        async def replaced_after(self, **options):
            properties = await get_blob_properties(self, **options)
            monkeypatch.setattr(BlobClient, "get_blob_properties", get_blob_properties)
            await storage.write_partition(replace(other, version=written.version), other.rows)
            return properties

        monkeypatch.setattr(BlobClient, "get_blob_properties", replaced_after)

        part = await storage.read_partition(DAY_PARTITION, span_ms(0, 9))

        assert_same_rows(part.rows, other.rows)
        assert part.coverage == other.coverage

    @pytest.mark.parametrize("place", [1_000, -1_000], ids=["in the rows", "in the end"])
    async def test_damage_is_set_aside_as_a_whole(self, storage, around, place):
        """And none of it with zeros where nothing was looked at."""
        await storage.write_partition(self.STORED, self.ROWS)
        path = storage.paths.part_path(DAY_PARTITION)
        data = bytearray(around.read(path))
        data[place : place + 100] = bytes(100)
        around.write(path, bytes(data))

        assert (await storage.read_partition(DAY_PARTITION, span_ms(0, 9))).version is None

        (copy,) = [each for each in around.paths() if each.startswith("_damaged/")]
        assert around.read(copy) == bytes(data)

    @pytest.fixture
    def around(self, azurite, container, monkeypatch):
        with ContainerClient.from_connection_string(azurite, container) as client:
            yield AroundContainer(client, monkeypatch)


def test_a_container_needs_an_account():
    with pytest.raises(ValueError, match="connection string"):
        open_container("data")
