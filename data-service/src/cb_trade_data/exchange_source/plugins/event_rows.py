"""Trades and funding rates out of an exchange's answer, as CCXT's class reads each of them.

Imports CCXT, which takes half a second: to be imported by those who need CCXT anyway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import ccxt
import pyarrow as pa

from cb_trade_data.exchange_source.plugins.kept_answers import kept_answers, parts_of, with_answers_kept
from cb_trade_data.models.market import FUNDING_RATE_SCHEMA, TIMESTAMP, TRADES_SCHEMA


def with_event_rows(judging: type[Any]) -> type[Any]:
    """Return CCXT's class of an exchange with trades and funding rates as rows, in the order in which they came.

    They are neither sorted nor filtered nor cut, so that the validation sees what the exchange really said.
    """

    class WithEventRows(judging):  # type: ignore[misc]
        async def fetch_trades(self, symbol: str, *args: Any, **kwargs: Any) -> Any:
            fetching, read = super().fetch_trades(symbol, *args, **kwargs), partial(_read_trade, self.market(symbol))
            return await with_answers_kept(self._rows(fetching, read, TRADES_SCHEMA))

        async def fetch_funding_rate_history(self, *args: Any, **kwargs: Any) -> Any:
            fetching = super().fetch_funding_rate_history(*args, **kwargs)
            return await with_answers_kept(self._rows(fetching, _read_funding_rate, FUNDING_RATE_SCHEMA))

        async def _rows(
            self, fetching: Awaitable[Any], read: Callable[[Any], list[Any]], schema: pa.Schema
        ) -> pa.Table:
            events = await fetching
            # Where an answer lacks its list, CCXT takes an empty one of its own.
            if not events and not _has_empty_list(kept_answers()):
                raise ccxt.BadResponse(f"{self.id} answered without its list")
            try:
                return _event_rows(events, read, schema)
            except (ValueError, OverflowError) as error:
                raise ccxt.BadResponse(f"{self.id} sent a row that cannot be read: {error}") from error

        def parse_trades(self, trades: Any, market: Any = None, *_: Any, **__: Any) -> list[Any]:
            if not isinstance(trades, list) or not all(isinstance(each, dict | list) for each in trades):
                raise ccxt.BadResponse(f"{self.id} answered with something that is not trades")
            return [self.parse_trade(each, market) for each in trades]

        def safe_trade(self, trade: dict[str, Any], market: Any = None) -> dict[str, Any]:  # noqa: ARG002
            # What CCXT adds, costs and fees, takes most of the time and goes nowhere.
            return trade

        def filter_by_symbol_since_limit(self, array: Any, *_: Any, **__: Any) -> Any:
            return array

    return WithEventRows


def _has_empty_list(answers: list[Any]) -> bool:
    """Tell whether one of *answers* has a list with nothing in it, of which an empty list of errors is none."""
    objects = [part for answer in answers for part in parts_of(answer) if isinstance(part, dict)]
    named = [pair for part in objects for pair in part.items()]
    return [] in answers or any(value == [] for name, value in named if name != "error")


def _event_rows(events: Any, read: Callable[[Any], list[Any]], schema: pa.Schema) -> pa.Table:
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


def _read_trade(market: Mapping[str, Any], trade: Mapping[str, Any]) -> list[Any]:
    """Return the cells of a trade as CCXT parsed it, with its amount in the base currency.

    A missing number is NaN, a missing text is empty.
    """
    price, amount = _decimal(trade, "price"), _decimal(trade, "amount")
    size = market.get("contractSize") if market.get("contract") else None
    # Contracts: so much of the base currency each, or so much of the quote currency.
    if size is not None and (size != 1 or market.get("inverse")):
        amount *= Decimal(str(size))
        amount = amount / price if market.get("inverse") and price else amount
    return [
        trade.get("timestamp"),
        str(trade.get("id") or ""),
        trade.get("side") or "",
        float(price),
        float(amount),
    ]


def _read_funding_rate(rate: Mapping[str, Any]) -> list[Any]:
    """Return the cells of a funding rate as CCXT parsed it.

    CCXT leaves out the mark price that Binance tells:
    https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Get-Funding-Rate-History
    """
    came = rate.get("info")
    mark_price = came.get("markPrice") if isinstance(came, dict) else None
    return [
        rate.get("timestamp"),
        float(_decimal(rate, "fundingRate")),
        float(mark_price) if mark_price else None,
    ]


def _decimal(values: Mapping[str, Any], name: str) -> Decimal:
    value = values.get(name)
    try:
        return Decimal("NaN" if value is None else str(value))
    except ArithmeticError as error:
        raise ValueError(f"{name} {value!r} is no number") from error
