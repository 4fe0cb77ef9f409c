"""Format `arrow`: the binary messages of an answer, one after the other, are one Arrow IPC stream."""

import numpy as np
import pyarrow as pa

from cb_trade_client.errors import ProtocolError
from cb_trade_client.fields import Message

_ASCII_END = 128


class ArrowStreamDecoder:
    """Decodes the part of the stream that belongs to a chunk, without copying it; the first one begins with the schema.

    https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._knows_schema = False
        self._has_lengths = any(pa.types.is_string(each) or pa.types.is_list(each) for each in schema.types)

    def decode(self, chunk: Message, binary: memoryview | None) -> pa.RecordBatch:
        """See `ChunkDecoder.decode`."""
        if binary is None:
            raise ProtocolError(f"chunk {chunk.get('sequence')} came without its bytes")
        try:
            return self._batch(pa.BufferReader(pa.py_buffer(binary)), len(binary))
        except (pa.ArrowException, OSError, EOFError) as error:
            raise ProtocolError(f"chunk {chunk.get('sequence')} holds no Arrow rows: {error}") from error

    def _batch(self, reader: pa.BufferReader, size_bytes: int) -> pa.RecordBatch:
        if not self._knows_schema:
            self._check_schema(pa.ipc.read_schema(reader))
        batches = []
        while reader.tell() < size_bytes:
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(reader), self.schema)
            batch.validate()
            if self._has_lengths:
                for column in batch.columns:
                    _check(column)
            batches.append(batch)
        return batches[0] if len(batches) == 1 else pa.concat_batches(batches) if batches else self._nothing()

    def _check_schema(self, schema: pa.Schema) -> None:
        # Whether a column may hold nulls is left to the service.
        if (schema.names, schema.types) != (self.schema.names, self.schema.types):
            raise ProtocolError(
                f"the service sent columns {schema.names} of types {schema.types}, which are not those asked for"
            )
        self._knows_schema = True

    def _nothing(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([], schema=self.schema)


def _check(column: pa.Array) -> None:
    """Raise unless each text lies within the bytes of all and is UTF-8, and each list within the values of all."""
    if not (pa.types.is_string(column.type) and _is_plain(column)):
        column.validate(full=True)


def _is_plain(texts: pa.StringArray) -> bool:
    """Tell whether all *texts* are ASCII and one behind the other: as usual, and found out several times as fast."""
    _, offsets, data = texts.buffers()
    if offsets is None or data is None or len(texts) == 0:
        return False
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    values = np.frombuffer(data, np.uint8)
    is_within = bool(places[0] >= 0 and places[-1] <= len(values) and np.all(places[1:] >= places[:-1]))
    return is_within and bool(values[places[0] : places[-1]].max(initial=0) < _ASCII_END)
