"""Work on many items, a few at a time, with the results in the order of the items."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    work: Callable[[T], Coroutine[Any, Any, R]], items: AsyncIterable[T] | Iterable[T], at_once: int
) -> AsyncGenerator[R, None]:
    """Yield what *work* returns for each item. No more than *at_once* results and runs exist at a time.

    The first failure is raised when its turn comes. When the generator is closed, whatever still runs is cancelled.
    """
    running: deque[asyncio.Task[R]] = deque()
    try:
        async for item in _asynchronous(items):
            running.append(asyncio.create_task(work(item)))
            if len(running) == at_once:
                yield await running[0]
                running.popleft()
        while running:
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _asynchronous(items: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
