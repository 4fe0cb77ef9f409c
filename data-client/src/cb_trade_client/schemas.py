"""The Arrow schema of each kind of history: its columns, their order and their units."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from cb_trade_client import kinds
from cb_trade_client.service_errors import UnsupportedKindError
from cb_trade_client.synthetic_rows import SYNTHETIC

_TIMESTAMP: Final = pa.timestamp("ms", tz="UTC")


def _present(name: str, column_type: pa.DataType) -> pa.Field:
    """Return a column without nulls."""
    return pa.field(name, column_type, nullable=False)


def _levels(name: str) -> pa.Field:
    level = pa.list_(_present("item", pa.float64()), 2)  # price, amount
    return _present(name, pa.list_(_present("item", level)))


OHLCV: Final = pa.schema(
    [
        ("timestamp", _TIMESTAMP),  # the bar's open time
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),  # in the base currency
    ]
)
#: A row for each trade, or for each aggregate of several where that is what the exchange keeps.
TRADES: Final = pa.schema(
    [
        _present("timestamp", _TIMESTAMP),
        _present("id", pa.string()),  # the exchange's own
        _present("side", pa.string()),  # the taker's: buy or sell
        _present("price", pa.float64()),
        _present("amount", pa.float64()),  # in the base currency
    ]
)
FUNDING_RATE: Final = pa.schema(
    [
        _present("timestamp", _TIMESTAMP),  # when it was paid
        _present("rate", pa.float64()),  # for that interval, not for a year
        pa.field("mark_price", pa.float64()),  # null where the exchange does not tell it with the rate
    ]
)
ORDER_BOOK: Final = pa.schema(
    [_present("timestamp", _TIMESTAMP), _levels("bids"), _levels("asks"), _present("nonce", pa.int64())]
)

_SCHEMAS: Final[Mapping[str, pa.Schema]] = MappingProxyType(
    {
        kinds.OHLCV: OHLCV,
        kinds.TRADES: TRADES,
        kinds.FUNDING_RATE: FUNDING_RATE,
        kinds.ORDER_BOOK: ORDER_BOOK,
    }
)


def schema_of(kind: str, *, is_filled: bool = False) -> pa.Schema:
    """Return the schema of *kind*; where it *is_filled*, with a column more that tells which rows are synthetic.

    Raises:
        UnsupportedKindError: This SDK cannot decode that kind.
    """
    if kind not in _SCHEMAS:
        known = ", ".join(_SCHEMAS)
        raise UnsupportedKindError(f"this SDK cannot decode {kind!r}; it knows {known}")
    schema = _SCHEMAS[kind]
    return schema.append(_present(SYNTHETIC, pa.bool_())) if is_filled else schema
