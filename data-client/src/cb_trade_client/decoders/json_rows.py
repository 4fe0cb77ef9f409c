"""Format `json`: a list with one object per row."""

import pyarrow as pa

from cb_trade_client.decoders.columns import batch_of
from cb_trade_client.errors import ProtocolError
from cb_trade_client.fields import Message, read_objects


class JsonRowsDecoder:
    """Decodes `"data": [{"timestamp": 1704067200000, "open": 42283.58, …}, …]`."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def decode(self, chunk: Message, binary: memoryview | None) -> pa.RecordBatch:  # noqa: ARG002 - JSON has none
        """See `ChunkDecoder.decode`."""
        rows = read_objects(chunk, "data")
        try:
            values = {name: [row[name] for row in rows] for name in self.schema.names}
        except KeyError as error:
            raise ProtocolError(f"a row lacks the field {error.args[0]!r}", details={"field": error.args[0]}) from error
        return batch_of(values, self.schema)
