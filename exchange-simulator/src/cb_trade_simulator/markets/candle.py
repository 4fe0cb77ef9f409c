"""Rows of candles, exact: whole ticks and whole steps, so that sums and comparisons never round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cb_trade_simulator.markets.market import Market

Rows = npt.NDArray[np.void]
"""A structured array: of `CANDLE`, `FLOAT_CANDLE`, `TRADE`, `FUNDING` … rows."""

CANDLE = np.dtype(
    [
        ("timestamp", np.int64),  # open time, milliseconds since 1970 UTC
        ("open", np.int64),  # prices: ticks
        ("high", np.int64),
        ("low", np.int64),
        ("close", np.int64),
        ("volume", np.int64),  # amounts: steps of the base currency
        ("quote_volume", np.int64),  # ticks × steps
        ("trades", np.int64),
        ("taker_buy_volume", np.int64),
        ("taker_buy_quote_volume", np.int64),
    ]
)

FLOAT_CANDLE = np.dtype(
    [
        ("timestamp", np.int64),
        ("open", np.float64),
        ("high", np.float64),
        ("low", np.float64),
        ("close", np.float64),
        ("volume", np.float64),
    ]
)

NO_CANDLES: Rows = np.empty(0, CANDLE)


def candle(**fields: Any) -> Rows:
    """Return one `CANDLE` row (an array of length one); fields not named are zero."""
    row = np.zeros(1, CANDLE)
    for name, value in fields.items():
        row[name] = value
    return row


def to_floats(rows: Rows, market: Market) -> Rows:
    """Return `FLOAT_CANDLE` rows holding exactly what `float()` makes of the decimals on the wire.

    A whole number divided by a power of ten rounds once, to the nearest float, just as parsing the decimals does.
    """
    floats = np.empty(len(rows), FLOAT_CANDLE)
    floats["timestamp"] = rows["timestamp"]
    for price in ("open", "high", "low", "close"):
        floats[price] = rows[price] / 10.0**market.price_decimals
    floats["volume"] = rows["volume"] / 10.0**market.amount_decimals
    return floats
