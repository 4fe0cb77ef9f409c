"""The historical side on a real storage and an exchange in memory, with a clock that stands still."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from answers import tables
from fake_exchange import SYMBOL, FakeExchange

from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.historical.current_fetcher import CurrentDataFetcher
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.manager import HistoricalDataManagerImpl
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl

SERIES = Series("fake", SYMBOL, Kind.OHLCV, Timeframe.parse("1m"))


class HistoryRig:
    """Attributes:
    now: The present of everybody; may be changed.
    """

    def __init__(self, root: Path, now: datetime) -> None:
        self.now = now
        self.storage = StorageManagerImpl(LocalFileStorage(root, ParquetLayout()))
        self.exchange: FakeExchange

    def connect(self, exchange: FakeExchange, source: IDataSourceConnector | None = None) -> HistoryRig:
        """Put an exchange, or a connector of the test's own, behind it; a new process as far as can be seen."""
        self.exchange = exchange
        registry = PluginRegistry()
        registry.register(exchange.facts, lambda: exchange)
        self.source = source or DataSourceConnectorImpl(registry, self.present)
        self.register = SeriesRegister(self.storage, self.source)
        self.fetcher = HistoricalFetcher(self.storage, self.source, self.register)
        current = CurrentDataFetcher(self.storage, self.source, self.register)
        self.manager = HistoricalDataManagerImpl(
            self.storage, self.source, self.register, self.fetcher, current, self.present
        )
        return self

    def present(self) -> datetime:
        return self.now

    async def answer(
        self, wanted: TimeRange, *, refresh: bool = False, series: Series = SERIES
    ) -> tuple[pa.Table, Receipt]:
        """Return all rows of a range, and the receipt."""
        answer = await self.manager.open(series, wanted, refresh=refresh)
        parts = [OHLCV_SCHEMA.empty_table()]
        async with aclosing(tables(answer)) as batches:
            parts += [rows async for rows in batches]
        return pa.concat_tables(parts), answer.receipt
