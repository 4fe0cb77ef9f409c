from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from unit_builders import minute, minute_bars, series

from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.storage.partition_cache import PartitionCache
from cb_trade_data.storage.stored_partition import StoredPartition

HOUR_SECS = 3600.0
PLENTY_BYTES = 10_000_000
# Bytes of the rows below, and of what is reckoned for everything around them.
PARTITION_BYTES = 60 * 48 + 16 * 1024

MONTHS = [partition_at(series(symbol), minute(0)) for symbol in ("A/B", "C/D", "E/F")]
ONE = MONTHS[0]


@dataclass
class Place:
    """Where partitions are: one version of all of them at a time. Counts what is asked for."""

    stored_version: str | None = "v1"
    reads: list[Partition] = field(default_factory=list)
    looks: int = 0
    gate: asyncio.Event | None = None
    error: Exception | None = None
    is_reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, cache: PartitionCache, partition: Partition = ONE) -> StoredPartition:
        return await cache.get(partition, self._version, lambda: self._read(partition))

    async def _version(self) -> str | None:
        self.looks += 1
        return self.stored_version

    async def _read(self, partition: Partition) -> StoredPartition:
        self.reads.append(partition)
        self.is_reading.set()
        found = StoredPartition(partition, minute_bars(range(60)), version=self.stored_version)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return found if self.stored_version is not None else StoredPartition.empty(partition)


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def cache() -> PartitionCache:
    return PartitionCache(PLENTY_BYTES, recheck_after_secs=0)


async def test_what_was_read_is_not_read_again_while_it_is_the_newest(place, cache):
    first = await place.get(cache)

    assert await place.get(cache) is first
    assert (len(place.reads), place.looks) == (1, 1)


async def test_all_of_its_rows_are_ready_for_the_wire(place, cache):
    stored = await place.get(cache)

    assert sum(frame.rows for frame in stored.frames) == 60


async def test_a_newer_version_is_read(place, cache):
    await place.get(cache)
    place.stored_version = "v2"

    assert (await place.get(cache)).version == "v2"
    assert (await place.get(cache)).version == "v2"
    assert len(place.reads) == 2


async def test_what_was_deleted_is_gone(place, cache):
    await place.get(cache)
    place.stored_version = None

    assert (await place.get(cache)).rows.num_rows == 0
    assert cache.size_bytes == 0


async def test_what_was_looked_at_a_moment_ago_is_trusted(place):
    cache = PartitionCache(PLENTY_BYTES, recheck_after_secs=HOUR_SECS)
    await place.get(cache)
    place.stored_version = "v2"

    assert (await place.get(cache)).version == "v1"
    assert place.looks == 0


async def test_whoever_knows_of_a_newer_version_ends_the_trust(place):
    cache = PartitionCache(PLENTY_BYTES, recheck_after_secs=HOUR_SECS)
    await place.get(cache)
    cache.expect(ONE, "v1")
    await place.get(cache)
    assert len(place.reads) == 1

    place.stored_version = "v2"
    cache.expect(ONE, "v2")

    assert (await place.get(cache)).version == "v2"


async def test_the_least_recently_used_goes_first(place):
    cache = PartitionCache(2 * PARTITION_BYTES, recheck_after_secs=0)
    for number in (0, 1, 0, 2, 0, 1):
        await place.get(cache, MONTHS[number])
        assert cache.size_bytes <= 2 * PARTITION_BYTES

    assert place.reads == [MONTHS[0], MONTHS[1], MONTHS[2], MONTHS[1]]


@pytest.mark.parametrize("max_bytes", [0, PARTITION_BYTES - 1])
async def test_what_is_larger_than_the_bound_is_not_kept(place, max_bytes):
    cache = PartitionCache(max_bytes, recheck_after_secs=HOUR_SECS)
    for _ in range(2):
        assert (await place.get(cache)).rows.num_rows == 60

    assert (len(place.reads), cache.size_bytes) == (2, 0)


async def test_many_who_miss_the_same_wait_for_one_read(place, cache):
    place.gate = asyncio.Event()
    waiting = [asyncio.create_task(place.get(cache)) for _ in range(9)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    place.gate.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(done[0], asyncio.CancelledError)
    assert {id(each) for each in done[1:]} == {id(done[1])}
    assert len(place.reads) == 1


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(place, cache):
    place.error = OSError("no disk")
    told = await asyncio.gather(*(place.get(cache) for _ in range(3)), return_exceptions=True)
    place.error = None

    assert [str(each) for each in told] == ["no disk"] * 3
    assert (await place.get(cache)).rows.num_rows == 60
    assert len(place.reads) == 2


async def test_what_is_read_while_something_newer_is_written_is_not_kept(place):
    cache = PartitionCache(PLENTY_BYTES, recheck_after_secs=HOUR_SECS)
    place.gate = asyncio.Event()
    slow = asyncio.create_task(place.get(cache))
    await place.is_reading.wait()
    place.stored_version = "v2"
    cache.drop(ONE)
    newer = asyncio.create_task(place.get(cache))
    place.gate.set()

    assert (await slow).version == "v1"
    assert (await newer).version == "v2"
    assert (await place.get(cache)).version == "v2"
