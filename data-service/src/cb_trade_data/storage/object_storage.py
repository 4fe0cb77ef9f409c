"""The shared engine: everything that storage does, over the few byte verbs in which places differ."""

from __future__ import annotations

import asyncio
import secrets
from abc import abstractmethod
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import structlog

from cb_trade_data.errors import ErrorCode, StorageUnavailableError, VersionConflictError
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import SCHEMAS, differing, ordered, repeats, timestamps_ms
from cb_trade_data.models.partition import Partition, partition_at, partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.in_order import in_order
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.interfaces import MAX_RACES, IRawDataStorage, PartitionLock
from cb_trade_data.storage.layouts import Layout, StoredObject
from cb_trade_data.storage.layouts.entries import EntryPlan
from cb_trade_data.storage.layouts.metadata import ObjectMetadata
from cb_trade_data.storage.path_utility import StoragePathUtility
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, Outline, StoredPartition

_log = structlog.get_logger(__name__)
CHECK_PATH: Final = "_check"
_CONCURRENT_READS = 4

# A read that meets a commit starts again; so many in a row mean that something else is wrong.
_READ_TRIES: Final = 10
# That of a month of minutes without holes takes 10 kB.
_FOOTER_BYTES: Final = 64 * 1024
_NONCE_BYTES: Final = 8

# What of a partition is to be read: a range, the batch of that number (negative: from the end), or all of it.
_Wanted: TypeAlias = TimeRange | int | None
# What commits a partition, and what was read back, or why that cannot be what was written.
_Attempt: TypeAlias = tuple[StoredObject, StoredPartition | ValueError]
_FIRST_BATCH: Final = 0
_LAST_BATCH: Final = -1

T = TypeVar("T")
Content: TypeAlias = pa.Buffer | bytes | Callable[[], pa.Buffer | bytes]


