"""Clients of CCXT's own classes, each in front of a simulator of its exchange, and the truth to compare with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Market, Page
from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient
from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_simulator import ExchangeSimulator, ManualClock

NOW = datetime(2024, 5, 1, 12, 34, 30, tzinfo=UTC)
FACTS = {facts.id: facts for facts in EXCHANGES}
PERPETUALS = {"binance": "SOL/USDT:USDT", "bybit": "SOL/USDT:USDT", "cryptocom": "SOL/USD:USD", "okx": "SOL/USDT:USDT"}


class ReadyClient(CCXTExchangeClient):
    """A client whose markets are loaded when they are due, before each call: what the connector sees to elsewhere."""

    async def market(self, symbol: str) -> Market:
        await self._load_what_is_due(symbol)
        return await super().market(symbol)

    async def symbol_of(self, market_id: str) -> str | None:
        await self._load_what_is_due(market_id)
        return await super().symbol_of(market_id)

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        await self._load_what_is_due(series.symbol)
        return await super().fetch_ohlcv(series, window)

    async def fetch_first_open(self, series: Series) -> datetime | None:
        await self._load_what_is_due(series.symbol)
        return await super().fetch_first_open(series)

    async def _load_what_is_due(self, name: str) -> None:
        if (part := self.markets_due(name, anew=False)) is not None:
            await self.load_markets(part)


@dataclass
class Venue:
    """An exchange under test."""

    client: ReadyClient
    simulator: ExchangeSimulator
    clock: ManualClock

    def series(self, symbol: str, timeframe: str) -> Series:
        return Series(self.client.facts.id, symbol, Kind.OHLCV, Timeframe.parse(timeframe))

    def truth(self, symbol: str, timeframe: str, window: TimeRange) -> list[Any]:
        return self.simulator.candles(symbol, timeframe, window.start, window.end).tolist()

    async def rows(self, symbol: str, timeframe: str, window: TimeRange) -> list[Any]:
        """Return the rows of *window*, in order, fetched in pages that are as long as the facts allow."""
        series, rows = self.series(symbol, timeframe), []
        start = window.start
        while start < window.end:
            end = min(series.grid.advance(start, self.client.facts.page_limit_bars), window.end)
            rows += rows_inside(await self.client.fetch_ohlcv(series, TimeRange(start, end)), TimeRange(start, end))
            start = end
        return rows


@asynccontextmanager
async def running_venue(
    facts: ExchangeFacts, now: datetime = NOW, timeout: timedelta = timedelta(minutes=1), **options: Any
) -> AsyncIterator[Venue]:
    """Run a simulator of the exchange that stands still at *now*, and a client for it, patient with a busy machine."""
    clock = ManualClock(now)
    async with ExchangeSimulator(facts.id, seed=1, clock=clock).serve() as simulator:
        client = ReadyClient(facts, base_url=simulator.base_url, timeout=timeout, **options)
        try:
            yield Venue(client, simulator, clock)
        finally:
            await client.close()


def rows_inside(page: Page, window: TimeRange) -> list[Any]:
    """Return those rows of a page that open in *window*, in order, in the form in which the truth is told."""
    columns = [column.to_numpy() for column in page.rows.columns]
    rows = zip(columns[0].view(np.int64).tolist(), *(column.tolist() for column in columns[1:]), strict=True)
    return sorted(row for row in rows if to_ms(window.start) <= row[0] < to_ms(window.end))
