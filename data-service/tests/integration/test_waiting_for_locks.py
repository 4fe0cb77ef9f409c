"""A service that waits for another one to let go of a partition."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from answers import tables
from fake_exchange import SYMBOL, FakeExchange, rows_at
from fake_service import minute, service_over
from service_harness import eventually

from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.interfaces import PartitionLock
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.stored_partition import StoredPartition

MINUTES = [minute(number) for number in range(60)]


class Neighbour(LocalFileStorage):
    """Another service's storage, whose reads and locks do not count."""


async def test_who_waits_reads_a_partition_only_when_something_new_is_stored(tmp_path: Path, monkeypatch):
    """A look is taken several times a second, and a partition may have 44,640 rows."""
    neighbour = Neighbour(tmp_path, ParquetLayout())
    reads: list[Partition] = []
    looks: list[Partition] = []
    read_partition, try_lock = LocalFileStorage.read_partition, LocalFileStorage.try_lock

    async def read(self, partition: Partition, wanted: TimeRange | None = None) -> StoredPartition:
        if not isinstance(self, Neighbour):
            reads.append(partition)
        return await read_partition(self, partition, wanted)

    async def look(self, partition: Partition) -> PartitionLock | None:
        if not isinstance(self, Neighbour):
            looks.append(partition)
        return await try_lock(self, partition)

    exchange = FakeExchange(MINUTES)
    async with service_over(exchange, tmp_path) as manager:
        series = manager.series("fake", SYMBOL, "ohlcv", "1m")
        await neighbour.save_bulk_entries(series, rows_at(MINUTES[:20]))
        held = await neighbour.try_lock(partition_at(series, MINUTES[0]))
        answer = await manager.open(series, TimeRange(MINUTES[0], minute(60)), refresh=False)
        monkeypatch.setattr(LocalFileStorage, "read_partition", read)
        monkeypatch.setattr(LocalFileStorage, "try_lock", look)

        async with aclosing(tables(answer)) as batches:
            got = [await anext(batches)]
            await eventually(lambda: len(looks) >= 1)
            before, seen = len(reads), len(looks)
            await eventually(lambda: len(looks) >= seen + 3)
            assert len(reads) == before

            await neighbour.save_bulk_entries(series, rows_at(MINUTES[20:]))
            got += [rows async for rows in batches]
        await held.release()

    assert [time for rows in got for time in timestamps_ms(rows)] == timestamps_ms(rows_at(MINUTES)).tolist()
    assert len(reads) == before + 1
    assert exchange.windows == []
