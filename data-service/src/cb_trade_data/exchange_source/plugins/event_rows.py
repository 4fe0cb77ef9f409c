"""Trades and funding rates out of an exchange's answer, as CCXT's class reads each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from cb_trade_data.models.market import TIMESTAMP


def event_rows(events: Any, read: Callable[[Any], list[Any]], schema: pa.Schema) -> pa.Table:
    """Return the rows that *read* makes of each of *events*, in the order in which they came.

    Raises:
        ValueError, OverflowError: There is no list of objects, or a row without a time, or one that no column can hold.
    """
    if not isinstance(events, list) or not all(isinstance(each, dict | list) for each in events):
        raise ValueError("no list of rows")
    rows = [read(each) for each in events]
    if not all(isinstance(row[0], int) for row in rows):
        raise ValueError("a row without a time")
    times, *columns = zip(*rows, strict=True) if rows else ([],) * len(schema)
    try:
        arrays = [pa.array(times, pa.int64()).cast(TIMESTAMP)]
        arrays += [pa.array(values, field.type) for values, field in zip(columns, list(schema)[1:], strict=True)]
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    return pa.Table.from_arrays(arrays, schema=schema)


def read_trade(trade: Mapping[str, Any]) -> list[Any]:
    """Return the cells of a trade as CCXT parsed it; a missing number is NaN, a missing text is empty."""
    side = trade.get("side") or ""
    return [trade.get("timestamp"), str(trade.get("id") or ""), side, _number(trade, "price"), _number(trade, "amount")]


def read_funding_rate(rate: Mapping[str, Any], came: Any) -> list[Any]:
    """Return the cells of a funding rate as CCXT parsed it; *came* is what it was made of.

    CCXT leaves out the mark price that Binance tells:
    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Get-Funding-Rate-History
    """
    mark_price = came.get("markPrice") if isinstance(came, dict) else None
    return [rate.get("timestamp"), _number(rate, "fundingRate"), float(mark_price) if mark_price else None]


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    return math.nan if value is None else float(value)
