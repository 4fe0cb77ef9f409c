"""Deleting rows together with what is known about them, so that it is as if their bars had never been asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from cb_trade_data.errors import StorageUnavailableError, VersionConflictError
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.series import Series
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.survey import Role, survey
from cb_trade_data.storage.in_order import in_order
from cb_trade_data.storage.interfaces import MAX_RACES
from cb_trade_data.storage.object_storage import DamagedObjectError, ObjectStorage

_DELETED_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Deletion:
    """What was deleted of one partition, or would be.

    Attributes:
        rows: How many; those of a damaged object are not known, and not counted.
        size_bytes: Of a whole partition what it took; of a part of one its rows' share in that.
        is_whole: Whether nothing is left of the partition.
        problem: Why nothing could be deleted; None if it could.
    """

    partition: Partition
    rows: int = 0
    size_bytes: int = 0
    is_whole: bool = False
    problem: str | None = None


async def delete(
    storage: ObjectStorage, scope: Scope, before: datetime | None, *, dry_run: bool = False
) -> AsyncGenerator[Deletion, None]:
    """Delete what *scope* means, and yield each partition that this touches; the facts of an emptied series go with it.

    Each partition is decided about as it is at that moment: what somebody stores meanwhile for a bar that is to stay is
    kept.

    Args:
        before: Only bars that open before this instant; None for all. The first bar that stays is the one that opens at
            it or, where it is not on the grid, next after it.
        dry_run: Change nothing and yield the same.

    Raises:
        StorageUnavailableError: It failed half-way; what was yielded is deleted, and of a few more it is not known.
    """
    async with aclosing(_stored_series(storage, scope)) as all_series:
        async for stored in all_series:
            left = len(stored.partition_bytes)
            forget = partial(_forget, storage, before, dry_run)
            async with aclosing(in_order(forget, stored.partition_bytes.items(), _DELETED_AT_ONCE)) as deletions:
                async for deletion in deletions:
                    if deletion is not None:
                        left -= deletion.is_whole
                        yield deletion
            if left == 0 and (before is None or stored.partition_bytes) and not dry_run:
                await _delete_facts(storage, stored.series)


@dataclass
class _StoredSeries:
    """What lies in the folder of a series: its partitions with what they take, entries included."""

    series: Series
    partition_bytes: dict[Partition, int] = field(default_factory=dict)


async def _stored_series(storage: ObjectStorage, scope: Scope) -> AsyncGenerator[_StoredSeries, None]:
    current: _StoredSeries | None = None
    entry_bytes: Counter[Partition] = Counter()  # which a listing has before what commits them
    async with aclosing(survey(storage, scope)) as objects:
        async for found in objects:
            if found.series is None or found.role is Role.FOREIGN:
                continue
            if current is None or current.series != found.series:
                if current is not None:
                    yield current
                current = _StoredSeries(found.series)
                entry_bytes.clear()
            if found.partition is None:
                continue
            if found.role is Role.ENTRY:
                entry_bytes[found.partition] += found.size_bytes
            else:
                current.partition_bytes[found.partition] = found.size_bytes + entry_bytes.pop(found.partition, 0)
    if current is not None:
        yield current


async def _forget(
    storage: ObjectStorage, before: datetime | None, dry_run: bool, item: tuple[Partition, int]
) -> Deletion | None:
    """Delete from one partition; None where there is nothing to delete."""
    partition, size_bytes = item
    start = partition.range.end if before is None else partition.series.grid.ceil(before)
    if start <= partition.range.start:
        return None
    attempt = _forget_all if start >= partition.range.end else partial(_forget_some, start=start)
    for _ in range(MAX_RACES):
        try:
            return await attempt(storage, partition, size_bytes, dry_run)
        except VersionConflictError:
            continue  # Somebody wrote to it: what is to be deleted may be something else now.
    raise StorageUnavailableError(str(partition), f"lost {MAX_RACES} races for it in a row")


async def _forget_all(storage: ObjectStorage, partition: Partition, size_bytes: int, dry_run: bool) -> Deletion | None:
    try:
        head = await storage.inspect_metadata(partition)
        if head is None:
            return None
        rows, version = head.metadata.rows, head.version
    except DamagedObjectError as damage:
        rows, version = 0, damage.found.version
    if not dry_run:
        await storage.delete_partition(partition, version)
    return Deletion(partition, rows, size_bytes, is_whole=True)


async def _forget_some(
    storage: ObjectStorage, partition: Partition, size_bytes: int, dry_run: bool, *, start: datetime
) -> Deletion | None:
    try:
        stored = await storage.inspect_partition(partition)
    except DamagedObjectError as damage:
        return Deletion(partition, problem=f"damaged, left as it is: {damage.reason}")
    kept = stored.since(start)
    if stored.version is None or (kept.coverage == stored.coverage and kept.rows.num_rows == stored.rows.num_rows):
        return None
    rows = stored.rows.num_rows - kept.rows.num_rows
    is_whole = not kept.rows.num_rows and not kept.coverage.segments
    if not dry_run:
        if is_whole:
            await storage.delete_partition(partition, stored.version)
        else:
            await storage.write_partition(kept, kept.rows.slice(0, 0))
    share = 1.0 if is_whole else rows / max(stored.rows.num_rows, 1)
    return Deletion(partition, rows, round(size_bytes * share), is_whole)


async def _delete_facts(storage: ObjectStorage, series: Series) -> None:
    for _ in range(MAX_RACES):
        try:
            await storage.delete_facts(series)
        except VersionConflictError:
            continue
        return
    raise StorageUnavailableError(f"the facts of {series}", f"lost {MAX_RACES} races for it in a row")
