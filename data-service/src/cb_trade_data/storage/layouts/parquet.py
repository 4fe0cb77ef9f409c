"""The `parquet` layout: one Parquet file per partition, coverage in its file metadata."""

from __future__ import annotations

from typing import Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.partition import Partition
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.integrity import checksum
from cb_trade_data.storage.stored_partition import StoredPartition

_FORMAT_KEY: Final = b"cb_trade.format"
_COVERAGE_KEY: Final = b"cb_trade.coverage"
_CHECKSUM_KEY: Final = b"cb_trade.checksum"
_FORMAT: Final = b"1"

_ROW_GROUP_ROWS: Final = 16_384


class ParquetLayout:
    """Parquet that any engine reads as it stands; what we know about the rows travels in the same object."""

    suffix = "parquet"

    def encode(self, stored: StoredPartition) -> bytes:
        """Return the Parquet file of *stored*."""
        coverage = orjson.dumps([segment.to_json() for segment in stored.coverage.segments])
        rows = stored.rows.replace_schema_metadata(
            {
                _FORMAT_KEY: _FORMAT,
                _COVERAGE_KEY: coverage,
                _CHECKSUM_KEY: checksum(stored.rows, coverage).encode(),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(
            rows,
            sink,
            row_group_size=_ROW_GROUP_ROWS,
            compression="zstd",
            compression_level=1,
            # Dictionaries do not pay for prices; splitting the bytes of floats does, and decodes faster.
            use_dictionary=False,
            column_encoding={
                field.name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type) else "DELTA_BINARY_PACKED"
                for field in rows.schema
            },
        )
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def decode(self, partition: Partition, data: bytes, version: str) -> StoredPartition:
        """Read rows and coverage back; see `Layout.decode`."""
        try:
            # One thread: a partition takes a few milliseconds, and many are decoded at once.
            rows = pq.read_table(pa.BufferReader(data), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(str(error)) from error
        metadata = rows.schema.metadata or {}
        if metadata.get(_FORMAT_KEY) != _FORMAT:
            raise ValueError(f"format {metadata.get(_FORMAT_KEY)!r} instead of {_FORMAT!r}")
        schema = SCHEMAS[partition.series.kind]
        if not rows.schema.equals(schema, check_metadata=False):
            raise ValueError(f"columns {rows.schema.names} are not those of {partition.series.kind}")
        facts = metadata.get(_COVERAGE_KEY, b"")
        if checksum(rows, facts).encode() != metadata.get(_CHECKSUM_KEY):
            raise ValueError("the checksum does not match rows and coverage")
        coverage = Coverage.from_json(orjson.loads(facts))
        return StoredPartition(partition, rows.replace_schema_metadata(None), coverage, version)
