"""Which decoder reads which wire format."""

from collections.abc import Callable

import pyarrow as pa

from cb_trade_client.decoders import ChunkDecoder
from cb_trade_client.decoders.arrow_stream import ArrowStreamDecoder
from cb_trade_client.decoders.json_columns import JsonColumnsDecoder
from cb_trade_client.decoders.json_rows import JsonRowsDecoder

_DECODERS: dict[str, Callable[[pa.Schema], ChunkDecoder]] = {
    "arrow": ArrowStreamDecoder,
    "json_columns": JsonColumnsDecoder,
    "json": JsonRowsDecoder,
}


def decoder_of(wire_format: str, schema: pa.Schema) -> ChunkDecoder:
    """Return a decoder for one answer in *wire_format*, one of `requests.FORMATS`."""
    return _DECODERS[wire_format](schema)
