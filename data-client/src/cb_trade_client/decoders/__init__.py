"""How the rows of a chunk become an Arrow batch: one file per wire format."""

from typing import Protocol

import pyarrow as pa

from cb_trade_client.fields import Message


class ChunkDecoder(Protocol):
    """Turns the chunks of one request into batches of one schema, in the order in which they come."""

    schema: pa.Schema
    """The schema of every batch it makes."""

    def decode(self, chunk: Message, binary: memoryview | None) -> pa.RecordBatch:
        """Return the rows of a chunk.

        Args:
            chunk: A `historical_data_chunk` message.
            binary: The binary message that followed it, if one did. The batch may share its memory.

        Raises:
            ProtocolError: They do not fit the schema or the format.
        """