@dataclass(frozen=True)
class ListedObject:
    """What a listing tells about an object."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class PartitionHead:
    """What the object of a partition says about itself, and the version that says so."""

    metadata: ObjectMetadata
    version: str


class ObjectStorage(IRawDataStorage):
    """`IRawDataStorage` over a place that can get, put if unchanged, and list whole objects.

    A place subclasses this and supplies the byte verbs. Paths are relative, with `/`.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._paths = layout.paths
        self._verified = Verified()
        self._views: WeakKeyDictionary[StoredObject, StoredPartition] = WeakKeyDictionary()
        self._damaged_objects = 0

    # --- What a place supplies ---

    @abstractmethod
    async def check_exists(self) -> None:
        """Raise `StorageUnavailableError` unless the place is there; it is made when it is first written to."""

    @abstractmethod
    async def read_object(self, path: str, work: Callable[[StoredObject], T]) -> T | None:
        """Return what *work* makes of the object, done off the event loop, or None where there is none."""

    async def read_end(self, path: str, size_bytes: int, work: Callable[[StoredObject], T]) -> T | None:  # noqa: ARG002
        """Return what *work* makes of the last *size_bytes* of the object or of more; see `read_object`.

        For places where the end comes cheaper than all of it.
        """
        return await self.read_object(path, work)

    async def read_part(
        self, path: str, bytes_of: Callable[[StoredObject], range], work: Callable[[StoredObject], T]
    ) -> T | None:
        """Return what *work* makes of the object, of which it looks at the end and the bytes of a range at most.

        For places where a part comes cheaper than all of it: there, the object has zeros elsewhere.

        Args:
            bytes_of: Returns that range, given the object with nothing but its end; raises ValueError where it cannot.
        """
        del bytes_of
        return await self.read_object(path, work)

    @abstractmethod
    async def object_version(self, path: str) -> str | None:
        """Return the version of the object, or None where there is none, as cheaply as the place can tell."""

    @abstractmethod
    async def put_object(self, path: str, content: Content, expected_version: str | None) -> str:
        """Replace the object whole if its version is still *expected_version* (None: if there is none).

        Args:
            content: The bytes, or what makes them: called off the event loop.

        Returns:
            The new version.

        Raises:
            VersionConflictError: It is not; nothing was written.
        """

    @abstractmethod
    async def get_entries(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Return the bytes of those that there are."""

    @abstractmethod
    async def put_entries(self, entries: Mapping[str, bytes]) -> list[str]:
        """Make small objects that are never changed; when this returns, they survive a crash.

        Returns:
            The paths where something else is already, which stays. Where the very same is, nothing need be made.
        """

    @abstractmethod
    async def delete_entries(self, paths: Sequence[str]) -> None:
        """Remove those that there are."""

    @abstractmethod
    def list_objects(self, folder: str, *, with_entries: bool = True) -> AsyncGenerator[ListedObject, None]:
        """Yield all objects under *folder* (`""`: all there are), sorted by path; locks are not objects.

        Args:
            with_entries: Whether those in folders of entries are wanted, too.
        """

    def list_abandoned(self, folder: str) -> AsyncGenerator[ListedObject, None]:  # noqa: ARG002
        """Yield what writers under *folder* left behind when they died; nothing where a place cleans up by itself."""
        return _nothing()

    @abstractmethod
    async def delete_object(self, path: str, version: str) -> bool:
        """Remove the object if it still has that *version*; tell whether it had."""

    @abstractmethod
    async def try_lock_object(self, path: str) -> PartitionLock | None:
        """Take the lock named *path* if nobody has it."""

    # --- Partitions and facts ---

    async def read_partition(self, partition: Partition, wanted: TimeRange | None = None) -> StoredPartition:
        """See `IRawDataStorage.read_partition`."""
        return await self._read(partition, wanted)

    async def read_outline(self, partition: Partition) -> Outline:
        """See `IRawDataStorage.read_outline`."""
        try:
            head = await self.inspect_metadata(partition)
        except DamagedObjectError as damage:
            await self._set_aside(damage.found, damage.reason)
            head = None
        return Outline() if head is None else head.metadata.outline

    async def partition_version(self, partition: Partition) -> str | None:
        """See `IRawDataStorage.partition_version`."""
        return await self.object_version(self._paths.part_path(partition))

    async def write_partition(self, stored: StoredPartition, fresh: pa.Table) -> StoredPartition:
        """See `IRawDataStorage.write_partition`."""
        plan = await self._write_entries(stored, fresh) if self._layout.has_entries else EntryPlan()
        path = self._paths.part_path(stored.partition)
        version = await self.put_object(path, lambda: self._layout.encode(stored, plan.paths), stored.version)
        await self._tidy(plan.superseded)
        return replace(stored, version=version)

    async def read_facts(self, series: Series) -> SeriesFacts | None:
        """See `IRawDataStorage.read_facts`."""
        try:
            return await self.inspect_facts(series)
        except DamagedObjectError as damage:
            await self._set_aside(damage.found, damage.reason)
            return None

    async def try_lock(self, partition: Partition) -> PartitionLock | None:
        """See `IRawDataStorage.try_lock`."""
        return await self.try_lock_object(self._paths.part_path(partition))

    @property
    def has_rows_apart(self) -> bool:
        """See `IRawDataStorage.has_rows_apart`."""
        return self._layout.has_entries

    @property
    def damaged_objects(self) -> int:
        """See `IRawDataStorage.damaged_objects`."""
        return self._damaged_objects

    async def write_facts(self, series: Series, facts: SeriesFacts) -> SeriesFacts:
        """See `IRawDataStorage.write_facts`."""
        version = await self.put_object(self._paths.facts_path(series), facts.to_bytes(), facts.version)
        return replace(facts, version=version)

    # --- Looking on, and removing: for housekeeping ---

    @property
    def paths(self) -> StoragePathUtility:
        """Where things are."""
        return self._paths

    async def inspect_partition(self, partition: Partition) -> StoredPartition:
        """Return the partition as `read_partition` does, and leave it where it is if it is damaged.

        Raises:
            DamagedObjectError: It does not read back as what was written.
        """
        return await self._load(partition, None)

    async def inspect_metadata(self, partition: Partition) -> PartitionHead | None:
        """Return what the partition's object says about itself, or None where there is none; decodes no row.

        Raises:
            DamagedObjectError: It does not say it in a form that can be read.
        """

        def head(found: StoredObject) -> PartitionHead | DamagedObjectError:
            try:
                return PartitionHead(self._layout.metadata(found), found.version)
            except ValueError as error:
                return DamagedObjectError(found, str(error))

        path = self._paths.part_path(partition)
        if self._layout.has_footer:
            outcome = await self.read_end(path, _FOOTER_BYTES, head)
            if not isinstance(outcome, DamagedObjectError):
                return outcome
        # No footer, or a longer one, or damage.
        outcome = await self.read_object(path, head)
        if isinstance(outcome, DamagedObjectError):
            raise outcome
        return outcome

    async def inspect_facts(self, series: Series) -> SeriesFacts | None:
        """Return the facts as `read_facts` does, and leave them where they are if they are damaged.

        Raises:
            DamagedObjectError: They cannot be read.
        """
        found = await self.get_object(self._paths.facts_path(series))
        if found is None:
            return None
        try:
            return SeriesFacts.from_bytes(found.data.to_pybytes(), found.version, found.path)
        except (ValueError, KeyError) as error:
            raise DamagedObjectError(found, str(error)) from error

    async def delete_partition(self, partition: Partition, version: str) -> None:
        """Remove the partition with its entries. Those of a damaged one cannot be told from others and stay.

        Raises:
            VersionConflictError: The stored object is not of that *version* any more; nothing was removed.
        """
        path = self._paths.part_path(partition)
        entries: Sequence[str] = ()
        if self._layout.has_entries:
            found = await self.get_object(path)
            if found is None or found.version != version:
                raise VersionConflictError(path)
            with suppress(ValueError):
                entries = await asyncio.to_thread(self._layout.entry_paths, partition, found, None)
        if not await self.delete_object(path, version):
            raise VersionConflictError(path)
        await self._tidy(entries)

    async def delete_facts(self, series: Series) -> None:
        """Remove the facts of a series, readable or not, if there are any.

        Raises:
            VersionConflictError: Somebody wrote them at the same time; nothing was removed.
        """
        path = self._paths.facts_path(series)
        found = await self.get_object(path)
        if found is not None and not await self.delete_object(path, found.version):
            raise VersionConflictError(path)

    # --- The six verbs ---

    async def save_entry(self, series: Series, entry: pa.Table) -> None:
        """See `IRawDataStorage.save_entry`."""
        await self.save_bulk_entries(series, entry)

    async def save_bulk_entries(self, series: Series, entries: pa.Table) -> None:
        """See `IRawDataStorage.save_bulk_entries`."""
        for partition, rows in _by_partition(series, entries):
            spans = series.grid.runs(np.unique(timestamps_ms(rows)))
            change = Change(rows, tuple(Segment(span, State.HELD) for span in spans))
            for _ in range(MAX_RACES):
                stored = await self.read_partition(partition)
                try:
                    await self.write_partition(stored.with_changes([change]), differing(rows, stored.rows))
                except VersionConflictError:
                    _log.info("storage.conflict", partition=str(partition))
                    continue
                break
            else:
                raise StorageUnavailableError(str(partition), f"lost {MAX_RACES} races for it in a row")

    async def get_range(self, series: Series, wanted: TimeRange) -> pa.Table:
        """See `IRawDataStorage.get_range`."""

        async def rows(of: tuple[Partition, TimeRange]) -> pa.Table:
            partition, part = of
            return (await self.read_partition(partition, part)).rows_in(part)

        async with aclosing(in_order(rows, partitions_of(series, wanted), _CONCURRENT_READS)) as parts:
            return pa.concat_tables([SCHEMAS[series.kind].empty_table(), *[part async for part in parts]])

    async def get_latest_timestamp(
        self, series: Series, partitions: Sequence[Partition] | None = None
    ) -> datetime | None:
        """See `IRawDataStorage.get_latest_timestamp`."""
        # A partition may hold coverage and no row.
        for partition in reversed(await self.list_partitions(series) if partitions is None else partitions):
            if (newest := (await self._read(partition, _LAST_BATCH)).newest) is not None:
                return newest
        return None

    async def get_first_timestamp(
        self, series: Series, partitions: Sequence[Partition] | None = None
    ) -> datetime | None:
        """See `IRawDataStorage.get_first_timestamp`."""
        for partition in await self.list_partitions(series) if partitions is None else partitions:
            if (oldest := (await self._read(partition, _FIRST_BATCH)).oldest) is not None:
                return oldest
        return None

    async def list_coins(self, exchange: str) -> list[str]:
        """See `IRawDataStorage.list_coins`."""
        folders = self._paths.exchange_folders(exchange)
        return sorted({each.series.symbol for folder in folders for each in await self._partitions(folder)})

    async def check_coin_exists(self, exchange: str, symbol: str) -> bool:
        """See `IRawDataStorage.check_coin_exists`."""
        return symbol in await self.list_coins(exchange)

    # --- What there is ---

    async def list_series(self, exchange: str | None = None) -> dict[Series, list[Partition]]:
        """See `IRawDataStorage.list_series`."""
        found: defaultdict[Series, list[Partition]] = defaultdict(list)
        for folder in self._paths.exchange_folders(exchange):
            for partition in await self._partitions(folder):
                found[partition.series].append(partition)
        return {series: found[series] for series in sorted(found, key=str)}

    async def list_partitions(self, series: Series) -> list[Partition]:
        """See `IRawDataStorage.list_partitions`."""
        return await self._partitions(self._paths.series_folder(series))

    async def check(self) -> None:
        """See `IRawDataStorage.check`."""
        found = await self.get_object(CHECK_PATH)
        try:
            await self.put_object(CHECK_PATH, b"", None if found is None else found.version)
        except VersionConflictError:
            return  # Another process checks at the same time: storage can be written to.

    async def get_object(self, path: str) -> StoredObject | None:
        """Return the object, or None where there is none."""
        return await self.read_object(path, lambda found: found)

    async def _read(self, partition: Partition, wanted: _Wanted) -> StoredPartition:
        """Read a partition; one that is damaged is set aside, and then is not there."""
        try:
            return await self._load(partition, wanted)
        except DamagedObjectError as damage:
            await self._set_aside(damage.found, damage.reason)
            return StoredPartition.empty(partition)

    async def _load(self, partition: Partition, wanted: _Wanted) -> StoredPartition:
        """Read a partition as it is. Raises DamagedObjectError where it is not what was written."""
        suspected: str | None = None
        for _ in range(_READ_TRIES):
            attempt = await self._try_load(partition, wanted)
            if attempt is None:
                return StoredPartition.empty(partition)
            found, outcome = attempt
            if isinstance(outcome, StoredPartition):
                return outcome
            # While we read, a writer may have committed, and removed entries that only the old version needs.
            if found.version == suspected:
                raise DamagedObjectError(found, str(outcome)) from outcome
            suspected = found.version
        raise StorageUnavailableError(str(partition), f"it changed {_READ_TRIES} times while it was read")

    async def _try_load(self, partition: Partition, wanted: _Wanted) -> _Attempt | None:
        path = self._paths.part_path(partition)
        if not self._layout.has_entries:
            return await self._try_load_one(partition, path, wanted)
        found = await self.get_object(path)
        if found is None:
            return None
        try:
            part = await asyncio.to_thread(self._part, found, wanted)
            paths = await asyncio.to_thread(self._layout.entry_paths, partition, found, part)
        except ValueError as error:
            return found, error
        entries = await self.get_entries(paths)
        return found, await asyncio.to_thread(self._decoded, partition, found, entries, part)

    async def _try_load_one(self, partition: Partition, path: str, wanted: _Wanted) -> _Attempt | None:
        def bytes_of(found: StoredObject) -> range:
            part = self._part(found, wanted)
            return range(0) if part is None else self._layout.bytes_of(found, part)

        def attempt(found: StoredObject) -> _Attempt:
            return found, self._decoded(partition, found, {}, wanted)

        if self._layout.has_parts and wanted is not None:
            some = await self.read_part(path, bytes_of, attempt)
            if some is None or isinstance(some[1], StoredPartition):
                return some
        # All of it is wanted; or else what damage there is shows in all of it.
        return await self.read_object(path, attempt)

    def _decoded(
        self, partition: Partition, found: StoredObject, entries: Mapping[str, bytes], wanted: _Wanted
    ) -> StoredPartition | ValueError:
        """Return what *found* commits, or why that cannot be what was written."""
        if (known := self._views.get(found)) is not None:
            return known
        try:
            part = self._part(found, wanted)
            if part is not None and part.covers(partition.range):
                part = None
            stored = self._layout.decode(partition, found, entries, part, self._verified)
        except ValueError as error:
            return error
        if part is not None:
            return stored
        # Ready for the wire: here, where nobody waits for the event loop.
        stored = stored.framed()
        if self._layout.is_zero_copy:
            # Views of the object's bytes, kept for as long as the place keeps the object.
            self._views[found] = stored
        return stored

    def _part(self, found: StoredObject, wanted: _Wanted) -> TimeRange | None:
        if not isinstance(wanted, int):
            return wanted
        batches = self._layout.metadata(found).batches
        return batches[wanted].range if batches else None

    async def _write_entries(self, stored: StoredPartition, fresh: pa.Table) -> EntryPlan:
        """Make the entries that *stored* needs. What is committed already stays as it is."""
        found = await self.get_object(self._paths.part_path(stored.partition))
        if (None if found is None else found.version) != stored.version:
            raise VersionConflictError(self._paths.part_path(stored.partition))
        try:
            plan = await asyncio.to_thread(self._layout.plan_entries, stored, fresh, found)
        except ValueError as error:
            if found is not None:
                await self._set_aside(found, str(error))
            raise VersionConflictError(self._paths.part_path(stored.partition)) from error
        while occupied := await self.put_entries(plan.documents):
            # By another value of the row, by what a crash or a writer that lost has left, or by a stranger's file.
            plan = plan.renamed(occupied, secrets.token_hex(_NONCE_BYTES))
        return plan

    async def _tidy(self, paths: Sequence[str]) -> None:
        """Remove entries that the committed version does not name any more; if that fails, they only take up room."""
        if not paths:
            return
        try:
            await self.delete_entries(paths)
        except StorageUnavailableError as error:
            _log.warning("storage.not_tidied", code=error.code, error=str(error), entries=len(paths))

    async def _partitions(self, folder: str) -> list[Partition]:
        """Return the partitions that are committed under *folder*; those of one series oldest first."""
        async with aclosing(self.list_objects(folder, with_entries=False)) as objects:
            found = [self._paths.partition_of(each.path) async for each in objects]
        return sorted((each for each in found if each is not None), key=lambda each: (each.year, each.month, each.day))

    async def _set_aside(self, found: StoredObject, reason: str) -> None:
        """Move a damaged object out of the way, where people can look at it; it is never deleted without a copy."""
        aside = self._paths.damaged_path(found.path, found.version)
        # Where the copy exists, another reader found the damage first, or we died half-way the last time.
        with suppress(VersionConflictError):
            await self.put_object(aside, found.data, None)
        self._damaged_objects += 1
        _log.error(
            "storage.damaged",
            code=ErrorCode.CORRUPT_OBJECT,
            path=found.path,
            set_aside_as=aside,
            reason=reason,
            damaged_objects=self._damaged_objects,
        )
        await self.delete_object(found.path, found.version)


class DamagedObjectError(Exception):
    """An object does not read back as what was written; `reason` says how that shows."""

    def __init__(self, found: StoredObject, reason: str) -> None:
        super().__init__(found.path, reason)
        self.found = found
        self.reason = reason


async def _nothing() -> AsyncGenerator[ListedObject, None]:
    nothing: tuple[ListedObject, ...] = ()
    for each in nothing:
        yield each


def _by_partition(series: Series, entries: pa.Table) -> Iterator[tuple[Partition, pa.Table]]:
    """Yield the rows of each partition, in order and unique: of several rows of the same thing the last one counts."""
    schema = SCHEMAS[series.kind]
    rows = ordered(entries.select(schema.names).cast(schema))
    is_superseded = np.append(repeats(rows)[1:], False)
    if is_superseded.any():
        rows = rows.filter(pa.array(~is_superseded))
    times = timestamps_ms(rows)
    first = 0
    while first < len(times):
        partition = partition_at(series, from_ms(int(times[first])))
        end = int(np.searchsorted(times, to_ms(partition.range.end)))
        yield partition, rows.slice(first, end - first)
        first = end
