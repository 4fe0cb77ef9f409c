from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from scripted_client import settled

from cb_trade_data.storage.fresh_cache import FreshCache

HOUR_SECS = 3600.0


@dataclass(frozen=True)
class Value:
    name: str
    version: str


@dataclass
class Place:
    """Where values are: one version of all of them at a time, None for none. Counts what is asked for."""

    version: str | None = "v1"
    reads: list[str] = field(default_factory=list)
    looks: int = 0
    gate: asyncio.Event | None = None
    error: Exception | None = None
    is_reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def get(self, cache: FreshCache[str, Value | None], name: str = "one") -> Value | None:
        async def renew(kept: Value | None) -> Value | None:
            if kept is not None:
                self.looks += 1
                if kept.version == self.version:
                    return kept
            return await self._read(name)

        return await cache.get(name, renew)

    async def _read(self, name: str) -> Value | None:
        self.reads.append(name)
        self.is_reading.set()
        found = None if self.version is None else Value(name, self.version)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return found


def cache_of(max_size: int = 1000, recheck_after_secs: float = 0, size: int = 1) -> FreshCache[str, Value | None]:
    return FreshCache(max_size, recheck_after_secs, lambda value: None if value is None else size)


@pytest.fixture
def place() -> Place:
    return Place()


async def test_what_was_read_is_not_read_again_while_it_is_the_newest(place):
    cache = cache_of()
    first = await place.get(cache)

    assert await place.get(cache) is first
    assert (place.reads, place.looks) == (["one"], 1)


async def test_a_newer_version_is_read(place):
    cache = cache_of()
    await place.get(cache)
    place.version = "v2"

    assert [await place.get(cache) for _ in range(2)] == [Value("one", "v2")] * 2
    assert len(place.reads) == 2


async def test_what_was_deleted_is_gone(place):
    cache = cache_of()
    await place.get(cache)
    place.version = None

    assert await place.get(cache) is None
    assert cache.size == 0


async def test_what_was_looked_at_a_moment_ago_is_trusted(place):
    cache = cache_of(recheck_after_secs=HOUR_SECS)
    await place.get(cache)
    place.version = "v2"

    assert await place.get(cache) == Value("one", "v1")
    assert place.looks == 0


async def test_dropping_a_value_ends_the_trust(place):
    cache = cache_of(recheck_after_secs=HOUR_SECS)
    await place.get(cache)
    place.version = "v2"
    assert cache.peek("one") == Value("one", "v1")

    cache.drop("one")

    assert cache.peek("one") is None
    assert await place.get(cache) == Value("one", "v2")


async def test_the_least_recently_used_goes_first(place):
    cache = cache_of(max_size=25, size=10)
    for name in ("one", "two", "one", "three", "one", "two"):
        await place.get(cache, name)
        assert cache.size <= 25

    assert place.reads == ["one", "two", "three", "two"]


@pytest.mark.parametrize("max_size", [0, 9])
async def test_what_is_larger_than_the_bound_is_not_kept(place, max_size):
    cache = cache_of(max_size, recheck_after_secs=HOUR_SECS, size=10)
    for _ in range(2):
        await place.get(cache)
        await settled()  # until the task that has read it is gone, too

    assert (len(place.reads), cache.size) == (2, 0)


async def test_what_there_is_no_room_for_is_trusted_for_as_long_as_somebody_holds_it(place):
    cache = cache_of(0, recheck_after_secs=HOUR_SECS)
    held = await place.get(cache)

    assert await place.get(cache) is held
    assert (place.reads, cache.size) == (["one"], 0)

    cache.drop("one")
    newer = await place.get(cache)
    assert newer is not held
    del held
    assert await place.get(cache) is newer

    del newer
    await settled()
    await place.get(cache)
    assert place.reads == ["one"] * 3


async def test_many_who_miss_the_same_wait_for_one_read(place):
    cache = cache_of()
    place.gate = asyncio.Event()
    waiting = [asyncio.create_task(place.get(cache)) for _ in range(9)]
    await place.is_reading.wait()
    waiting[0].cancel()
    place.gate.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(done[0], asyncio.CancelledError)
    assert {id(each) for each in done[1:]} == {id(done[1])}
    assert len(place.reads) == 1


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(place):
    cache = cache_of()
    place.error = OSError("no disk")
    told = await asyncio.gather(*(place.get(cache) for _ in range(3)), return_exceptions=True)
    place.error = None

    assert [str(each) for each in told] == ["no disk"] * 3
    assert await place.get(cache) == Value("one", "v1")
    assert len(place.reads) == 2


async def test_what_is_read_while_something_newer_is_written_is_not_kept(place):
    cache = cache_of(recheck_after_secs=HOUR_SECS)
    place.gate = asyncio.Event()
    slow = asyncio.create_task(place.get(cache))
    await place.is_reading.wait()
    place.version = "v2"
    cache.drop("one")
    newer = asyncio.create_task(place.get(cache))
    place.gate.set()

    assert await slow == Value("one", "v1")
    assert await newer == Value("one", "v2")
    assert await place.get(cache) == Value("one", "v2")
