"""The microkernel: a registry of exchange plugins, and the connector that runs them politely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import structlog

from cb_trade_data.errors import ExchangeNonsenseError, ExchangeUnavailableError, UnknownExchangeError
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
from cb_trade_data.exchange_source.once import Once
from cb_trade_data.exchange_source.page_shape import well_shaped
from cb_trade_data.exchange_source.patient_caller import PatientCaller
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.models.instants import to_ms, utc_now
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

_log = structlog.get_logger(__name__)

_MINUTE: Final = timedelta(minutes=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
# Rows of one time travel in one message, which stays under 1 MiB.
_ROWS_PER_TIME_MAX: Final = 5_000

_FETCHES: Final[Mapping[Kind, Callable[[IExchangeAPIClient, Series, TimeRange], Awaitable[Page]]]] = MappingProxyType(
    {
        Kind.OHLCV: lambda client, series, window: client.fetch_ohlcv(series, window),
        Kind.TRADES: lambda client, series, window: client.fetch_trades(series, window),
        Kind.FUNDING_RATE: lambda client, series, window: client.fetch_funding_rates(series, window),
    }
)


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
    """An exchange in use: its one client in this process, the way to it, its clock, and the loads of its markets."""

    client: IExchangeAPIClient
    caller: PatientCaller
    clock: ExchangeClock
    # By the part of its markets. Not left to CCXT: there, a cancelled caller cancels the load others wait for.
    loads: dict[str, Once[None]] = field(default_factory=dict)


class DataSourceConnectorImpl(IDataSourceConnector):
    """Makes one client per exchange, and every call through that exchange's budget and breaker."""

    def __init__(
        self,
        registry: PluginRegistry,
        local_now: Callable[[], datetime] = utc_now,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        """
        Args:
            registry: The exchanges there are.
            local_now: Our own clock.
            stopwatch: What paces, pauses and the waits between tries are counted by; None for real seconds.
        """
        self._registry = registry
        self._local_now = local_now
        self._stopwatch = stopwatch or Stopwatch()
        self._running: dict[str, _Running] = {}

    @property
    def exchanges(self) -> Sequence[str]:
        """See `IDataSourceConnector.exchanges`."""
        return self._registry.names

    def facts(self, exchange: str) -> ExchangeFacts:
        """See `IDataSourceConnector.facts`."""
        return self._registry.facts(exchange)

    async def market(self, series: Series) -> Market:
        """See `IDataSourceConnector.market`."""
        return await (await self._with_markets(series.exchange, series.symbol, anew=True)).client.market(series.symbol)

    async def known_market(self, series: Series) -> Market | None:
        """See `IDataSourceConnector.known_market`."""
        running = self._running.get(series.exchange)
        if running is None or running.client.markets_due(series.symbol, anew=False) is not None:
            return None
        return await running.client.market(series.symbol)

    def leaves_alone(self, series: Series) -> bool:
        """See `IDataSourceConnector.leaves_alone`."""
        running = self._running.get(series.exchange)
        return running is not None and running.caller.leaves_alone(series.symbol)

    async def symbol_of(self, exchange: str, market_id: str) -> str | None:
        """See `IDataSourceConnector.symbol_of`."""
        return await (await self._with_markets(exchange, market_id, anew=True)).client.symbol_of(market_id)

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
        running = await self._with_markets(series.exchange, series.symbol)

        window: TimeRange | None = None

        def fetch() -> Awaitable[Page] | None:
            nonlocal window
            window = next_window()
            return None if window is None else fetch_window(window)

        async def fetch_window(window: TimeRange) -> Page:
            return well_shaped(await _FETCHES[series.kind](running.client, series, window), series)

        call = partial(
            running.caller.call, urgency=urgency, about=series.symbol, cost=running.client.facts.page_cost(series)
        )
        page, calls = await call(fetch)
        if page is None or window is None:
            return None
        page = replace(page, calls=calls)
        return page if page.goes_on_at is None else await _with_rest(page, running.client, series, window, call)

    async def fetch_first_open(self, series: Series) -> datetime | None:
        """See `IDataSourceConnector.fetch_first_open`."""
        running = await self._with_markets(series.exchange, series.symbol)
        bars = _bars_of(series, running.client.facts)
        if running.client.facts.jumps_to_first:
            found, _ = await running.caller.call(lambda: running.client.fetch_first_open(bars), about=series.symbol)
            return found
        return await first_open(self._fetch, running.client.facts, bars, await self.now(series.exchange))

    async def fetch_last_open(self, series: Series) -> datetime | None:
        """See `IDataSourceConnector.fetch_last_open`."""
        bars = _bars_of(series, self.facts(series.exchange))
        found = await last_open(self._fetch, self.facts(series.exchange), bars, await self.now(series.exchange))
        if found is None or bars is series:
            return found
        return bars.grid.bar(found).end - _MILLISECOND

    def conditions(self) -> dict[str, ExchangeCondition]:
        """See `IDataSourceConnector.conditions`."""
        return {name: self._condition(name) for name in self._registry.names}

    async def close(self) -> None:
        """See `IDataSourceConnector.close`."""
        while self._running:
            _, running = self._running.popitem()
            running.caller.close()
            await running.clock.close()
            for load in running.loads.values():
                await load.cancel()
            await running.client.close()

    async def _fetch(self, series: Series, window: TimeRange) -> Page:
        """Return a page that an answer waits for: before all those that are only part of one."""
        page = await self.fetch_page(series, lambda: window, int)
        assert page is not None  # noqa: S101 - there was a window
        return page

    def _condition(self, exchange: str) -> ExchangeCondition:
        running = self._running.get(exchange)
        if running is not None:
            return running.caller.condition
        rate = self.facts(exchange).pace.calls_per_sec
        return ExchangeCondition(calls_per_sec=rate, full_calls_per_sec=rate)

    async def _with_markets(self, exchange: str, name: str, *, anew: bool = False) -> _Running:
        """Return the exchange with the markets loaded among which *name* is, once for all who need them."""
        running = self._run(exchange)
        client = running.client
        if (part := client.markets_due(name, anew=anew)) is not None:

            async def load() -> None:
                await running.caller.call(lambda: client.load_markets(part), cost=client.facts.markets_cost)

            try:
                await running.loads.setdefault(part, Once(load, keep=False)).get()
            except ExchangeUnavailableError as error:
                if client.markets_due(name, anew=False) is None:
                    # What was loaded long ago is better than no answer; the next who asks tries again.
                    _log.warning("exchange.markets_not_refreshed", exchange=exchange, reason=error.reason)
                    return running
                # Each who waited has an error of its own; the calls were made for none of them alone.
                own = type(error)(exchange, error.reason, error.retry_after)
                own.tries = 0
                raise own from error
        return running

    def _run(self, exchange: str) -> _Running:
        running = self._running.get(exchange)
        if running is None:
            client = self._registry.make_client(exchange)
            caller = PatientCaller(client.facts, self._stopwatch)

            async def fetch_time() -> datetime | None:
                # Not worth waiting for: there is our own clock, and another try a minute later.
                if caller.is_at_rest:
                    raise ExchangeUnavailableError(exchange, caller.condition.status)
                told, _ = await caller.call(client.fetch_time, tries=1)
                return told

            running = _Running(client, caller, ExchangeClock(exchange, fetch_time, self._local_now))
            self._running[exchange] = running
        return running


async def _go_on(client: IExchangeAPIClient, series: Series, window: TimeRange, from_id: str) -> Page:
    return well_shaped(await client.fetch_trades(series, window, from_id), series)


async def _with_rest(
    page: Page,
    client: IExchangeAPIClient,
    series: Series,
    window: TimeRange,
    call: Callable[[Callable[[], Awaitable[Page]]], Awaitable[tuple[Page | None, int]]],
) -> Page:
    """Return *page* with the rest of the millisecond that it is full of, for each answer of which a turn is taken."""
    pieces, calls, rows = [page], page.calls, page.rows.num_rows
    while (from_id := pieces[-1].goes_on_at) is not None:
        if rows >= _ROWS_PER_TIME_MAX or pieces[-1].rows.num_rows == 0:  # which would go on for ever
            error = ExchangeNonsenseError(series.exchange, f"{rows} trades of a millisecond, and it goes on")
            error.tries = calls
            raise error
        try:
            piece, more_calls = await call(partial(_go_on, client, series, window, from_id))
        except ExchangeUnavailableError as error:
            error.tries += calls
            raise
        assert piece is not None  # noqa: S101 - there was something to ask
        pieces.append(piece)
        calls, rows = calls + more_calls, rows + piece.rows.num_rows
    # A number may be missing in some of them, says their schema: the gate looks whether it is.
    found = pa.concat_tables([each.rows for each in pieces], promote_options="default")
    # By id it goes on beyond the window, all of which came then.
    is_beyond = int(timestamps_ms(found).max()) >= to_ms(window.end)
    return Page(found, calls, is_cut=pieces[-1].is_cut and not is_beyond)


def _bars_of(series: Series, facts: ExchangeFacts) -> Series:
    """Return *series* where it has bars, else the shortest bars of its market, from minutes on."""
    if series.kind is Kind.OHLCV:
        return series
    timeframes = map(Timeframe.parse, facts.timeframes)
    return replace(series, kind=Kind.OHLCV, timeframe=next(each for each in timeframes if each.duration >= _MINUTE))
