"""The `json` layout: one readable document per row, for tools that look at single entries. Not a fast one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, islice, pairwise, repeat
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from cb_trade_data.models.market import LEVELS, SCHEMAS, TIMESTAMP, timestamps_ms
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.entries import EntryPlan
from cb_trade_data.storage.layouts.metadata import CHECKSUM_KEY, ObjectMetadata
from cb_trade_data.storage.path_utility import EntryPaths
from cb_trade_data.storage.stored_partition import StoredPartition

_DAY_MS: Final = 86_400_000


class JsonLayout:
    """`_coverage.json`, written last, commits the partition: for each UTC day it names the entries and has a checksum.

    What it does not name is not there, whatever lies beside it.
    """

    paths = EntryPaths()
    is_zero_copy = False
    has_entries = True
    has_footer = False
    has_parts = False

    def plan_entries(self, stored: StoredPartition, fresh: pa.Table, committed: StoredObject | None) -> EntryPlan:
        """See `Layout.plan_entries`.

        A row keeps the name that it has. A fresh one asks for it again: with the same values it is there already.
        """
        known = () if committed is None else self.entry_paths(stored.partition, committed, None)
        path_of = {self.paths.entry_key(path): path for path in known}
        paths: list[str] = []
        for day in _by_day(stored.rows):
            folder = self.paths.entry_folder(stored.partition.series, int(timestamps_ms(day)[0]))
            paths += (path_of.get(key) or self.paths.entry_path(folder, key) for key in self._keys(day))
        is_known = np.fromiter(map(set(known).__contains__, paths), bool, len(paths))
        pending = ~is_known | np.isin(timestamps_ms(stored.rows), timestamps_ms(fresh))
        documents = _documents(stored.rows.filter(pa.array(pending)))
        return EntryPlan(tuple(paths), dict(zip(compress(paths, pending), documents, strict=True)), known)

    def _keys(self, rows: pa.Table) -> Iterator[str]:
        ids = rows.column("id").to_pylist() if "id" in rows.schema.names else repeat(None)
        return map(self.paths.row_key, timestamps_ms(rows).tolist(), ids)

    def encode(self, stored: StoredPartition, entry_paths: Sequence[str] = ()) -> bytes:
        """See `Layout.encode`."""
        days = list(_by_day(stored.rows))
        names = iter(map(self.paths.entry_name, entry_paths))
        entries = tuple(tuple(islice(names, day.num_rows)) for day in days)
        pairs = ObjectMetadata.of(stored, days, entries).to_key_values()
        # Every value but the checksum is JSON already: a document that people can read.
        document = {
            name.decode(): value.decode() if name == CHECKSUM_KEY else orjson.Fragment(value)
            for name, value in pairs.items()
        }
        return orjson.dumps(document)

    def bytes_of(self, stored: StoredObject, wanted: TimeRange) -> range:  # noqa: ARG002
        """See `Layout.bytes_of`."""
        raise ValueError("all of them")

    def metadata(self, stored: StoredObject) -> ObjectMetadata:
        """See `Layout.metadata`."""
        document = orjson.loads(stored.data.to_pybytes())
        if not isinstance(document, dict):
            raise ValueError("not a coverage document")  # noqa: TRY004 - to the reader, bytes of a wrong value
        metadata = ObjectMetadata.from_key_values(
            {
                name.encode(): str(value).encode() if name.encode() == CHECKSUM_KEY else orjson.dumps(value)
                for name, value in document.items()
            },
            stored.path,
        )
        if [len(names) for names in metadata.entries] != [batch.rows for batch in metadata.batches]:
            raise ValueError("the entries are not those of the days")
        return metadata

    def entry_paths(self, partition: Partition, stored: StoredObject, wanted: TimeRange | None) -> Sequence[str]:
        """See `Layout.entry_paths`."""
        metadata = self.metadata(stored)
        return self._paths_of(partition, metadata, metadata.overlapping(wanted))

    def decode(
        self,
        partition: Partition,
        stored: StoredObject,
        entries: Mapping[str, bytes],
        wanted: TimeRange | None,
        verified: Verified,  # noqa: ARG002 - remembers what an object's version says
    ) -> StoredPartition:
        """See `Layout.decode`."""
        metadata = self.metadata(stored)
        numbers = metadata.overlapping(wanted)
        paths = self._paths_of(partition, metadata, numbers)
        rows = _rows(paths, entries, SCHEMAS[partition.series.kind])
        # At every read: entries may change while the object that names them, and with it the version, does not.
        metadata.verify(rows, numbers, stored.path, stored.version, Verified())
        return StoredPartition(
            partition,
            rows,
            metadata.coverage,
            stored.version,
            metadata.digests,
            evidence=metadata.evidence,
            evidence_is_damaged=metadata.evidence_is_damaged,
        )

    def _paths_of(self, partition: Partition, metadata: ObjectMetadata, days: range) -> list[str]:
        paths: list[str] = []
        for number in days:
            folder = self.paths.entry_folder(partition.series, metadata.batches[number].first_ms)
            paths += (self.paths.entry_path(folder, name) for name in metadata.entries[number])
        return paths


def _by_day(rows: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows of each UTC day that has any, oldest first."""
    days = timestamps_ms(rows) // _DAY_MS
    borders = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), rows.num_rows]
    return (rows.slice(first, last - first) for first, last in pairwise(borders) if last > first)


def _documents(rows: pa.Table) -> Iterator[bytes]:
    """Yield the document of each row, with the keys that it has on the wire."""
    names = rows.schema.names
    columns = [timestamps_ms(rows).tolist(), *(rows.column(name).to_pylist() for name in names[1:])]
    for values in zip(*columns, strict=True):
        yield orjson.dumps(dict(zip(names, values, strict=True)))


def _rows(paths: Sequence[str], entries: Mapping[str, bytes], schema: pa.Schema) -> pa.Table:
    """Return the rows in the documents at *paths*, in their order. Raises ValueError where one is not a row."""
    if not paths:
        return schema.empty_table()
    rows = []
    readers = [_or_none(_READERS[field.type]) if field.nullable else _READERS[field.type] for field in schema]
    for path in paths:
        if path not in entries:
            raise ValueError(f"{path} is missing")
        try:
            document = orjson.loads(entries[path])
            rows.append([read(document[name]) for name, read in zip(schema.names, readers, strict=True)])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not the document of a row") from error
    times, *columns = zip(*rows, strict=True)
    try:
        arrays = [pa.array(times, pa.int64()).cast(TIMESTAMP)]
        arrays += [pa.array(column, field.type) for column, field in zip(columns, list(schema)[1:], strict=True)]
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(str(error)) from error
    return pa.table(arrays, schema=schema)


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _levels(value: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(float(price), float(amount)) for price, amount in value]


_READERS: Final[dict[pa.DataType, Callable[[Any], Any]]] = {
    TIMESTAMP: int,
    pa.int64(): int,
    pa.float64(): float,
    pa.string(): _text,
    LEVELS: _levels,
}
