"""A plugin as it is written in an afternoon: loops over CCXT's methods that trust every answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import ccxt.async_support as ccxt
import pyarrow as pa

from cb_trade_data.errors import ExchangeUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.facts import Bounds, EventPaging, ExchangeFacts
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.exchange_source.plugin import ExchangeAccess, ExchangePlugin
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import FUNDING_RATE_SCHEMA, OHLCV_SCHEMA, TRADES_SCHEMA
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

LIMIT = 1000
LOOPS = 3  # pages that one call of ours is


class NaiveClient(IExchangeAPIClient):
    """Asks from `since` on and adds `limit` bars to it, whatever came."""

    def __init__(self, facts: ExchangeFacts, access: ExchangeAccess) -> None:
        self.facts = facts
        self._exchange = getattr(ccxt, facts.id)()
        self._exchange.urls["api"] = _rebased(self._exchange.urls["api"], access.base_url)

    async def market(self, symbol: str) -> Market:
        await self._exchange.load_markets()
        try:
            return Market(self._exchange.market(symbol)["id"])
        except ccxt.BadSymbol as error:
            raise UnknownSymbolError(self.facts.id, symbol) from error

    async def symbol_of(self, market_id: str) -> str | None:
        await self._exchange.load_markets()
        return self._exchange.safe_symbol(market_id)

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        timeframe = str(series.timeframe)
        since, rows = to_ms(window.start), []
        while since < to_ms(window.end):
            rows += await self._asked(self._exchange.fetch_ohlcv(series.symbol, timeframe, since=since, limit=LIMIT))
            since += LIMIT * self._exchange.parse_timeframe(timeframe) * 1000
        return _page(rows, OHLCV_SCHEMA)

    async def fetch_trades(self, series: Series, window: TimeRange, from_id: str | None = None) -> Page:
        trades = await self._all(self._exchange.fetch_trades, series, window)
        rows = [[row["timestamp"], row["id"], row["side"], row["price"], row["amount"]] for row in trades]
        return _page(rows, TRADES_SCHEMA, is_cut=False)

    async def fetch_funding_rates(self, series: Series, window: TimeRange) -> Page:
        rates = await self._all(self._exchange.fetch_funding_rate_history, series, window)
        rows = [[row["timestamp"], row["fundingRate"], None] for row in rates]
        return _page(rows, FUNDING_RATE_SCHEMA, is_cut=False)

    async def _all(self, fetch: Any, series: Series, window: TimeRange) -> list[Any]:
        """Return what there is from the window's start on, page after page, until one is short or reaches its end."""
        since, rows = to_ms(window.start), []
        while since < to_ms(window.end):
            page = await self._asked(fetch(series.symbol, since=since, limit=LIMIT))
            rows += page
            if len(page) < LIMIT:
                break
            since = page[-1]["timestamp"] + 1
        return rows

    async def fetch_first_open(self, series: Series) -> datetime | None:
        rows = await self._asked(self._exchange.fetch_ohlcv(series.symbol, str(series.timeframe), since=0, limit=1))
        return from_ms(rows[0][0]) if rows else None

    async def fetch_time(self) -> datetime | None:
        return from_ms(await self._asked(self._exchange.fetch_time()))

    async def close(self) -> None:
        await self._exchange.close()

    async def _asked(self, answer: Any) -> Any:
        try:
            return await answer
        except ccxt.BaseError as error:
            raise ExchangeUnavailableError(self.facts.id, str(error)) from error


def naive_plugin(facts: ExchangeFacts) -> ExchangePlugin:
    """Return it for an exchange of which timeframes and kinds are known, and nothing else was looked up."""
    events = EventPaging(LIMIT, Bounds(None, None))
    return ExchangePlugin(
        replace(
            ExchangeFacts(facts.id, facts.timeframes, LOOPS * LIMIT),
            jumps_to_first=True,
            spot_events=dict.fromkeys(facts.spot_events, events),
            perpetual_events=dict.fromkeys(facts.perpetual_events, events),
        ),
        NaiveClient,
    )


def _page(rows: list[list[Any]], schema: pa.Schema, is_cut: bool | None = None) -> Page:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        pa.array([float("nan") if cell is None and not field.nullable else cell for cell in column], field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return Page(pa.table(arrays, schema=schema), is_cut=is_cut)


def _rebased(addresses: Any, base_url: str | None) -> Any:
    if isinstance(addresses, dict):
        return {name: _rebased(address, base_url) for name, address in addresses.items()}
    return str(addresses).replace("https://", f"{base_url}/")
