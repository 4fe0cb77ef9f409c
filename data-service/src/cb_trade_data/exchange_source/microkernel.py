"""The microkernel: a registry of exchange plugins, and the connector that runs them politely."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeVar

import stamina

from cb_trade_data.errors import ExchangeUnavailableError, UnknownExchangeError
from cb_trade_data.exchange_source.clock import ExchangeClock
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import (
    ExchangeCondition,
    IDataSourceConnector,
    IExchangeAPIClient,
    Market,
    Page,
)
from cb_trade_data.exchange_source.lifetime import first_open, last_open
from cb_trade_data.models.instants import utc_now
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

# Waits of 4, 8, 16 and 32 s and jitter: five tries over at least a minute before something counts as failed.
_TRIES: Final = 5
_FIRST_WAIT_SECS: Final = 4.0
_LONGEST_WAIT_SECS: Final = 32.0

T = TypeVar("T")


class PluginRegistry:
    """The exchanges there are, by name. A client is made only when somebody first asks for its exchange."""

    def __init__(self) -> None:
        self._plugins: dict[str, tuple[ExchangeFacts, Callable[[], IExchangeAPIClient]]] = {}

    def register(
        self, facts: ExchangeFacts, make_client: Callable[[], IExchangeAPIClient], *, override: bool = False
    ) -> None:
        """Add an exchange under `facts.id`.

        Raises:
            ValueError: The name is taken and *override* was not asked for.
        """
        if facts.id in self._plugins and not override:
            raise ValueError(f"an exchange called {facts.id!r} is registered already; pass override=True to replace it")
        self._plugins[facts.id] = (facts, make_client)

    @property
    def names(self) -> list[str]:
        """The registered exchanges, sorted."""
        return sorted(self._plugins)

    def facts(self, exchange: str) -> ExchangeFacts:
        """Return the facts of an exchange.

        Raises:
            UnknownExchangeError: It is not registered.
        """
        return self._plugin(exchange)[0]

    def make_client(self, exchange: str) -> IExchangeAPIClient:
        """Return a new client; raises as `facts` does."""
        return self._plugin(exchange)[1]()

    def _plugin(self, exchange: str) -> tuple[ExchangeFacts, Callable[[], IExchangeAPIClient]]:
        try:
            return self._plugins[exchange]
        except KeyError:
            raise UnknownExchangeError(exchange, self.names) from None


@dataclass
class _Running:
    """An exchange in use: its one client in this process, its clock, its places for concurrent calls."""

    client: IExchangeAPIClient
    clock: ExchangeClock
    places: asyncio.Semaphore
    problem: str | None = field(default=None)


class DataSourceConnectorImpl(IDataSourceConnector):
    """Makes one client per exchange, bounds its concurrent calls and tries again what may succeed later."""

    def __init__(self, registry: PluginRegistry, local_now: Callable[[], datetime] = utc_now) -> None:
        self._registry = registry
        self._local_now = local_now
        self._running: dict[str, _Running] = {}

    def facts(self, exchange: str) -> ExchangeFacts:
        """See `IDataSourceConnector.facts`."""
        return self._registry.facts(exchange)

    async def market(self, series: Series) -> Market:
        """See `IDataSourceConnector.market`."""
        running = self._run(series.exchange)
        market, _ = await self._tried(running, lambda: running.client.market(series.symbol))
        return market

    async def symbol_of(self, exchange: str, market_id: str) -> str | None:
        """See `IDataSourceConnector.symbol_of`."""
        running = self._run(exchange)
        symbol, _ = await self._tried(running, lambda: running.client.symbol_of(market_id))
        return symbol

    def known_now(self, exchange: str) -> datetime | None:
        """See `IDataSourceConnector.known_now`."""
        running = self._running.get(exchange)
        return None if running is None else running.clock.known_now()

    async def now(self, exchange: str) -> datetime:
        """See `IDataSourceConnector.now`."""
        return await self._run(exchange).clock.now()

    async def fetch_page(
        self, series: Series, next_window: Callable[[], TimeRange | None], urgency: Callable[[], int]
    ) -> Page | None:
        """See `IDataSourceConnector.fetch_page`."""
        del urgency  # every page has its place at once
        window = next_window()
        return None if window is None else await self._fetch(series, window)

    async def fetch_first_open(self, series: Series) -> datetime | None:
        """See `IDataSourceConnector.fetch_first_open`."""
        running = self._run(series.exchange)
        if running.client.facts.jumps_to_first:
            found, _ = await self._tried(running, lambda: running.client.fetch_first_open(series))
            return found
        return await first_open(self._fetch, running.client.facts, series, await self.now(series.exchange))

    async def fetch_last_open(self, series: Series) -> datetime | None:
        """See `IDataSourceConnector.fetch_last_open`."""
        return await last_open(self._fetch, self.facts(series.exchange), series, await self.now(series.exchange))

    async def _fetch(self, series: Series, window: TimeRange) -> Page:
        running = self._run(series.exchange)
        page, calls = await self._tried(running, lambda: running.client.fetch_ohlcv(series, window))
        return replace(page, calls=calls)

    def conditions(self) -> dict[str, ExchangeCondition]:
        """See `IDataSourceConnector.conditions`."""
        return {
            name: ExchangeCondition((self._running[name].problem or "ok") if name in self._running else "unused")
            for name in self._registry.names
        }

    async def close(self) -> None:
        """See `IDataSourceConnector.close`."""
        while self._running:
            _, running = self._running.popitem()
            await running.client.close()

    def _run(self, exchange: str) -> _Running:
        running = self._running.get(exchange)
        if running is None:
            client = self._registry.make_client(exchange)
            clock = ExchangeClock(exchange, client.fetch_time, self._local_now)
            running = _Running(client, clock, asyncio.Semaphore(client.facts.concurrent_calls))
            self._running[exchange] = running
        return running

    async def _tried(self, running: _Running, call: Callable[[], Awaitable[T]]) -> tuple[T, int]:
        """Return what *call* returns and how many tries it took.

        An exchange whose last call failed after all its tries gets one try per call until one succeeds: otherwise every
        page of a long range would wait a minute for an exchange that is down.
        """
        tries = 0
        attempts = _TRIES if running.problem is None else 1
        try:
            async for attempt in stamina.retry_context(
                on=ExchangeUnavailableError,
                attempts=attempts,
                timeout=None,
                wait_initial=_FIRST_WAIT_SECS,
                wait_max=_LONGEST_WAIT_SECS,
            ):
                with attempt:
                    # The place is held during the call only, never while waiting for the next try.
                    async with running.places:
                        tries += 1
                        result = await call()
        except ExchangeUnavailableError as error:
            running.problem = error.reason
            error.tries = tries
            raise
        running.problem = None
        return result, tries
