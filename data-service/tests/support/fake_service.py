"""The main job over an exchange in memory and a real folder, without a socket in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from fake_exchange import FakeExchange
from service_harness import HURRIED, at

from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.historical.current_fetcher import CurrentDataFetcher
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.manager import HistoricalDataManagerImpl
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.implementations.renewed_lock import LEASE_SECS
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl

# Two partitions meet an hour after the first minute.
BORDER = at("2024-02-01")
FIRST = BORDER - timedelta(minutes=60)


def minute(number: int) -> datetime:
    """Return the open time of the minute of that number."""
    return FIRST + timedelta(minutes=number)


@asynccontextmanager
async def service_over(
    exchange: FakeExchange, root: Path, lease_secs: float = LEASE_SECS
) -> AsyncIterator[HistoricalDataManagerImpl]:
    """Run the main job over *exchange*, registered as `fake`, and the folder *root*."""
    registry = PluginRegistry()
    registry.register(exchange.facts, lambda: exchange)
    storage = StorageManagerImpl(LocalFileStorage(root, ParquetLayout(), lease_secs))
    source = DataSourceConnectorImpl(registry, stopwatch=HURRIED)
    register = SeriesRegister(storage, source)
    fetcher = HistoricalFetcher(storage, source, register)
    yield HistoricalDataManagerImpl(storage, source, register, fetcher, CurrentDataFetcher(storage, source, register))
    await fetcher.close()
    await source.close()
