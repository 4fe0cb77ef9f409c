"""Columns of candles as most venues write them, for `json_rows`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cb_trade_simulator.json_rows import Decimals

if TYPE_CHECKING:
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market


def milliseconds(rows: Rows) -> Decimals:
    """Return the open times in milliseconds since 1970."""
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
