from __future__ import annotations

import pytest
from unit_builders import series

from cb_trade_data.models.series import SYMBOL_MAX_BYTES, Kind, Series
from cb_trade_data.models.timeframe import EVERY_MS, Timeframe

MINUTE = Timeframe.parse("1m")


@pytest.mark.parametrize("exchange", ["binance", "gate", "okx", "coinbase_exchange", "bit2c", "a", "x" * 32])
def test_an_exchange_id_is_lower_case_letters_digits_and_underscores(exchange):
    assert series(exchange=exchange).exchange == exchange


@pytest.mark.parametrize(
    "exchange", ["", "Binance", "../binance", "bin ance", "binance\n", "binancé", "bin/ance", "x" * 33]
)
def test_what_is_no_exchange_id_is_refused(exchange):
    with pytest.raises(ValueError, match="not an exchange id"):
        series(exchange=exchange)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT", "1000PEPE/USDT", "币安人生/USDT", "..", "x" * 64])
def test_a_symbol_may_be_any_printable_text(symbol):
    assert series(symbol).symbol == symbol


@pytest.mark.parametrize("symbol", ["", "x" * (SYMBOL_MAX_BYTES + 1), "BTC\n", "BTC\x00", "\ud800", "\u202e"])
def test_a_symbol_that_is_empty_too_long_or_unprintable_is_refused(symbol):
    with pytest.raises(ValueError, match="printable characters"):
        series(symbol)


def test_bars_need_a_timeframe():
    with pytest.raises(ValueError, match="do not go together"):
        Series("binance", "BTC/USDT", Kind.OHLCV, None)


@pytest.mark.parametrize("kind", [Kind.TRADES, Kind.FUNDING_RATE, Kind.ORDER_BOOK])
def test_kinds_without_bars_have_no_timeframe_and_rows_at_any_millisecond(kind):
    with pytest.raises(ValueError, match="do not go together"):
        Series("binance", "BTC/USDT", kind, MINUTE)
    assert Series("binance", "BTC/USDT", kind, None).grid is EVERY_MS


def test_the_grid_of_bars_is_their_timeframe():
    assert series(timeframe="1w").grid == Timeframe.parse("1w")


def test_a_series_is_written_with_the_parts_it_has():
    assert str(series("BTC/USDT:USDT", "1h")) == "binance BTC/USDT:USDT ohlcv 1h"
    assert str(Series("binance", "BTC/USDT", Kind.TRADES, None)) == "binance BTC/USDT trades"


def test_series_that_differ_in_any_part_are_different_keys():
    some = [
        series(),
        series(timeframe="1M"),
        series("BTC/USDT:USDT"),
        series(exchange="okx"),
        Series("binance", "BTC/USDT", Kind.TRADES, None),
    ]

    assert len({*some, *some}) == len(some)


# --- Derived ---------------------------------------------------------------------------------------------------------


def derived(timeframe: str, source: str) -> Series:
    return Series("coinbase", "BTC/USDT", Kind.OHLCV, Timeframe.parse(timeframe), Timeframe.parse(source))


def test_a_derived_series_is_another_one_than_the_exchanges_own_of_that_length():
    own = Series("coinbase", "BTC/USDT", Kind.OHLCV, Timeframe.parse("4h"))

    assert derived("4h", "2h") != own
    assert str(derived("4h", "2h")) == "coinbase BTC/USDT ohlcv 4h from 2h"
    assert derived("4h", "2h").source == Series("coinbase", "BTC/USDT", Kind.OHLCV, Timeframe.parse("2h"))
    assert own.source is own


@pytest.mark.parametrize(
    ("timeframe", "source"), [("4h", "4h"), ("4h", "3h"), ("1h", "4h"), ("1M", "1w"), ("1w", "3d")]
)
def test_bars_that_others_are_not_made_of_are_no_source(timeframe, source):
    with pytest.raises(ValueError, match="are not made of"):
        derived(timeframe, source)
