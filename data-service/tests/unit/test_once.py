from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from cb_trade_data.exchange_source.once import Once


class Work:
    """Work that goes on until it is let end, and counts."""

    def __init__(self) -> None:
        self.runs = 0
        self.running = 0
        self.most_at_once = 0
        self.go_on = asyncio.Event()
        self.failure: BaseException | None = None

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        if self.failure is not None:
            raise self.failure
        return run


@pytest.fixture
def work() -> Work:
    return Work()


async def settled() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("keep", [True, False])
async def test_all_who_ask_meanwhile_share_one_run(work, keep):
    once = Once(work, keep=keep)
    callers = [asyncio.create_task(once.get()) for _ in range(10)]
    await settled()
    work.go_on.set()

    assert await asyncio.gather(*callers) == [1] * 10
    assert work.runs == 1


async def test_nothing_runs_before_somebody_asks(work):
    once = Once(work)
    await settled()

    assert work.runs == 0
    assert not once.started


async def test_a_kept_result_is_there_for_all_later_callers(work):
    once = Once(work)
    work.go_on.set()

    assert [await once.get(), await once.get()] == [1, 1]
    assert once.started


async def test_a_result_that_is_not_kept_belongs_to_those_who_waited(work):
    once = Once(work, keep=False)
    work.go_on.set()

    assert [await once.get(), await once.get()] == [1, 2]
    assert not once.started


@pytest.mark.parametrize("keep", [True, False])
async def test_a_failure_is_told_to_all_who_waited_and_then_forgotten(work, keep):
    once = Once(work, keep=keep)
    work.failure = ValueError("no")
    callers = [asyncio.create_task(once.get()) for _ in range(3)]
    await settled()
    work.go_on.set()

    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no"] * 3
    assert not once.started

    work.failure = None
    assert await once.get() == 2


async def test_a_first_caller_that_is_cancelled_leaves_the_work_to_the_others(work):
    once = Once(work)
    first, second = asyncio.create_task(once.get()), asyncio.create_task(once.get())
    await settled()

    first.cancel()
    await settled()
    assert first.cancelled()
    work.go_on.set()

    assert await second == 1
    assert work.runs == 1


async def test_work_that_everybody_left_goes_on_for_the_next_caller(work):
    once = Once(work)
    only = asyncio.create_task(once.get())
    await settled()
    only.cancel()
    await settled()

    later = asyncio.create_task(once.get())
    await settled()
    work.go_on.set()

    assert await later == 1


async def test_work_can_be_ended(work):
    once = Once(work)
    caller = asyncio.create_task(once.get())
    await settled()

    await once.cancel()

    assert work.running == 0
    assert not once.started
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_ending_what_never_began_or_is_done_does_nothing(work):
    once = Once(work)
    await once.cancel()
    work.go_on.set()
    await once.get()

    await once.cancel()

    assert work.runs == 1


async def test_work_that_was_ended_begins_anew_for_the_next_caller(work):
    once = Once(work)
    caller = asyncio.create_task(once.get())
    await settled()
    await once.cancel()
    work.go_on.set()

    assert await once.get() == 2
    with suppress(asyncio.CancelledError):
        await caller


async def test_who_asks_while_the_work_is_being_ended_shares_the_next_run():
    """The run that ends must not make the one after it forgotten."""
    runs = 0
    may_end, may_go_on = asyncio.Event(), asyncio.Event()

    async def stubborn() -> int:
        nonlocal runs
        runs += 1
        run = runs
        try:
            await may_go_on.wait()
        except asyncio.CancelledError:
            await may_end.wait()
            raise
        return run

    once = Once(stubborn)
    tasks = [asyncio.create_task(once.get())]
    await settled()
    tasks.append(asyncio.create_task(once.cancel()))
    await settled()
    tasks.append(asyncio.create_task(once.get()))
    await settled()
    may_end.set()
    await settled()
    tasks.append(asyncio.create_task(once.get()))
    await settled()
    may_go_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert runs == 2
