"""How the rows of a chunk become an Arrow batch: one file per wire format."""

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa


class ChunkDecoder(Protocol):
    """Turns the chunks of one request into batches of one schema."""

    format: str
    """The name of the format in requests."""

    schema: pa.Schema
    """The schema of every batch it makes."""

    def decode(self, chunk: Mapping[str, Any]) -> pa.RecordBatch:
        """Return the rows of *chunk*, a `historical_data_chunk` message; ProtocolError when they do not fit."""
