"""An exchange that does as it is told, and a connector for it that counts virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from unit_builders import minute, minute_bars, minutes, series, utc
from virtual_time import now_secs

from cb_trade_data.errors import ExchangeNonsenseError, ExchangeUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.facts import ExchangeFacts, Pace
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

SECOND = timedelta(seconds=1)
FACTS = ExchangeFacts(
    "binance", ("1m", "1h"), 1000, jumps_to_first=True, concurrent_calls=3, pace=Pace(100, SECOND, 100), markets_cost=10
)
SLOW = replace(FACTS, pace=Pace(1, SECOND), concurrent_calls=1)
SERIES = series()
WINDOW = minutes(0, 10)
NOON = utc("2024-02-29T12:00")
DOWN = ExchangeUnavailableError("binance", "503")


class ScriptedClient(IExchangeAPIClient):
    """Fails as often as it is told to, holds calls while it is told to, and counts."""

    def __init__(self, facts: ExchangeFacts = FACTS) -> None:
        self.facts = facts
        self.failures_left = 0
        self.failure: Exception = DOWN
        self.nonsense: set[str] = set()  # the symbols of markets whose answers are nothing else
        self.rows = minute_bars(range(10))
        self.hold: asyncio.Event | None = None
        self.lasts_secs = 0.0
        self.times: list[float] = []
        self.windows: list[TimeRange] = []
        self.under_way = 0
        self.most_at_once = 0
        self.closed = 0
        self.has_markets = True
        self.are_markets_old = False

    @property
    def calls(self) -> int:
        return len(self.times)

    async def _call(self) -> None:
        self.times.append(now_secs())
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(self.lasts_secs)
            if self.hold is not None:
                await self.hold.wait()
            if self.failures_left:
                self.failures_left -= 1
                raise self.failure
        finally:
            self.under_way -= 1

    def markets_due(self, name: str, *, anew: bool) -> str | None:
        return None if self.has_markets and not (anew and self.are_markets_old) else "all"

    async def load_markets(self, part: str) -> None:
        await self._call()
        self.has_markets = True
        self.are_markets_old = False

    async def market(self, symbol: str) -> Market:
        if symbol == "FOO/BAR":
            raise UnknownSymbolError("binance", symbol)
        return Market(symbol.replace("/", ""))

    async def symbol_of(self, market_id: str) -> str | None:
        return "BTC/USDT" if market_id == "BTCUSDT" else None

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        self.windows.append(window)
        await self._call()
        if series.symbol in self.nonsense:
            raise ExchangeNonsenseError(self.facts.id, "no candles")
        return Page(self.rows)

    async def fetch_first_open(self, series: Series) -> datetime | None:
        await self._call()
        return minute(0)

    async def fetch_time(self) -> datetime | None:
        await self._call()
        return NOON + timedelta(seconds=10)

    async def close(self) -> None:
        self.closed += 1


def source_of(*clients: ScriptedClient) -> DataSourceConnectorImpl:
    registry = PluginRegistry()
    for each in clients:
        registry.register(each.facts, lambda each=each: each)
    return DataSourceConnectorImpl(registry, local_now=lambda: NOON, stopwatch=Stopwatch(now_secs))


def statuses(source: DataSourceConnectorImpl) -> dict[str, str]:
    return {name: condition.status for name, condition in source.conditions().items()}


async def settled() -> None:
    """Let every task run as far as it can without time passing."""
    for _ in range(40):
        await asyncio.sleep(0)


async def page(
    source: DataSourceConnectorImpl,
    exchange: str = "binance",
    urgency: Callable[[], int] = int,
    symbol: str = SERIES.symbol,
) -> Page:
    """Fetch one page."""
    fetched = await source.fetch_page(series(exchange=exchange, symbol=symbol), lambda: WINDOW, urgency)
    assert fetched is not None
    return fetched


async def failed(call) -> ExchangeUnavailableError:
    with pytest.raises(ExchangeUnavailableError) as caught:
        await call
    return caught.value
