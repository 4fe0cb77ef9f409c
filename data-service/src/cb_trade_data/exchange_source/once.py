"""Work that is done once and shared by all who need it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Work that runs at most once at a time: whoever asks meanwhile waits for the same run.

    A caller that is cancelled leaves the work running for the others. A failure is told to all who waited and then
    forgotten, so that the next caller tries again.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], *, keep: bool = True) -> None:
        """*keep* tells whether the result is kept for all later callers, or belongs to those who waited for it."""
        self._make = make
        self._keep = keep
        self._task: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the result, having it made if need be."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(self._task)

    @property
    def started(self) -> bool:
        """Whether the work was begun and has not failed."""
        return self._task is not None

    async def cancel(self) -> None:
        """End the work if it is under way, and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> T:
        keep = False
        try:
            result = await self._make()
            keep = self._keep
        finally:
            # Unless it was ended by `cancel` and another run has begun since.
            if not keep and self._task is asyncio.current_task():
                self._task = None
        return result
