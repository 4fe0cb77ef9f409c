"""Partitions in memory, as they go on the wire: what was read once is not read, decoded or checked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from cb_trade_data.models.partition import Partition
from cb_trade_data.storage.stored_partition import StoredPartition

# Coverage, digests and the objects around them.
_OVERHEAD_BYTES: Final = 16 * 1024


@dataclass
class _Kept:
    """A partition, and the time of the event loop until which it is taken for the newest one without looking."""

    stored: StoredPartition
    trusted_until: float

    @property
    def size_bytes(self) -> int:
        return int(self.stored.rows.nbytes) + _OVERHEAD_BYTES


class PartitionCache:
    """Whole partitions, the least recently used of which are forgotten beyond a bound.

    Another process may have stored a newer version: which one is the newest is looked up at every read, unless that was
    done a moment ago. Many who miss the same partition at once wait for one read.
    """

    def __init__(self, max_bytes: int, recheck_after_secs: float) -> None:
        """
        Args:
            max_bytes: How much may be kept; 0 for nothing.
            recheck_after_secs: How old the look at the version may be.
        """
        self._recheck_after_secs = recheck_after_secs
        self._kept: LRUCache[Partition, _Kept] = LRUCache(max_bytes, getsizeof=lambda kept: kept.size_bytes)
        self._loading: dict[Partition, asyncio.Task[StoredPartition]] = {}

    async def get(
        self,
        partition: Partition,
        version: Callable[[], Awaitable[str | None]],
        read: Callable[[], Awaitable[StoredPartition]],
    ) -> StoredPartition:
        """Return the partition, read anew where there is a newer version of it than is kept, or none is.

        Args:
            version: Looks up the newest version.
            read: Reads all of the newest version.
        """
        kept = self._kept.get(partition)
        if kept is not None and asyncio.get_running_loop().time() < kept.trusted_until:
            return kept.stored
        if partition not in self._loading:
            self._loading[partition] = asyncio.create_task(self._load(partition, version, read))
        return await asyncio.shield(self._loading[partition])

    def expect(self, partition: Partition, version: str | None) -> None:
        """Let go of the partition if it is not of that *version*, which is the newest one."""
        if (kept := self._kept.get(partition)) is not None and kept.stored.version != version:
            self.drop(partition)

    def drop(self, partition: Partition) -> None:
        """Let go of the partition: there is a newer version. What is being read of it now is not kept, either."""
        self._kept.pop(partition, None)
        self._loading.pop(partition, None)

    @property
    def size_bytes(self) -> int:
        """How much is kept."""
        return int(self._kept.currsize)

    async def _load(
        self,
        partition: Partition,
        version: Callable[[], Awaitable[str | None]],
        read: Callable[[], Awaitable[StoredPartition]],
    ) -> StoredPartition:
        looked_at = asyncio.get_running_loop().time()
        try:
            kept = self._kept.get(partition)
            if kept is not None and await version() == kept.stored.version:
                stored = kept.stored
            else:
                found = await read()
                stored = await asyncio.to_thread(found.framed)
            # Unless it was overtaken by a write of our own.
            if self._loading.get(partition) is asyncio.current_task():
                self._keep(partition, _Kept(stored, looked_at + self._recheck_after_secs))
        finally:
            if self._loading.get(partition) is asyncio.current_task():
                del self._loading[partition]
        return stored

    def _keep(self, partition: Partition, kept: _Kept) -> None:
        self._kept.pop(partition, None)
        if kept.stored.version is not None and kept.size_bytes <= self._kept.maxsize:
            self._kept[partition] = kept
