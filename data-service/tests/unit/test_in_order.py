from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from cb_trade_data.storage.in_order import in_order


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_results_come_in_the_order_of_the_items_whichever_is_done_first():
    done = [asyncio.Event() for _ in range(3)]

    async def work(number: int) -> int:
        if number < 2:
            await done[number + 1].wait()
        done[number].set()
        return number * 10

    assert [result async for result in in_order(work, numbers(3), 3)] == [0, 10, 20]


async def test_no_more_items_are_worked_on_at_a_time_than_allowed():
    running: set[int] = set()
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        await asyncio.sleep(0)
        running.remove(number)

    assert len([result async for result in in_order(work, numbers(20), 4)]) == 20
    assert most == 4


async def test_items_are_taken_only_as_results_are():
    taken = []

    async def source() -> AsyncIterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    async def work(number: int) -> int:
        return number

    async with aclosing(in_order(work, source(), 4)) as results:
        await anext(results)

    assert len(taken) == 4


async def test_a_failure_is_raised_when_its_turn_comes_and_ends_the_rest():
    ended = []

    async def work(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        try:
            if number > 1:
                await asyncio.Event().wait()
        finally:
            ended.append(number)
        return number

    results = in_order(work, numbers(3), 3)
    assert await anext(results) == 0
    with pytest.raises(ValueError, match="one"):
        await anext(results)
    assert ended == [0, 2]


async def test_closing_cancels_what_still_runs():
    cancelled = []

    async def work(number: int) -> int:
        if number:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(number)
                raise
        return number

    async with aclosing(in_order(work, numbers(3), 3)) as results:
        await anext(results)

    assert cancelled == [1, 2]
