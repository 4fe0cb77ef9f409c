"""A plugin as it is written in an afternoon: a loop over CCXT's `fetch_ohlcv` that trusts every answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import ccxt.async_support as ccxt
import pyarrow as pa

from cb_trade_data.errors import ExchangeUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.exchange_source.plugin import ExchangeAccess, ExchangePlugin
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA
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
        times, *columns = zip(*rows, strict=True) if rows else [()] * 6
        numbers = [[float("nan") if number is None else number for number in column] for column in columns]
        return Page(pa.table([pa.array(times, OHLCV_SCHEMA.field(0).type), *numbers], schema=OHLCV_SCHEMA))

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
    """Return it for an exchange of which the timeframes are known, and nothing else was looked up."""
    return ExchangePlugin(
        replace(ExchangeFacts(facts.id, facts.timeframes, LOOPS * LIMIT), jumps_to_first=True), NaiveClient
    )


def _rebased(addresses: Any, base_url: str | None) -> Any:
    if isinstance(addresses, dict):
        return {name: _rebased(address, base_url) for name, address in addresses.items()}
    return str(addresses).replace("https://", f"{base_url}/")
