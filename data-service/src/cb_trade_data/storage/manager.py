"""Storage as the rest of the service sees it: reads, and changes merged with everybody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.models.market import count_shared_times, differing
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.past_error import PastError
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.failures import Failures
from cb_trade_data.storage.fresh_cache import FreshCache
from cb_trade_data.storage.interfaces import (
    MAX_RACES,
    CacheCondition,
    IRawDataStorage,
    IStorageManager,
    PartitionLock,
)
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, Outline, StoredPartition

_log = structlog.get_logger(__name__)

# Beside its rows: coverage, digests and the objects around them.
_PARTITION_OVERHEAD_BYTES: Final = 16 * 1024
_KEPT_FACTS_MAX: Final = 10_000
# A month of seconds has ten times as many: 130 MB, of which an hour may be all that somebody wants.
_KEPT_WHOLE_BARS_MAX: Final = 262_144


class StorageManagerImpl(IStorageManager):
    """Optimistic: a change is written over what it was made for; if that has changed, it is read, merged, retried."""

    def __init__(self, storage: IRawDataStorage, *, cache_max_bytes: int = 0, recheck_after_secs: float = 0.0) -> None:
        """
        Args:
            storage: Where everything is.
            cache_max_bytes: How much of it may be kept in memory.
            recheck_after_secs: How long what was read is taken for the newest version without looking.
        """
        self._storage = storage
        self._partitions: FreshCache[Partition, StoredPartition] = FreshCache(
            cache_max_bytes, recheck_after_secs, _size_bytes
        )
        facts_max = _KEPT_FACTS_MAX if cache_max_bytes else 0
        self._facts: FreshCache[Series, SeriesFacts | None] = FreshCache(
            facts_max, recheck_after_secs, lambda facts: None if facts is None else 1
        )
        self._reads = Failures("read")
        self._writes = Failures("write")
        self._checks = Failures("check")
        self._restated_rows = 0
        self._confirmed_reads, self._real_reads = 0, 0

    async def read(
        self, partition: Partition, wanted: TimeRange | None = None, *, known: StoredPartition | None = None
    ) -> StoredPartition:
        """See `IStorageManager.read`."""
        if (kept := self._partitions.trusted(partition)) is not None:
            return kept
        with self._reads.noted(str(partition)):
            if wanted is not None and (self._storage.has_rows_apart or _is_large(partition)):
                return await self._newest(partition, wanted, known)
            return await self._partitions.get(
                partition, lambda kept: self._newest(partition, None, kept if known is None else known)
            )

    async def read_if_possible(
        self, partition: Partition, wanted: TimeRange | None = None, *, known: StoredPartition | None = None
    ) -> StoredPartition:
        """See `IStorageManager.read_if_possible`."""
        with suppress(StorageUnavailableError):
            return await self.read(partition, wanted, known=known)
        return StoredPartition.empty(partition)

    async def version(self, partition: Partition) -> str | None:
        """See `IStorageManager.version`."""
        with self._reads.noted(str(partition)):
            version = await self._storage.partition_version(partition)
        kept = self._partitions.peek(partition)
        if kept is None or kept.version != version:
            # What is being read now may be of an older version.
            self._partitions.drop(partition)
        return version

    async def coverage(self, partition: Partition) -> Coverage:
        """See `IStorageManager.coverage`."""
        return (await self.outline(partition)).coverage

    async def outline(self, partition: Partition) -> Outline:
        """See `IStorageManager.outline`."""
        if (kept := self._partitions.trusted(partition)) is not None:
            return kept.outline
        with self._reads.noted(str(partition)):
            return await self._storage.read_outline(partition)

    async def list_series(self, exchange: str | None = None) -> Mapping[Series, Sequence[Partition]]:
        """See `IStorageManager.list_series`."""
        return await self._storage.list_series(exchange)

    async def list_partitions(self, series: Series) -> list[Partition]:
        """See `IStorageManager.list_partitions`."""
        return await self._storage.list_partitions(series)

    async def commit(self, base: StoredPartition, changes: Sequence[Change]) -> StoredPartition:
        """See `IStorageManager.commit`."""
        news = Change.of(changes)
        with self._writes.noted(str(base.partition)):
            for _ in range(MAX_RACES):
                try:
                    fresh = differing(news.rows, base.rows)
                    stored = await self._storage.write_partition(base.with_changes([news]), fresh)
                except VersionConflictError:
                    _log.info("storage.conflict", partition=str(base.partition))
                    base = await self._storage.read_partition(base.partition)
                    continue
                finally:
                    self._partitions.drop(base.partition)
                self._count_restated(count_shared_times(fresh, base.rows), base.partition)
                return stored
            raise StorageUnavailableError(str(base.partition), f"lost {MAX_RACES} races for it in a row")

    def kept(self, partition: Partition) -> StoredPartition | None:
        """See `IStorageManager.kept`."""
        return self._partitions.trusted(partition)

    def kept_facts(self, series: Series) -> SeriesFacts | None:
        """See `IStorageManager.kept_facts`."""
        return self._facts.trusted(series)

    async def facts(self, series: Series, *, anew: bool = False) -> SeriesFacts | None:
        """See `IStorageManager.facts`."""
        if anew:
            self._facts.drop(series)
        if (kept := self._facts.trusted(series)) is not None:
            return kept
        with self._reads.noted(str(series)):
            return await self._facts.get(series, lambda _: self._storage.read_facts(series))

    async def facts_if_possible(self, series: Series) -> SeriesFacts | None:
        """See `IStorageManager.facts_if_possible`."""
        with suppress(StorageUnavailableError):
            return await self.facts(series)
        return None

    async def commit_facts(self, series: Series, facts: SeriesFacts) -> SeriesFacts:
        """See `IStorageManager.commit_facts`."""
        with self._writes.noted(str(series)):
            for _ in range(MAX_RACES):
                try:
                    return await self._storage.write_facts(series, facts)
                except VersionConflictError:
                    facts = facts.merged(await self._storage.read_facts(series))
                finally:
                    self._facts.drop(series)
            raise StorageUnavailableError(f"the facts of {series}", f"lost {MAX_RACES} races for it in a row")

    async def latest_timestamp(self, series: Series, partitions: Sequence[Partition] | None = None) -> datetime | None:
        """See `IStorageManager.latest_timestamp`."""
        return await self._storage.get_latest_timestamp(series, partitions)

    async def first_timestamp(self, series: Series, partitions: Sequence[Partition] | None = None) -> datetime | None:
        """See `IStorageManager.first_timestamp`."""
        return await self._storage.get_first_timestamp(series, partitions)

    async def try_lock(self, partition: Partition) -> PartitionLock | None:
        """See `IStorageManager.try_lock`."""
        return await self._storage.try_lock(partition)

    async def check(self) -> None:
        """See `IStorageManager.check`."""
        with self._checks.noted(""):
            await self._storage.check()

    async def close(self) -> None:
        """See `IStorageManager.close`."""
        await self._storage.close()

    @property
    def problem(self) -> str | None:
        """See `IStorageManager.problem`."""
        return self._writes.latest or self._reads.latest

    @property
    def last_error(self) -> PastError | None:
        """See `IStorageManager.last_error`."""
        errors = (self._reads.last, self._writes.last, self._checks.last)
        return max((error for error in errors if error is not None), key=lambda each: each.at_secs, default=None)

    @property
    def standing_problems(self) -> list[str]:
        """See `IStorageManager.standing_problems`."""
        return self._writes.standing + self._reads.standing

    @property
    def counts(self) -> dict[str, int]:
        """See `IStorageManager.counts`."""
        return {
            "failed_reads": self._reads.count,
            "failed_writes": self._writes.count,
            "failed_checks": self._checks.count,
            "restated_rows": self._restated_rows,
            "damaged_objects": self._storage.damaged_objects,
        }

    @property
    def cache(self) -> CacheCondition:
        """See `IStorageManager.cache`."""
        kept = self._partitions
        return CacheCondition(kept.hits, self._confirmed_reads, self._real_reads, kept.size, kept.max_size)

    async def _newest(
        self, partition: Partition, wanted: TimeRange | None, known: StoredPartition | None
    ) -> StoredPartition:
        """Return *known* if it is the newest version, or else that one, with the rows of *wanted* or all of them."""
        if known is not None and await self._storage.partition_version(partition) == known.version:
            self._confirmed_reads += 1
            return known
        self._real_reads += 1
        return await self._storage.read_partition(partition, wanted)

    def _count_restated(self, rows: int, partition: Partition) -> None:
        """Note that rows which were stored already came with other values: the last ones count."""
        if rows:
            self._restated_rows += rows
            _log.warning("storage.restated", partition=str(partition), rows=rows, restated_rows=self._restated_rows)


def _size_bytes(stored: StoredPartition) -> int | None:
    if stored.version is None:
        return None
    return int(stored.rows.nbytes) + _PARTITION_OVERHEAD_BYTES


def _is_large(partition: Partition) -> bool:
    """Tell whether *partition* may have so many rows that it is read in the parts that are asked for, and not kept."""
    match partition.series.kind:
        case Kind.TRADES | Kind.ORDER_BOOK:
            return True  # millions or none: nobody knows before it is read
        case Kind.FUNDING_RATE:
            return False  # at most one for each hour since there are perpetuals
    return partition.series.grid.bars_in(partition.range) > _KEPT_WHOLE_BARS_MAX
