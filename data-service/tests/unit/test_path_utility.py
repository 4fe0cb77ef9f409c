from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import TIMEFRAMES, instants, quick, series, utc

from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.models.series import SYMBOL_MAX_BYTES, Kind, Series
from cb_trade_data.storage.path_utility import StoragePathUtility

PATHS = StoragePathUtility("parquet")

printable = st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"])
symbols = st.one_of(
    st.text(printable | st.just(" "), min_size=1, max_size=30),
    st.text(st.sampled_from("./\\%:=~-_ aB1"), min_size=1, max_size=12),
).filter(lambda symbol: symbol.isprintable() and len(symbol.encode()) <= SYMBOL_MAX_BYTES)
exchanges = st.from_regex(r"[a-z0-9_]{1,32}", fullmatch=True)
all_series = st.builds(
    lambda exchange, symbol, timeframe: Series(exchange, symbol, Kind.OHLCV, timeframe),
    exchanges,
    symbols,
    st.sampled_from(TIMEFRAMES),
)
partitions = st.builds(partition_at, all_series, instants)


@pytest.mark.parametrize(
    ("of", "path"),
    [
        (
            series("BTC/USDT:USDT"),
            "ohlcv/exchange=binance/symbol=BTC%2FUSDT%3AUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        ),
        (
            series(timeframe="1h"),
            "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1h/year=2024/month=0/part.parquet",
        ),
        (
            series(timeframe="1d", exchange="okx"),
            "ohlcv/exchange=okx/symbol=BTC%2FUSDT/timeframe=1d/year=0/month=0/part.parquet",
        ),
        (
            series(timeframe="3M"),
            "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=3mo/year=0/month=0/part.parquet",
        ),
    ],
)
def test_a_partition_lies_under_keys_that_any_engine_reads(of, path):
    assert PATHS.part_path(partition_at(of, utc("2024-02-29"))) == path


def test_the_facts_of_a_series_lie_beside_its_partitions():
    """Named with an underscore, as files that are no data are."""
    assert PATHS.facts_path(series()) == "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/_series.json"


def test_the_layout_gives_the_ending():
    path = StoragePathUtility("arrow").part_path(partition_at(series(), utc("2024-02-29")))

    assert path.endswith("/part.arrow")


def test_kinds_without_bars_have_the_same_keys():
    trades = Series("binance", "BTC/USDT", Kind.TRADES, None)

    assert PATHS.series_folder(trades) == "trades/exchange=binance/symbol=BTC%2FUSDT/timeframe=none"


@quick(200)
@given(partitions)
def test_a_partition_is_found_again_from_its_path(partition):
    assert PATHS.partition_of(partition.series, PATHS.part_path(partition)) == partition


@quick(200)
@given(all_series)
def test_a_symbol_is_found_again_from_every_path_of_its_series(of):
    partition = partition_at(of, utc("2024-02-29"))

    assert PATHS.symbol_of(PATHS.part_path(partition)) == of.symbol
    assert PATHS.symbol_of(PATHS.facts_path(of)) == of.symbol


@quick(200)
@given(all_series)
def test_nothing_leads_out_of_the_root(of):
    for path in (PATHS.part_path(partition_at(of, utc("2024-02-29"))), PATHS.facts_path(of)):
        parts = path.split("/")
        assert not PurePosixPath(path).is_absolute()
        assert all(part not in {"", ".", ".."} for part in parts)
        assert "\\" not in path
        assert not any(part.startswith(".") for part in parts)


@quick(200)
@given(all_series)
def test_every_symbol_is_one_folder_of_the_tree(of):
    assert len(PATHS.series_folder(of).split("/")) == 4
    assert PATHS.series_folder(of).split("/")[:2] == ["ohlcv", f"exchange={of.exchange}"]


@quick(100)
@given(partitions, st.lists(partitions, max_size=5))
def test_distinct_partitions_lie_at_distinct_places(one, others):
    different = {one, *others}

    assert len({PATHS.part_path(partition) for partition in different}) == len(different)
    assert PATHS.facts_path(one.series) not in {PATHS.part_path(partition) for partition in different}


def test_the_timeframes_of_a_symbol_stay_apart_on_a_disk_that_does_not_tell_case():
    folders = {PATHS.series_folder(series(timeframe=str(timeframe))).lower() for timeframe in TIMEFRAMES}

    assert len(folders) == len(TIMEFRAMES)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/_series.json",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.arrow",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/xpart.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=2/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=02024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=٢٠٢٤/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=x/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=-1/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/2024/02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1mo/year=2024/month=02/part.parquet",
        "ohlcv/exchange=okx/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "trades/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "old/ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=13/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=0/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=0/month=0/part.parquet",
    ],
)
def test_any_other_file_is_no_partition_of_the_series(path):
    """The last three would be partitions if a minute series had such ones."""
    assert PATHS.partition_of(series(), path) is None


@pytest.mark.parametrize("path", ["", "_check", "ohlcv/exchange=binance", "a/b/c", "xsymbol=BTC/part.parquet"])
def test_a_path_without_a_symbol_has_none(path):
    assert PATHS.symbol_of(path) is None


def test_a_partition_is_no_partition_of_another_series():
    path = PATHS.part_path(Partition(series("ETH/USDT"), 2024, 2))

    assert PATHS.partition_of(series("ETH/USDT"), path) == Partition(series("ETH/USDT"), 2024, 2)
    assert PATHS.partition_of(series(), path) is None
