"""The Arrow schema of each kind of history: its columns, their order and their units."""

import pyarrow as pa

from cb_trade_client.service_errors import UnsupportedKindError

OHLCV = pa.schema(
    [
        ("timestamp", pa.timestamp("ms", tz="UTC")),  # the bar's open time
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),  # in the base currency
    ]
)

_SCHEMAS = {"ohlcv": OHLCV}


def schema_of(kind: str) -> pa.Schema:
    """Return the schema of *kind*.

    Raises:
        UnsupportedKindError: This SDK cannot decode that kind.
    """
    if kind not in _SCHEMAS:
        known = ", ".join(_SCHEMAS)
        raise UnsupportedKindError(f"this SDK cannot decode {kind!r}; it knows {known}")
    return _SCHEMAS[kind]
