from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from service_harness import eventually
from structlog.testing import capture_logs

from cb_trade_data.storage.implementations import file_lock
from cb_trade_data.storage.implementations.file_lock import FileLock
from cb_trade_data.storage.implementations.renewed_lock import LEASE_SECS

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


def newest(path: Path) -> Path:
    """Return the file that is the lock now; it is the only one, unless somebody was killed while taking it."""
    (file,) = path.parent.glob("part.flight.*")
    return file


def age(path: Path, seconds: float) -> None:
    """Make the lock look as if it was last renewed so long ago."""
    then = time.time() - seconds
    os.utime(newest(path), (then, then))


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


@pytest.mark.parametrize("seconds", [LEASE_SECS + 1, -LEASE_SECS - 1, -1e9], ids=["past", "future", "far future"])
async def test_a_lock_that_was_not_renewed_for_a_lease_is_lost_though_its_process_lives(path, holder, seconds):
    """A time in the future is from before the clock was set back."""
    age(path, seconds)

    taken = [await FileLock.try_take(path), await FileLock.try_take(path)]

    assert taken[0] is not None
    assert taken[1] is None
    assert holder.poll() is None
    await taken[0].release()


@pytest.mark.parametrize("seconds", [LEASE_SECS - 5, 5 - LEASE_SECS])
async def test_a_lock_that_was_renewed_within_a_lease_is_held(path, holder, seconds):
    age(path, seconds)

    assert [await FileLock.try_take(path), await FileLock.try_take(path)] == [None, None]


async def test_a_lock_may_have_a_lease_of_another_length(path, holder):
    age(path, 2)

    assert await FileLock.try_take(path, lease_secs=3) is None
    lock = await FileLock.try_take(path, lease_secs=1)

    assert lock is not None
    await lock.release()


async def test_a_holder_renews_its_lock(path):
    lock = await FileLock.try_take(path, lease_secs=0.1)
    age(path, LEASE_SECS + 1)

    await eventually(lambda: time.time() - newest(path).stat().st_mtime < LEASE_SECS)

    assert await FileLock.try_take(path) is None
    await lock.release()


async def test_locks_are_taken_and_renewed_while_every_thread_of_the_pool_is_busy(path):
    """Writes of large partitions can keep them for longer than a lease."""
    may_end = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        busy = asyncio.create_task(asyncio.to_thread(may_end.wait))
        try:
            lock = await FileLock.try_take(path, lease_secs=0.1)
            age(path, LEASE_SECS + 1)

            await eventually(lambda: time.time() - newest(path).stat().st_mtime < LEASE_SECS)
        finally:
            may_end.set()
            await busy
        await lock.release()


async def test_who_lost_the_lock_releases_nobody_elses(path):
    old = await FileLock.try_take(path)
    age(path, LEASE_SECS + 1)
    new = await FileLock.try_take(path)

    await old.release()
    await old.release()

    assert await FileLock.try_take(path) is None
    await new.release()


async def test_a_lock_that_was_taken_by_another_is_lost_for_good(path):
    lock = await FileLock.try_take(path, lease_secs=0.3)
    assert not lock.is_lost
    age(path, 60)
    other = await FileLock.try_take(path)
    assert other is not None

    await eventually(lambda: lock._renewing.done())

    assert lock.is_lost
    await other.release()
    assert lock.is_lost
    await lock.release()


async def test_a_lock_whose_folder_is_gone_is_lost(path):
    lock = await FileLock.try_take(path, lease_secs=0.3)
    newest(path).unlink()
    path.parent.rmdir()

    await eventually(lambda: lock._renewing.done())

    assert lock.is_lost
    await lock.release()


async def test_a_lock_that_cannot_be_renewed_is_lost_after_its_lease_and_won_back_if_nobody_took_it(path, monkeypatch):
    """A disk that fails for a moment is no reason to stop renewing, and no reason to think that one has the lock."""

    def broken(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    lock = await FileLock.try_take(path, lease_secs=0.1)
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(os, "utime", broken)
        await eventually(lambda: lock.is_lost)

    assert {line["event"] for line in logs} == {"lock.not_renewed"}
    await eventually(lambda: not lock.is_lost)
    await lock.release()


async def test_a_holder_knows_that_it_was_stopped_before_it_does_anything_else(path, monkeypatch):
    """Its event loop has much to do when it wakes up; renewing the lock is only one of the things."""
    lock = await FileLock.try_take(path)
    woken_at = time.monotonic() + LEASE_SECS + 1
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: woken_at)
        assert lock.is_lost
    await lock.release()


async def test_a_lock_that_was_left_long_ago_is_free_at_once(path):
    lock = await FileLock.try_take(path)
    await lock.release()
    age(path, 3600)

    again = await FileLock.try_take(path)

    assert again is not None
    await again.release()


async def test_locks_leave_one_file(path):
    for _ in range(3):
        lock = await FileLock.try_take(path)
        await lock.release()

    assert len(list(path.parent.iterdir())) == 1


