"""The two faces of storage: raw objects with their coverage, and the manager that the rest of the service talks to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from cb_trade_data.models.partition import Partition
from cb_trade_data.models.past_error import PastError
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, Outline, StoredPartition

# Every lost race means that somebody else's write went through; so many in a row mean that something else is wrong.
MAX_RACES: Final = 100


@dataclass(frozen=True)
class CacheCondition:
    """What keeping partitions in memory has been good for since the start.

    Attributes:
        hits: Lookups that memory answered.
        confirmed: Those for which a look at the version was enough: what was in memory is still the newest.
        misses: Those for which storage was read.
        size_bytes: How much is kept now.
        max_bytes: How much may be.
    """

    hits: int
    confirmed: int
    misses: int
    size_bytes: int
    max_bytes: int


class PartitionLock(ABC):
    """A lock that is held; it ends by itself some seconds after its holder has stopped to live."""

    @abstractmethod
    async def release(self) -> None:
        """Let somebody else have it; does nothing if it was lost meanwhile."""

    @property
    @abstractmethod
    def is_lost(self) -> bool:
        """Whether somebody else may have it by now, because it could not be renewed in time.

        A lock that nobody took may be renewed later, and is then held again.
        """


class IRawDataStorage(ABC):
    """Where rows live: a place (local disk, a blob container) and a layout, with one behaviour for all of them.

    Every method may raise `StorageUnavailableError`. An object that does not read back as what was written is set
    aside, logged and counted, and then is not there: what it held is asked for again. One that a later release wrote is
    neither read nor touched: whatever needs it raises `NewerFormatError`.
    """

    @abstractmethod
    async def save_entry(self, series: Series, entry: pa.Table) -> None:
        """Store one row; see `save_bulk_entries`."""

    @abstractmethod
    async def save_bulk_entries(self, series: Series, entries: pa.Table) -> None:
        """Store rows, replacing those of equal time, and mark their bars as held.

        Args:
            entries: Rows with the schema of the kind, in any order, on the grid; of equal times the last one counts.
        """

    @abstractmethod
    async def get_range(self, series: Series, wanted: TimeRange) -> pa.Table:
        """Return the stored rows of *wanted* in time order; no rows where nothing is stored."""

    @abstractmethod
    async def get_latest_timestamp(
        self, series: Series, partitions: Sequence[Partition] | None = None
    ) -> datetime | None:
        """Return the time of the newest stored row, or None.

        Args:
            partitions: Those that are stored of it, if that is known already: spares a listing.
        """

    @abstractmethod
    async def get_first_timestamp(
        self, series: Series, partitions: Sequence[Partition] | None = None
    ) -> datetime | None:
        """Return the time of the oldest stored row, or None; see `get_latest_timestamp`."""

    @abstractmethod
    async def list_coins(self, exchange: str) -> list[str]:
        """Return the symbols of which something is stored, sorted."""

    @abstractmethod
    async def check_coin_exists(self, exchange: str, symbol: str) -> bool:
        """Tell whether anything is stored of that symbol."""

    @abstractmethod
    async def list_series(self, exchange: str | None = None) -> Mapping[Series, Sequence[Partition]]:
        """Return the series of which something is stored, of one exchange or of all (None), sorted by their text.

        Each with its partitions, as `list_partitions` returns them.
        """

    @abstractmethod
    async def list_partitions(self, series: Series) -> list[Partition]:
        """Return the partitions that are stored of *series*, oldest first; reads none of them."""

    @abstractmethod
    async def read_partition(self, partition: Partition, wanted: TimeRange | None = None) -> StoredPartition:
        """Return the partition's coverage and rows; an empty one (version None) where nothing is stored.

        Args:
            wanted: Where given, only the rows of this range are needed; more may come. Such a value is not to be
                written back.
        """

    @abstractmethod
    async def read_outline(self, partition: Partition) -> Outline:
        """Return what is stored of the partition beside its rows, which are neither read nor decoded."""

    @abstractmethod
    async def partition_version(self, partition: Partition) -> str | None:
        """Return the version that `read_partition` would find now, None where nothing is stored; decodes nothing."""

    @abstractmethod
    async def write_partition(self, stored: StoredPartition, fresh: pa.Table) -> StoredPartition:
        """Write rows and coverage in one atomic step and return them under their new version.

        Args:
            stored: Everything that the partition is to hold.
            fresh: Those of its rows that the stored version does not have yet, or has otherwise; more do no harm.

        Raises:
            VersionConflictError: The stored object is not `stored.version` any more; nothing was written.
        """

    @abstractmethod
    async def read_facts(self, series: Series) -> SeriesFacts | None:
        """Return the series' facts, or None where there are none yet."""

    @abstractmethod
    async def write_facts(self, series: Series, facts: SeriesFacts) -> SeriesFacts:
        """Write the facts and return them under their new version; raises as `write_partition` does."""

    @abstractmethod
    async def try_lock(self, partition: Partition) -> PartitionLock | None:
        """Take the lock of *partition* if nobody has it, in this process or another; None if somebody has.

        The lock spares double work. Correctness never depends on it, only on versions.
        """

    @abstractmethod
    async def check(self) -> None:
        """Raise `StorageUnavailableError` unless an object can be written now."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections; the storage may not be used afterwards."""

    @property
    @abstractmethod
    def has_rows_apart(self) -> bool:
        """Whether each row has to be fetched by itself, so that a part of a partition costs less than all of it."""

    @property
    @abstractmethod
    def damaged_objects(self) -> int:
        """How many objects were found damaged and set aside since the start."""


