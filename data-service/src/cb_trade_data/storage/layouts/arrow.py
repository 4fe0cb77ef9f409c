"""The `arrow` layout: one Arrow IPC file per partition, whose record batches are what goes on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pyarrow as pa

from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.entries import RowsInside
from cb_trade_data.storage.layouts.metadata import ObjectMetadata, sliced
from cb_trade_data.storage.path_utility import HivePaths
from cb_trade_data.storage.stored_partition import StoredPartition

# 393 kB a batch: under the 1 MiB that every message on the wire keeps to.
_BATCH_ROWS: Final = 8_192


class ArrowLayout(RowsInside):
    """Uncompressed and aligned: read by mapping the file, without decoding or copying a byte."""

    suffix = "arrow"
    paths = HivePaths(suffix)
    is_zero_copy = True

    def encode(self, stored: StoredPartition, entry_paths: Sequence[str] = ()) -> pa.Buffer:  # noqa: ARG002
        """See `Layout.encode`."""
        metadata = ObjectMetadata.of(stored, sliced(stored.rows, _BATCH_ROWS))
        schema = stored.rows.schema.with_metadata(metadata.to_key_values())
        batches = [
            batch.combine_chunks().to_batches()[0].replace_schema_metadata(schema.metadata)
            for batch in sliced(stored.rows, _BATCH_ROWS)
        ]
        size = pa.MockOutputStream()
        _write(batches, schema, size)
        # Of the right size at once: a buffer that grows is copied each time.
        data = pa.allocate_buffer(size.size())
        _write(batches, schema, pa.FixedSizeBufferWriter(data))
        return data

    def metadata(self, stored: StoredObject) -> ObjectMetadata:
        """See `Layout.metadata`."""
        try:
            return ObjectMetadata.from_key_values(pa.ipc.open_file(stored.data).schema.metadata, stored.path)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(str(error)) from error

    def decode(
        self,
        partition: Partition,
        stored: StoredObject,
        entries: Mapping[str, bytes],  # noqa: ARG002 - the object is all there is
        wanted: TimeRange | None,
        verified: Verified,
    ) -> StoredPartition:
        """See `Layout.decode`."""
        schema = SCHEMAS[partition.series.kind]
        try:
            file = pa.ipc.open_file(stored.data)
            metadata = ObjectMetadata.from_key_values(file.schema.metadata, stored.path)
            if not file.schema.equals(schema, check_metadata=False):
                raise ValueError(f"columns {file.schema.names} are not those of {partition.series.kind}")
            if file.num_record_batches != len(metadata.batches):
                raise ValueError("the record batches are not those that the metadata lists")
            numbers = metadata.overlapping(wanted)
            rows = pa.Table.from_batches([file.get_batch(number) for number in numbers], file.schema)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(str(error)) from error
        rows = rows.replace_schema_metadata(None)
        metadata.verify(rows, numbers, stored.path, stored.version, verified)
        return StoredPartition(partition, rows, metadata.coverage, stored.version, metadata.digests)


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: pa.NativeFile) -> None:
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
