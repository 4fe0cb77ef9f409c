"""What was read from storage, kept in memory for as long as it is the newest there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from weakref import ref

from cachetools import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class _Kept(Generic[V]):
    """A value, its size, and the time of the event loop until which it is taken for the newest one without looking."""

    value: V
    size: int
    trusted_until: float


class FreshCache(Generic[K, V]):
    """Values of which another process may have stored a newer version; the least recently used ones are forgotten.

    Which version is the newest is looked up at every read, unless that was done a moment ago: also of a value for which
    there is no room, for as long as somebody else holds it. Many who need the same at once wait for one read; one that
    is cancelled leaves it running for the others.

    Attributes:
        hits: How often `trusted` had something to return, since the start.
    """

    def __init__(
        self, max_size: int, recheck_after_secs: float, size_of: Callable[[V], int | None] = lambda _: 1
    ) -> None:
        """
        Args:
            max_size: How much may be kept; 0 for nothing.
            recheck_after_secs: How old the look at the version may be.
            size_of: How much a value counts for; None for one that is not to be kept at all.
        """
        self._recheck_after_secs = recheck_after_secs
        self._size_of = size_of
        self._kept: LRUCache[K, _Kept[V]] = LRUCache(max_size, getsizeof=lambda kept: kept.size)
        self._held_elsewhere: dict[K, tuple[ref[V], float]] = {}  # as long as they are
        self._renewing: dict[K, asyncio.Task[V]] = {}
        self.hits = 0

    async def get(self, key: K, renew: Callable[[V | None], Awaitable[V]]) -> V:
        """Return the newest value.

        Args:
            renew: Returns it, given the one that is kept: the same if there is none newer, or what it has read.
        """
        if (value := self.trusted(key)) is not None:
            return value
        if key not in self._renewing:
            task = self._renewing[key] = asyncio.create_task(self._renew(key, renew))
            # Whoever waits is told how it went; perhaps nobody does any more.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._renewing[key])

    def trusted(self, key: K) -> V | None:
        """Return what is kept, if that was found to be the newest a moment ago."""
        value: V | None = None
        if (kept := self._kept.get(key)) is not None:
            value = kept.value if asyncio.get_running_loop().time() < kept.trusted_until else None
        elif (held := self._held_elsewhere.get(key)) is not None:
            held_value, trusted_until = held
            value = held_value() if asyncio.get_running_loop().time() < trusted_until else None
        self.hits += value is not None
        return value

    def peek(self, key: K) -> V | None:
        """Return what is kept, the newest or not."""
        kept = self._kept.get(key)
        return None if kept is None else kept.value

    def drop(self, key: K) -> None:
        """Let go of the value: there is a newer one. What is being read of it now is not kept, either."""
        self._kept.pop(key, None)
        self._held_elsewhere.pop(key, None)
        self._renewing.pop(key, None)

    @property
    def size(self) -> int:
        """How much is kept."""
        return int(self._kept.currsize)

    @property
    def max_size(self) -> int:
        """How much may be kept."""
        return int(self._kept.maxsize)

    async def _renew(self, key: K, renew: Callable[[V | None], Awaitable[V]]) -> V:
        looked_at = asyncio.get_running_loop().time()
        try:
            before = self._kept.get(key)
            value = await renew(None if before is None else before.value)
            # Unless it was overtaken by a write of our own.
            if self._renewing.get(key) is asyncio.current_task():
                is_same = before is not None and before.value is value
                size = before.size if before is not None and is_same else self._size_of(value)
                self._keep(key, value, size, looked_at + self._recheck_after_secs)
        finally:
            if self._renewing.get(key) is asyncio.current_task():
                del self._renewing[key]
        return value

    def _keep(self, key: K, value: V, size: int | None, trusted_until: float) -> None:
        self._kept.pop(key, None)
        self._held_elsewhere.pop(key, None)
        if size is None:
            return
        if size <= self._kept.maxsize:
            self._kept[key] = _Kept(value, size, trusted_until)
        else:
            self._held_elsewhere[key] = ref(value, partial(self._forget, key)), trusted_until

    def _forget(self, key: K, gone: ref[V]) -> None:
        if key in self._held_elsewhere and self._held_elsewhere[key][0] is gone:
            del self._held_elsewhere[key]