class IStorageManager(ABC):
    """Storage as the rest of the service sees it: reads, and changes that are merged with everybody else's."""

    @abstractmethod
    async def read(
        self, partition: Partition, wanted: TimeRange | None = None, *, known: StoredPartition | None = None
    ) -> StoredPartition:
        """Return what is stored of *partition*; see `IRawDataStorage.read_partition`.

        Args:
            known: What the same question was answered with before: returned again where there is nothing newer.
        """

    @abstractmethod
    async def read_if_possible(
        self, partition: Partition, wanted: TimeRange | None = None, *, known: StoredPartition | None = None
    ) -> StoredPartition:
        """Return what is stored of *partition*, or nothing (version None) where storage cannot be read.

        That has then been counted and is visible in `problem`. Whoever asks gets rows all the same, from the exchange;
        what is stored stays as it is, because a commit over nothing is refused where something is.
        """

    @abstractmethod
    async def version(self, partition: Partition) -> str | None:
        """Return the version of what is stored of *partition*; see `IRawDataStorage.partition_version`."""

    @abstractmethod
    async def coverage(self, partition: Partition) -> Coverage:
        """Return what is known of *partition*, without reading its rows."""

    @abstractmethod
    async def outline(self, partition: Partition) -> Outline:
        """Return what is stored of *partition* beside its rows, without reading these."""

    @abstractmethod
    async def list_series(self, exchange: str | None = None) -> Mapping[Series, Sequence[Partition]]:
        """Return the series of which something is stored; see `IRawDataStorage.list_series`."""

    @abstractmethod
    async def list_partitions(self, series: Series) -> list[Partition]:
        """Return the partitions that are stored of *series*; see `IRawDataStorage.list_partitions`."""

    @abstractmethod
    async def commit(self, base: StoredPartition, changes: Sequence[Change]) -> StoredPartition:
        """Store *changes*, at least one, on top of *base*, or of whatever has been stored since; return the outcome.

        Raises:
            StorageUnavailableError: It could not be stored. It has been counted and is visible in `problem`.
        """

    @abstractmethod
    def kept(self, partition: Partition) -> StoredPartition | None:
        """Return what is in memory of *partition*, if that was found to be the newest version a moment ago."""

    @abstractmethod
    def kept_facts(self, series: Series) -> SeriesFacts | None:
        """Return what is in memory of the series' facts, if they were found to be the newest a moment ago."""

    @abstractmethod
    async def facts(self, series: Series, *, anew: bool = False) -> SeriesFacts | None:
        """Return the series' facts, or None where there are none yet.

        Args:
            anew: Look up which are the newest even if that was done a moment ago.
        """

    @abstractmethod
    async def facts_if_possible(self, series: Series) -> SeriesFacts | None:
        """Return the series' facts, or None where there are none yet or they cannot be read; see `read_if_possible`."""

    @abstractmethod
    async def commit_facts(self, series: Series, facts: SeriesFacts) -> SeriesFacts:
        """Store the facts, merged with what another writer has stored since they were read, and return the outcome."""

    @abstractmethod
    async def latest_timestamp(self, series: Series, partitions: Sequence[Partition] | None = None) -> datetime | None:
        """Return the time of the newest stored row, or None; see `IRawDataStorage.get_latest_timestamp`."""

    @abstractmethod
    async def first_timestamp(self, series: Series, partitions: Sequence[Partition] | None = None) -> datetime | None:
        """Return the time of the oldest stored row, or None; see `IRawDataStorage.get_first_timestamp`."""

    @abstractmethod
    async def try_lock(self, partition: Partition) -> PartitionLock | None:
        """Take the partition's lock if it is free; see `IRawDataStorage.try_lock`."""

    @abstractmethod
    async def check(self) -> None:
        """Raise `StorageUnavailableError` unless storage can be written to now."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections."""

    @property
    @abstractmethod
    def problem(self) -> str | None:
        """The last failure to write or to read, until a later one succeeds; None where the last of both went well."""

    @property
    @abstractmethod
    def last_error(self) -> PastError | None:
        """The last failure to write, to read or to pass `check`, whatever has succeeded since; None without one."""

    @property
    @abstractmethod
    def standing_problems(self) -> list[str]:
        """The failures to write or read a partition or a series' facts of which the same has not succeeded since."""

    @property
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """What happened since the start.

        `failed_reads`, `failed_writes`, `failed_checks`, `restated_rows` and `damaged_objects`.
        """

    @property
    @abstractmethod
    def cache(self) -> CacheCondition:
        """What is kept in memory, and what that was good for."""
