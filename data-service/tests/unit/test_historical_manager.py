from __future__ import annotations

import pytest

from cb_trade_data.api.incoming import check_message
from cb_trade_data.errors import RequestError, UnknownExchangeError, UnknownTimeframeError, UnsupportedKindError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.historical.current_fetcher import CurrentDataFetcher
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.manager import HistoricalDataManagerImpl
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl


def no_client():
    raise AssertionError("naming a series touches no network")


@pytest.fixture
def manager(tmp_path) -> HistoricalDataManagerImpl:
    registry = PluginRegistry()
    registry.register(ExchangeFacts("binance", ("1m", "1M"), 1000), no_client)
    source = DataSourceConnectorImpl(registry)
    storage = StorageManagerImpl(LocalFileStorage(tmp_path, ParquetLayout()))
    register = SeriesRegister(storage, source)
    return HistoricalDataManagerImpl(
        storage,
        source,
        register,
        HistoricalFetcher(storage, source, register),
        CurrentDataFetcher(storage, source, register),
    )


def test_a_series_is_named_without_asking_anybody(manager):
    assert manager.series("binance", "FOO/BAR", "ohlcv", "1M") == Series(
        "binance", "FOO/BAR", Kind.OHLCV, Timeframe.parse("1M")
    )


@pytest.mark.parametrize("exchange", ["binnance", "Binance", "", "../binance"])
def test_an_exchange_nobody_registered_is_unknown(manager, exchange):
    with pytest.raises(UnknownExchangeError):
        manager.series(exchange, "BTC/USDT", "ohlcv", "1m")


@pytest.mark.parametrize("timeframe", ["5m", "1w", "60s", "m", "1min"])
def test_a_timeframe_the_exchange_does_not_have_is_unknown(manager, timeframe):
    with pytest.raises(UnknownTimeframeError):
        manager.series("binance", "BTC/USDT", "ohlcv", timeframe)


@pytest.mark.parametrize(
    ("timeframe", "told"),
    [("5m", "stored are '1m' ones, of which they are made"), ("60s", "bars of that length are called '1m'")],
)
def test_who_asks_what_is_stored_is_told_what_to_ask_for_instead(manager, timeframe, told):
    with pytest.raises(UnknownTimeframeError, match=told):
        manager.series("binance", "BTC/USDT", "ohlcv", timeframe)


def test_a_kind_that_is_misspelt_as_a_timeframe_is_told_with_the_kinds_there_are(manager):
    with pytest.raises(UnknownTimeframeError, match=r"no 'trade' bars; it has .*; without bars: .*order_book"):
        manager.series("binance", "BTC/USDT", "ohlcv", "trade")


@pytest.mark.parametrize("kind", ["trades", "funding_rate"])
def test_a_kind_that_cannot_be_had_is_unsupported(manager, kind):
    with pytest.raises(UnsupportedKindError):
        manager.series("binance", "BTC/USDT", kind, None)


@pytest.mark.parametrize("symbol", ["BTC\n", "\x00", "BTC\u202e/USDT", "\u200b"])
def test_a_symbol_that_cannot_be_is_a_bad_request_not_a_defect_of_ours(manager, symbol):
    """Wherever on the way it is noticed."""
    fields = {
        "type": "request_current_timestamp",
        "exchange": "binance",
        "symbol": symbol,
        "timeframe": "1m",
    }

    with pytest.raises(RequestError):
        _ = manager.series("binance", check_message(fields).symbol, "ohlcv", "1m")