async def test_a_take_that_is_cancelled_lets_go_of_what_it_took(path, monkeypatch):
    """Its thread cannot be stopped: it takes the lock when nobody waits for it any more."""
    real = file_lock._try_take
    began, may_end = threading.Event(), threading.Event()

    def slow(*arguments):
        began.set()
        may_end.wait()
        return real(*arguments)

    monkeypatch.setattr(file_lock, "_try_take", slow)
    taking = asyncio.create_task(FileLock.try_take(path))
    await asyncio.to_thread(began.wait)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    monkeypatch.undo()
    may_end.set()
    await eventually(lambda: path.parent.exists() and file_lock._newest(path) is not None)

    taken: list[tuple[Path, int]] = []
    await eventually(lambda: (take := real(path, LEASE_SECS)) is not None and not taken.append(take))
    os.close(taken[0][1])


# --- Takers who come between each other's steps ---


def at_step(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, rival: Callable[[], object]) -> None:
    """Let *rival* act once, just before the next call of that function."""
    real = getattr(owner, name)

    def rival_first(*arguments, **options):
        monkeypatch.setattr(owner, name, real)
        rival()
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, rival_first)


STEPS = [(os, "open"), (Path, "iterdir"), (fcntl, "flock"), (os, "link"), (Path, "unlink")]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
@pytest.mark.parametrize("before", ["nobody", "a killed holder", "a stopped holder", "a stopped holder that awakes"])
async def test_however_two_takers_meet_at_most_one_gets_the_lock_and_nobody_takes_it_from_the_quicker(
    path, monkeypatch, step, before
):
    """What a taker saw before the rival came is not true any more when it acts on it."""
    old = None
    if before != "nobody":
        old = await FileLock.try_take(path)
        if before == "a killed holder":
            await old.release()
        age(path, LEASE_SECS + 1)
    taken: list[tuple[Path, int] | None] = []

    def rival() -> None:
        taken.append(file_lock._try_take(path, LEASE_SECS))
        if before.endswith("awakes"):
            old._touch()
            asyncio.run_coroutine_threadsafe(old.release(), loop).result()

    loop = asyncio.get_running_loop()
    at_step(monkeypatch, *step, rival)
    taken.append(await asyncio.to_thread(file_lock._try_take, path, LEASE_SECS))
    taken.append(file_lock._try_take(path, LEASE_SECS))

    holders = [each for each in taken if each is not None]
    try:
        assert len(holders) == 1
        assert file_lock._newest(path) == holders[0][0]
    finally:
        for _, descriptor in holders:
            os.close(descriptor)
        if old is not None:
            await old.release()


async def test_a_taker_who_was_stopped_while_several_others_came_and_went_takes_nothing(path, monkeypatch):
    """It makes a file with a number that was used before: the newest one counts."""
    first = await FileLock.try_take(path)
    await first.release()
    later: list[tuple[Path, int]] = []

    def others() -> None:
        for _ in range(3):
            later.append(file_lock._try_take(path, LEASE_SECS))
            os.close(later[-1][1])
        later.append(file_lock._try_take(path, LEASE_SECS))

    at_step(monkeypatch, file_lock, "_make_locked", others)

    assert file_lock._try_take(path, LEASE_SECS) is None
    assert file_lock._newest(path) == later[-1][0]
    os.close(later[-1][1])


def test_a_lock_that_is_being_taken_looks_free_to_nobody(path, monkeypatch):
    """Seen between being made and being locked, it would be taken over by one who acts only when it is held."""
    may_make = [threading.Event(), threading.Event()]
    reached = [threading.Event(), threading.Event()]
    taken: list[tuple[Path, int] | None] = [None, None]
    real_flock, real_make = fcntl.flock, file_lock._make_locked

    def number() -> int:
        return int(threading.current_thread().name)

    def flock(descriptor: int, mode: int) -> None:
        if mode & fcntl.LOCK_EX:
            stop_at(number())
        real_flock(descriptor, mode)

    def make(*arguments: Path) -> int | None:
        if number() == 1:
            stop_at(1)
        return real_make(*arguments)

    def stop_at(taker: int) -> None:
        reached[taker].set()
        may_make[taker].wait()

    def take() -> None:
        taken[number()] = file_lock._try_take(path, LEASE_SECS)
        reached[number()].set()

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(file_lock, "_make_locked", make)
    takers = [threading.Thread(target=take, name=str(taker)) for taker in range(2)]
    for taker in range(2):  # The second looks when the first is about to lock its file ...
        takers[taker].start()
        reached[taker].wait()
    for taker in range(2):  # ... and acts when the first has the lock.
        may_make[taker].set()
        takers[taker].join()

    assert [each is not None for each in taken].count(True) == 1
    os.close(next(each for each in taken if each is not None)[1])


async def test_what_a_taker_left_when_it_was_killed_goes_with_the_next_take(path):
    path.parent.mkdir()
    path.with_name(".part.flight.0123456789abcdef").touch()

    lock = await FileLock.try_take(path)

    assert list(path.parent.iterdir()) == [newest(path)]
    await lock.release()


async def test_no_file_is_held_twice(path, monkeypatch):
    """Somebody may be about to take over a file for being old; held again, it would look old until it is touched."""
    rivals: list[Path] = []

    def rival() -> None:
        file, descriptor = file_lock._try_take(path, LEASE_SECS)
        rivals.append(file)
        os.close(descriptor)

    path.parent.mkdir()
    at_step(monkeypatch, os, "open", rival)

    assert file_lock._try_take(path, LEASE_SECS) is None
    file, descriptor = file_lock._try_take(path, LEASE_SECS)
    os.close(descriptor)
    assert file not in rivals
