"""Columns of candles and trades as most venues write them, for `json_rows`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.json_rows import Decimals
from cb_trade_simulator.markets.trades import nanoseconds

if TYPE_CHECKING:
    import numpy.typing as npt

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market


def milliseconds(rows: Rows) -> Decimals:
    """Return the times in milliseconds since 1970: of candles, when they open."""
    return Decimals(rows["timestamp"])


def seconds(rows: Rows) -> Decimals:
    """Return the open times in seconds since 1970."""
    return Decimals(rows["timestamp"] // 1000)


def price(rows: Rows, name: str, market: Market) -> Decimals:
    """Return one of the prices, with as many places as the market's tick has."""
    return Decimals(rows[name], market.price_decimals, places=market.price_decimals)


def amount(rows: Rows, market: Market) -> Decimals:
    """Return the volumes in the base currency, with eight places."""
    return Decimals(rows["volume"], market.amount_decimals, places=8)


def worth(rows: Rows, market: Market) -> Decimals:
    """Return the volumes in the quote currency, with eight places."""
    return Decimals(rows["quote_volume"], market.price_decimals + market.amount_decimals, places=8)


def size(trades: Rows, market: Market) -> Decimals:
    """Return the amounts of trades in the base currency, with as many places as the market's step has."""
    return Decimals(trades["amount"], market.amount_decimals, places=market.amount_decimals)


def taker_side(trades: Rows, buy: bytes = b"buy", sell: bytes = b"sell") -> npt.NDArray[np.bytes_]:
    """Return what those did who met an order that was there already."""
    return np.where(trades["buyer_is_maker"], sell, buy)


def iso_time(trades: Rows) -> npt.NDArray[np.bytes_]:
    """Return when trades happened, to the microsecond and without a zone: `2023-01-11T00:52:37.557001`."""
    at = (nanoseconds(trades) // 1000).astype("datetime64[us]")
    return np.datetime_as_string(at, unit="us").astype("S26")
