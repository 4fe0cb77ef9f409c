"""Where a trap is tried: the plugin in the service's own hands, an empty storage, and its exchange over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from cb_trade_conformance.answer import Answer, rows_of, truth_of
from cb_trade_conformance.trap import Caught
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.plugin import ExchangeAccess
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.historical.current_fetcher import CurrentDataFetcher
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.manager import HistoricalDataManagerImpl
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_simulator import ExchangeSimulator, ManualClock

if TYPE_CHECKING:
    from cb_trade_conformance.subject import Subject
    from cb_trade_data.historical.interfaces import IHistoricalDataManager
    from cb_trade_data.models.time_range import TimeRange

#: A minute of patience with an exchange takes 0.06 s.
HURRIED: Final = 1000.0
CANDLES: Final = "klines"


@dataclass(frozen=True)
class Stand:
    """One simulated exchange, and what asks it.

    Attributes:
        simulator: The exchange. Its clock stands still.
        source: The service's connector, which knows no other exchange.
        manager: What answers questions, with nothing stored yet.
    """

    subject: Subject
    simulator: ExchangeSimulator
    source: DataSourceConnectorImpl
    manager: IHistoricalDataManager

    def series(self, symbol: str, timeframe: str | None = "1m", kind: Kind = Kind.OHLCV) -> Series:
        """Return a series of this exchange."""
        return self.manager.series(self.subject.facts.id, symbol, kind, timeframe)

    async def ask(self, series: Series, part: TimeRange, *, refresh: bool = False) -> Answer:
        """Return everything that is delivered of *part*, beside what is true of it."""
        answer = await self.manager.open(series, part, refresh=refresh)
        rows = []
        async with aclosing(answer.stretches()) as stretches:
            async for stretch in stretches:
                rows += rows_of(stretch.rows)
        tells_mark_prices = series.kind is Kind.FUNDING_RATE and any(row[-1] is not None for row in rows)
        truth = truth_of(self.simulator, series, part, tells_mark_prices=tells_mark_prices)
        return Answer(rows, truth, answer.receipt, key_columns=2 if series.kind is Kind.TRADES else 1)

    def calls(self, endpoint: str = CANDLES) -> int:
        """Return how often the exchange was asked."""
        return self.simulator.calls.by_endpoint[endpoint]

    def must_have_cost(self, fewest: int, most: int | None = None, endpoint: str = CANDLES) -> None:
        """Raise `Caught` unless the exchange was asked so often; exactly *fewest* times if there is no *most*."""
        calls = self.calls(endpoint)
        if not fewest <= calls <= (fewest if most is None else most):
            wanted = f"{fewest}" if most is None else f"{fewest} to {most}"
            raise Caught(f"{calls} calls of {endpoint}, where {wanted} would do")


@asynccontextmanager
async def stand(
    subject: Subject, now: datetime, *, we_are_ahead: timedelta = timedelta(0), speed: float = HURRIED
) -> AsyncIterator[Stand]:
    """Build one, with a storage that ends with it.

    Args:
        subject: Whom it is about.
        now: The exchange's present.
        we_are_ahead: How far our own clock is ahead of that.
        speed: How many times faster than in earnest paces, pauses and the waits between tries pass.
    """
    clock, facts = ManualClock(now), subject.facts

    def our_now() -> datetime:
        return clock.now() + we_are_ahead

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cb-trade-conformance-")))
        simulator = await stack.enter_async_context(ExchangeSimulator(subject.venue, subject.seed, clock).serve())
        registry = PluginRegistry()
        access = ExchangeAccess(base_url=simulator.base_url)
        registry.register(facts, partial(subject.plugin.make_client, facts, access))
        storage = StorageManagerImpl(LocalFileStorage(folder, ParquetLayout()))
        stack.push_async_callback(storage.close)
        source = DataSourceConnectorImpl(registry, our_now, Stopwatch(speed=speed))
        stack.push_async_callback(source.close)
        register = SeriesRegister(storage, source)
        fetcher = HistoricalFetcher(storage, source, register)
        stack.push_async_callback(fetcher.close)
        current = CurrentDataFetcher(storage, source, register)
        manager = HistoricalDataManagerImpl(storage, source, register, fetcher, current, our_now)
        yield Stand(subject, simulator, source, manager)
