"""The `arrow` layout: one Arrow IPC file per partition, whose record batches are what goes on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final
from weakref import WeakKeyDictionary

import pyarrow as pa

from cb_trade_data.models.frame import Frame, frame_rows
from cb_trade_data.models.market import SCHEMAS, sliced
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.entries import RowsInside
from cb_trade_data.storage.layouts.metadata import ObjectMetadata
from cb_trade_data.storage.path_utility import HivePaths
from cb_trade_data.storage.stored_partition import StoredPartition

_MAGIC_BYTES: Final = 8  # with their padding


@dataclass(frozen=True)
class _Inside:
    """What a file says about itself, and the messages of its record batches as they lie in it."""

    metadata: ObjectMetadata
    messages: list[pa.Buffer]


class ArrowLayout(RowsInside):
    """Uncompressed and aligned: read by mapping the file, without decoding or copying a byte."""

    suffix = "arrow"
    paths = HivePaths(suffix)
    is_zero_copy = True

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[StoredObject, _Inside] = WeakKeyDictionary()

    def encode(self, stored: StoredPartition, entry_paths: Sequence[str] = ()) -> pa.Buffer:  # noqa: ARG002
        """See `Layout.encode`."""
        parts = list(sliced(stored.rows, frame_rows(stored.rows.schema)))
        metadata = ObjectMetadata.of(stored, parts)
        schema = stored.rows.schema.with_metadata(metadata.to_key_values())
        batches = [part.combine_chunks().to_batches()[0].replace_schema_metadata(schema.metadata) for part in parts]
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
            found = self._look_into(partition, stored)
            metadata, numbers = found.metadata, found.metadata.overlapping(wanted)
            messages = found.messages[numbers.start : numbers.stop]
            batches = [pa.ipc.read_record_batch(message, schema) for message in messages]
            for batch in batches:
                # What the values are, the checksum proves; not that texts lie within the batch, nor how many numbers it
                # says are missing or where lists end: for that, all of them are looked at.
                batch.validate(full=any(field.nullable or pa.types.is_list(field.type) for field in schema))
        except (pa.ArrowException, OSError, EOFError) as error:
            raise ValueError(str(error)) from error
        rows = pa.Table.from_batches(batches, schema)
        ends = accumulate(batch.num_rows for batch in batches)
        frames = tuple(
            Frame(end - batch.num_rows, batch.num_rows, message)
            for end, batch, message in zip(ends, batches, messages, strict=True)
        )
        metadata.verify(rows, numbers, stored.path, stored.version, verified)
        return StoredPartition(
            partition,
            rows,
            metadata.coverage,
            stored.version,
            metadata.digests,
            frames,
            metadata.evidence,
            metadata.evidence_is_damaged,
        )

    def _look_into(self, partition: Partition, stored: StoredObject) -> _Inside:
        """Return what there is in the file: looked into once while the place keeps the object."""
        if (known := self._known.get(stored)) is not None:
            return known
        file = pa.ipc.open_file(stored.data)
        metadata = ObjectMetadata.from_key_values(file.schema.metadata, stored.path)
        if not file.schema.equals(SCHEMAS[partition.series.kind], check_metadata=False):
            raise ValueError(f"columns {file.schema.names} are not those of {partition.series.kind}")
        if file.num_record_batches != len(metadata.batches):
            raise ValueError("the record batches are not those that the metadata lists")
        # The checksums are compared with what these bytes say, and these bytes are what is sent: not what the file's
        # own index makes of them.
        found = self._known[stored] = _Inside(metadata, list(_messages(stored.data, file.num_record_batches)))
        return found


def _messages(data: pa.Buffer, count: int) -> Iterator[pa.Buffer]:
    """Yield the messages of the record batches of a file, as they lie in it."""
    reader = pa.BufferReader(data)
    reader.seek(_MAGIC_BYTES)
    pa.ipc.read_message(reader)  # the schema comes first
    for _ in range(count):
        start = reader.tell()
        pa.ipc.read_message(reader)
        yield data.slice(start, reader.tell() - start)


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: pa.NativeFile) -> None:
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
