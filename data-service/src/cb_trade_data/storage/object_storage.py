"""The shared engine: everything that storage does, over the few byte verbs in which places differ."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from itertools import groupby

import pyarrow as pa
import structlog

from cb_trade_data.errors import CorruptObjectError, VersionConflictError
from cb_trade_data.models.market import SCHEMAS, timestamps_ms
from cb_trade_data.models.partition import Partition, partition_at, partitions_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.interfaces import IRawDataStorage
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.path_utility import StoragePathUtility
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

_log = structlog.get_logger(__name__)
_CHECK_PATH = "_check"


class ObjectStorage(IRawDataStorage):
    """`IRawDataStorage` over a place that can get, put if unchanged, and list whole objects.

    A place subclasses this and supplies the three byte verbs. Paths are relative, with `/`.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._paths = StoragePathUtility(layout.suffix)

    # --- What a place supplies ---

    @abstractmethod
    async def get_object(self, path: str) -> tuple[bytes, str] | None:
        """Return the object's bytes and version, or None where there is none."""

    @abstractmethod
    async def put_object(self, path: str, data: bytes, expected_version: str | None) -> str:
        """Replace the object whole if its version is still *expected_version* (None: if there is none).

        Returns:
            The new version.

        Raises:
            VersionConflictError: It is not; nothing was written.
        """

    @abstractmethod
    def list_objects(self, folder: str) -> AsyncGenerator[str, None]:
        """Yield the paths of all objects under *folder*, sorted."""

    # --- Partitions and facts ---

    async def read_partition(self, partition: Partition) -> StoredPartition:
        """See `IRawDataStorage.read_partition`."""
        path = self._paths.part_path(partition)
        found = await self.get_object(path)
        if found is None:
            return StoredPartition.empty(partition)
        data, version = found
        try:
            return await asyncio.to_thread(self._layout.decode, partition, data, version)
        except ValueError as error:
            raise CorruptObjectError(path, str(error)) from error

    async def write_partition(self, stored: StoredPartition) -> StoredPartition:
        """See `IRawDataStorage.write_partition`."""
        data = await asyncio.to_thread(self._layout.encode, stored)
        version = await self.put_object(self._paths.part_path(stored.partition), data, stored.version)
        return replace(stored, version=version)

    async def read_facts(self, series: Series) -> SeriesFacts | None:
        """See `IRawDataStorage.read_facts`."""
        path = self._paths.facts_path(series)
        found = await self.get_object(path)
        if found is None:
            return None
        data, version = found
        try:
            return SeriesFacts.from_bytes(data, version)
        except ValueError as error:
            raise CorruptObjectError(path, str(error)) from error

    async def write_facts(self, series: Series, facts: SeriesFacts) -> SeriesFacts:
        """See `IRawDataStorage.write_facts`."""
        version = await self.put_object(self._paths.facts_path(series), facts.to_bytes(), facts.version)
        return replace(facts, version=version)

    # --- The six verbs ---

    async def save_entry(self, series: Series, entry: pa.Table) -> None:
        """See `IRawDataStorage.save_entry`."""
        await self.save_bulk_entries(series, entry)

    async def save_bulk_entries(self, series: Series, entries: pa.Table) -> None:
        """See `IRawDataStorage.save_bulk_entries`."""
        for partition, rows in _by_partition(series, entries):
            spans = series.grid.runs(timestamps_ms(rows))
            change = Change(rows, tuple(Segment(span, State.HELD) for span in spans))
            while True:
                stored = await self.read_partition(partition)
                try:
                    await self.write_partition(stored.with_changes([change]))
                except VersionConflictError:
                    _log.info("storage.conflict", partition=str(partition))
                    continue
                break

    async def get_range(self, series: Series, wanted: TimeRange) -> pa.Table:
        """See `IRawDataStorage.get_range`."""
        parts = [
            (await self.read_partition(partition)).rows_in(part) for partition, part in partitions_of(series, wanted)
        ]
        return pa.concat_tables([SCHEMAS[series.kind].empty_table(), *parts])

    async def get_latest_timestamp(self, series: Series) -> datetime | None:
        """See `IRawDataStorage.get_latest_timestamp`."""
        # A partition may hold coverage and no row.
        for partition in reversed(await self._partitions(series)):
            if (newest := (await self.read_partition(partition)).newest) is not None:
                return newest
        return None

    async def get_first_timestamp(self, series: Series) -> datetime | None:
        """See `IRawDataStorage.get_first_timestamp`."""
        for partition in await self._partitions(series):
            if (oldest := (await self.read_partition(partition)).oldest) is not None:
                return oldest
        return None

    async def list_coins(self, exchange: str) -> list[str]:
        """See `IRawDataStorage.list_coins`."""
        symbols = set()
        for kind in Kind:
            async with aclosing(self.list_objects(self._paths.exchange_folder(kind, exchange))) as paths:
                async for path in paths:
                    if self._holds_rows(path) and (symbol := self._paths.symbol_of(path)) is not None:
                        symbols.add(symbol)
        return sorted(symbols)

    async def check_coin_exists(self, exchange: str, symbol: str) -> bool:
        """See `IRawDataStorage.check_coin_exists`."""
        for kind in Kind:
            async with aclosing(self.list_objects(self._paths.coin_folder(kind, exchange, symbol))) as paths:
                async for path in paths:
                    if self._holds_rows(path):
                        return True
        return False

    async def check(self) -> None:
        """See `IRawDataStorage.check`."""
        found = await self.get_object(_CHECK_PATH)
        try:
            await self.put_object(_CHECK_PATH, b"", None if found is None else found[1])
        except VersionConflictError:
            return  # Another process checks at the same time: storage can be written to.

    async def _partitions(self, series: Series) -> list[Partition]:
        """Return the stored partitions of *series*, oldest first."""
        async with aclosing(self.list_objects(self._paths.series_folder(series))) as paths:
            found = [self._paths.partition_of(series, path) async for path in paths]
        return sorted((each for each in found if each is not None), key=lambda each: (each.year, each.month))

    def _holds_rows(self, path: str) -> bool:
        return path.endswith("/" + self._paths.part_name)


def _by_partition(series: Series, entries: pa.Table) -> Iterator[tuple[Partition, pa.Table]]:
    """Yield the rows of each partition, in time order and unique: of equal times the last one counts."""
    schema = SCHEMAS[series.kind]
    rows = entries.select(schema.names).cast(schema)
    times = timestamps_ms(rows)
    last_of = {int(time): index for index, time in enumerate(times)}
    ordered = rows.take(pa.array([last_of[time] for time in sorted(last_of)], pa.int64()))
    opens = ordered.column("timestamp").to_pylist()
    start = 0
    for partition, group in groupby(opens, key=lambda open_time: partition_at(series, open_time)):
        count = sum(1 for _ in group)
        yield partition, ordered.slice(start, count)
        start += count
