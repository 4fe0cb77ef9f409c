"""Format `json_columns`: an object with one list per column."""

import pyarrow as pa

from cb_trade_client.decoders.columns import batch_of
from cb_trade_client.errors import ProtocolError
from cb_trade_client.fields import Message, read_object


class JsonColumnsDecoder:
    """Decodes `"data": {"timestamp": [1704067200000, …], "open": [42283.58, …], …}`."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def decode(self, chunk: Message, binary: memoryview | None) -> pa.RecordBatch:  # noqa: ARG002 - JSON has none
        """See `ChunkDecoder.decode`."""
        columns = read_object(chunk, "data")
        for name in self.schema.names:
            if not isinstance(columns.get(name), list):
                raise ProtocolError(f"the chunk lacks the column {name!r}", details={"field": name})
        return batch_of(columns, self.schema)
