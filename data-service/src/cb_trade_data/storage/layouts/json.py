"""The `json` layout: one readable document per row, for tools that look at single entries. Not a fast one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

import numpy as np
import orjson
import pyarrow as pa

from cb_trade_data.models.market import SCHEMAS, TIMESTAMP, timestamps_ms
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.metadata import CHECKSUM_KEY, ObjectMetadata
from cb_trade_data.storage.path_utility import EntryPaths
from cb_trade_data.storage.stored_partition import StoredPartition

_DAY_MS: Final = 86_400_000


class JsonLayout:
    """`_coverage.json`, written last, commits the partition: a row that it does not vouch for is not there.

    It lists a checksum per UTC day. A crash between a row's new value and the commit shows as a day that does not match
    and is fetched again.
    """

    paths = EntryPaths()
    is_mapped = False

    def encode(self, stored: StoredPartition) -> bytes:
        """See `Layout.encode`."""
        pairs = ObjectMetadata.of(_by_day(stored.rows), stored.coverage).to_key_values()
        # Every value but the checksum is JSON already: a document that people can read.
        document = {
            name.decode(): value.decode() if name == CHECKSUM_KEY else orjson.Fragment(value)
            for name, value in pairs.items()
        }
        return orjson.dumps(document)

    def entries(self, fresh: pa.Table, partition: Partition) -> Iterator[tuple[str, bytes]]:
        """See `Layout.entries`."""
        names = fresh.schema.names
        columns = [timestamps_ms(fresh).tolist(), *(fresh.column(name).to_pylist() for name in names[1:])]
        for values in zip(*columns, strict=True):
            document = orjson.dumps(dict(zip(names, values, strict=True)))
            yield self.paths.entry_path(partition.series, values[0]), document

    def decode(
        self,
        partition: Partition,
        stored: StoredObject,
        entries: Sequence[StoredObject],
        wanted: TimeRange | None,
        verified: Verified,
    ) -> StoredPartition:
        """See `Layout.decode`."""
        metadata = _metadata(stored.data.to_pybytes())
        schema = SCHEMAS[partition.series.kind]
        found = _documents((entry for entry in entries if self.paths.is_entry(entry.path)), schema)
        held = StoredPartition(partition, found)
        vouched = pa.concat_tables([schema.empty_table(), *map(held.rows_in, metadata.coverage.ranges(State.HELD))])
        days = []
        for number in metadata.overlapping(wanted):
            batch = metadata.batches[number]
            day = StoredPartition(partition, vouched).rows_in(batch.range)
            verified.check(stored.path, stored.version, number, day, batch.checksum)
            days.append(day)
        return StoredPartition(
            partition, pa.concat_tables([schema.empty_table(), *days]), metadata.coverage, stored.version
        )


def _metadata(data: bytes) -> ObjectMetadata:
    document = orjson.loads(data)
    if not isinstance(document, dict):
        raise ValueError("not a coverage document")  # noqa: TRY004 - to the reader, bytes of a wrong value
    return ObjectMetadata.from_key_values(
        {
            name.encode(): str(value).encode() if name.encode() == CHECKSUM_KEY else orjson.dumps(value)
            for name, value in document.items()
        }
    )


def _by_day(rows: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows of each UTC day that has any, oldest first."""
    days = timestamps_ms(rows) // _DAY_MS
    borders = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), rows.num_rows]
    return (rows.slice(first, last - first) for first, last in pairwise(borders) if last > first)


def _documents(entries: Iterable[StoredObject], schema: pa.Schema) -> pa.Table:
    """Return the rows in *entries* in time order. One that cannot be read is left out: its day will not match then."""
    rows = []
    for entry in entries:
        with suppress(ValueError, KeyError, TypeError):
            document = orjson.loads(entry.data.to_pybytes())
            rows.append([int(document["timestamp"]), *(float(document[name]) for name in schema.names[1:])])
    rows.sort(key=lambda row: row[0])
    if not rows:
        return schema.empty_table()
    times, *columns = zip(*rows, strict=True)
    arrays = [pa.array(times, pa.int64()).cast(TIMESTAMP), *(pa.array(column, pa.float64()) for column in columns)]
    return pa.table(arrays, schema=schema)
