from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cb_trade_data.storage.implementations import file_lock
from cb_trade_data.storage.implementations.file_lock import LEASE_SECS, FileLock

HOLDER = """
import asyncio, sys
from pathlib import Path
from cb_trade_data.storage.implementations.file_lock import FileLock

async def hold():
    lock = await FileLock.try_take(Path(sys.argv[1]))
    print("held" if lock else "not held", flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "part.flight"


@pytest.fixture
def holder(path):
    """Another process that has the lock."""
    arguments = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own words
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def age(path: Path, seconds: float) -> None:
    """Make the lock look as if it was last renewed so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_the_second_taker_gets_nothing_until_the_first_releases(path):
    first = await FileLock.try_take(path)
    assert await FileLock.try_take(path) is None

    await first.release()

    second = await FileLock.try_take(path)
    assert second is not None
    await second.release()


async def test_a_lock_of_a_living_process_is_held(path, holder):
    assert await FileLock.try_take(path) is None


async def test_a_lock_is_free_as_soon_as_its_holder_is_killed(path, holder):
    """Not after a lease: the kernel lets go of it."""
    holder.kill()
    await asyncio.to_thread(holder.wait)

    lock = await FileLock.try_take(path)

    assert lock is not None
    await lock.release()


async def test_a_lock_that_was_not_renewed_for_a_lease_is_lost_though_its_process_lives(path, holder):
    age(path, LEASE_SECS + 1)

    taken = [await FileLock.try_take(path), await FileLock.try_take(path)]

    assert taken[0] is None
    assert taken[1] is not None
    assert await FileLock.try_take(path) is None
    assert holder.poll() is None
    await taken[1].release()


async def test_a_lock_that_was_renewed_within_a_lease_is_held(path, holder):
    age(path, LEASE_SECS - 5)

    assert [await FileLock.try_take(path), await FileLock.try_take(path)] == [None, None]


async def test_a_holder_renews_its_lock(path, monkeypatch):
    renewed = asyncio.Event()
    real = os.utime

    def utime(*arguments) -> None:
        real(*arguments)
        renewed.set()

    monkeypatch.setattr(file_lock, "RENEW_SECS", 0.0)
    lock = await FileLock.try_take(path)
    age(path, LEASE_SECS + 1)
    monkeypatch.setattr(os, "utime", utime)

    await renewed.wait()

    assert time.time() - path.stat().st_mtime < LEASE_SECS
    assert await FileLock.try_take(path) is None
    await lock.release()


async def test_who_lost_the_lock_releases_nobody_elses(path):
    old = await FileLock.try_take(path)
    path.unlink()
    new = await FileLock.try_take(path)

    await old.release()

    assert await FileLock.try_take(path) is None
    await new.release()


async def test_a_lock_that_was_left_long_ago_is_free_at_once(path):
    lock = await FileLock.try_take(path)
    await lock.release()
    if path.exists():
        age(path, 3600)

    again = await FileLock.try_take(path)

    assert again is not None
    await again.release()


async def test_a_lock_that_is_just_being_taken_does_not_pass_for_an_old_one(path, monkeypatch):
    """A rival looks at the lock after it was taken and before it was renewed, an hour after its last use."""
    left = await FileLock.try_take(path)
    await left.release()
    path.touch()
    age(path, 3600)
    real = os.utime

    def rival_first(*arguments) -> None:
        monkeypatch.setattr(os, "utime", real)
        assert file_lock._try_lock(path) is None
        real(*arguments)

    monkeypatch.setattr(os, "utime", rival_first)
    locks = [await FileLock.try_take(path) for _ in range(3)]

    try:
        assert sum(lock is not None for lock in locks) == 1
    finally:
        for lock in locks:
            if lock is not None:
                await lock.release()
