"""The `parquet` layout: one Parquet file per partition, which any engine reads as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.parquet as pq

from cb_trade_data.models.market import SCHEMAS, TIMESTAMP, sliced
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.entries import RowsInside
from cb_trade_data.storage.layouts.metadata import ObjectMetadata
from cb_trade_data.storage.path_utility import HivePaths
from cb_trade_data.storage.stored_partition import StoredPartition

# Three days of minutes: one day is read by decoding one group or two of a month's ten or eleven, and smaller groups
# make the file larger and whole months slower to read. Measured, as the encoding is: docs/topics/performance.md.
_ROW_GROUP_ROWS: Final = 4_320
# Some twenty minutes of a busy market: an hour of trades is read by decoding a few groups of a day's sixty.
_ROW_GROUP_TRADES: Final = 32_768

_FEW_VALUES: Final = ("side",)
_ENCODINGS: Final = {
    TIMESTAMP: "DELTA_BINARY_PACKED",
    pa.int64(): "DELTA_BINARY_PACKED",
    pa.float64(): "PLAIN",
    pa.string(): "DELTA_BYTE_ARRAY",  # ids that follow each other begin alike
}


class ParquetLayout(RowsInside):
    """Row groups sized so that one day reads without decoding a month; encodings chosen by measurement."""

    suffix = "parquet"
    paths = HivePaths(suffix)
    is_zero_copy = False
    has_parts = True

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[StoredObject, tuple[pq.FileMetaData, ObjectMetadata]] = WeakKeyDictionary()

    def encode(self, stored: StoredPartition, entry_paths: Sequence[str] = ()) -> pa.Buffer:  # noqa: ARG002
        """See `Layout.encode`."""
        schema = stored.rows.schema
        rows_max = _ROW_GROUP_TRADES if stored.partition.series.kind is Kind.TRADES else _ROW_GROUP_ROWS
        groups = list(sliced(stored.rows, rows_max))
        metadata = ObjectMetadata.of(stored, groups)
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink,
            schema.with_metadata(metadata.to_key_values()),
            # Rows of prices repeat each other's bytes as they stand: split by byte, or in dictionaries, they take more
            # room, and zstd makes them a fifth smaller for three times the time to read.
            compression="lz4",
            use_dictionary=_FEW_VALUES,
            column_encoding={
                field.name: _ENCODINGS[field.type]
                for field in schema
                if field.type in _ENCODINGS and field.name not in _FEW_VALUES
            },
            # Levels of order books come back as what they are in the schema, by name, too.
            use_compliant_nested_type=False,
            # For other engines; ours goes by the groups.
            write_page_index=True,
        ) as writer:
            for group in groups or [schema.empty_table()]:
                writer.write_table(group, row_group_size=max(1, group.num_rows))
        return sink.getvalue()

    def metadata(self, stored: StoredObject) -> ObjectMetadata:
        """See `Layout.metadata`."""
        if (known := self._known.get(stored)) is not None:
            return known[1]
        try:
            return ObjectMetadata.from_key_values(pq.read_schema(pa.BufferReader(stored.data)).metadata, stored.path)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(str(error)) from error

    def bytes_of(self, stored: StoredObject, wanted: TimeRange) -> range:
        """See `Layout.bytes_of`."""
        try:
            file = pq.ParquetFile(pa.BufferReader(stored.data))
            numbers = ObjectMetadata.from_key_values(file.schema_arrow.metadata, stored.path).overlapping(wanted)
            groups = [file.metadata.row_group(number) for number in numbers]
        except (pa.ArrowException, OSError, IndexError) as error:
            raise ValueError(str(error)) from error
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        starts = [column.dictionary_page_offset or column.data_page_offset for column in columns]
        ends = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
        return range(min(starts, default=0), max(ends, default=0))

    def decode(
        self,
        partition: Partition,
        stored: StoredObject,
        entries: Mapping[str, bytes],  # noqa: ARG002 - the object is all there is
        wanted: TimeRange | None,
        verified: Verified,
    ) -> StoredPartition:
        """See `Layout.decode`."""
        try:
            file, metadata = self._open(partition, stored)
            numbers = metadata.overlapping(wanted)
            # One thread: a group takes less than a millisecond, and many requests decode at once.
            rows = file.read_row_groups(numbers, use_threads=False).replace_schema_metadata(None)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(str(error)) from error
        metadata.verify(rows, numbers, stored.path, stored.version, verified)
        return StoredPartition(
            partition,
            rows,
            metadata.coverage,
            stored.version,
            metadata.digests,
            evidence=metadata.evidence,
            evidence_is_damaged=metadata.evidence_is_damaged,
        )

    def _open(self, partition: Partition, stored: StoredObject) -> tuple[pq.ParquetFile, ObjectMetadata]:
        """Return the file, and what it says about itself: looked into once while the place keeps the object."""
        if (known := self._known.get(stored)) is not None:
            return pq.ParquetFile(pa.BufferReader(stored.data), metadata=known[0]), known[1]
        file = pq.ParquetFile(pa.BufferReader(stored.data))
        metadata = ObjectMetadata.from_key_values(file.schema_arrow.metadata, stored.path)
        if not file.schema_arrow.equals(SCHEMAS[partition.series.kind], check_metadata=False):
            raise ValueError(f"columns {file.schema_arrow.names} are not those of {partition.series.kind}")
        # A file without rows has one group without rows.
        if file.num_row_groups != max(1, len(metadata.batches)):
            raise ValueError("the row groups are not those that the metadata lists")
        self._known[stored] = (file.metadata, metadata)
        return file, metadata
