from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_builders import TIMEFRAMES, epoch_ms, instants, quick, series, utc

from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import SYMBOL_MAX_BYTES, Kind, Series
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.path_utility import EntryPaths, HivePaths

HIVE, ENTRIES = HivePaths("parquet"), EntryPaths()

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


both = pytest.mark.parametrize("paths", [HIVE, ENTRIES], ids=["hive", "entries"])

both_with_dots = pytest.mark.parametrize("paths", [pytest.param(HIVE, id="hive"), pytest.param(ENTRIES, id="entries")])


def examples(test):
    """Try the symbols that mean something to a file system, whatever else is tried."""
    for symbol in (".", "..", "../..", "BTC/USDT:USDT", "币安人生/USDT", "_series.json", "%2E%2E"):
        test = example(of=series(symbol))(test)
    return test


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
    assert HIVE.part_path(partition_at(of, utc("2024-02-29"))) == path


def test_the_facts_of_a_series_lie_beside_its_partitions():
    """Named with an underscore, as files that are no data are."""
    assert HIVE.facts_path(series()) == "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/_series.json"


def test_the_layout_gives_the_ending():
    path = HivePaths("arrow").part_path(partition_at(series(), utc("2024-02-29")))

    assert path.endswith("/part.arrow")


def test_kinds_without_bars_have_the_same_keys():
    trades = Series("binance", "BTC/USDT", Kind.TRADES, None)

    assert HIVE.series_folder(trades) == "trades/exchange=binance/symbol=BTC%2FUSDT/timeframe=none"


@pytest.mark.parametrize(
    ("of", "path"),
    [
        (series("BTC/USDT:USDT"), "raw_data/binance/BTC%2FUSDT%3AUSDT/ohlcv-1m/2024/02/_coverage.json"),
        (series(timeframe="1h"), "raw_data/binance/BTC%2FUSDT/ohlcv-1h/2024/_coverage.json"),
        (series(timeframe="1d", exchange="okx"), "raw_data/okx/BTC%2FUSDT/ohlcv-1d/_coverage.json"),
        (series(timeframe="3M"), "raw_data/binance/BTC%2FUSDT/ohlcv-3mo/_coverage.json"),
    ],
)
def test_the_commit_of_a_partition_of_entries_lies_in_its_folder(of, path):
    assert ENTRIES.part_path(partition_at(of, utc("2024-02-29"))) == path


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
def test_an_entry_lies_in_the_folder_of_its_day(timeframe):
    folder = ENTRIES.entry_folder(series(timeframe=timeframe), 1_709_164_740_000)

    assert folder == f"raw_data/binance/BTC%2FUSDT/ohlcv-{timeframe}/2024/02/28"
    assert ENTRIES.entry_path(folder, "1709164740000") == f"{folder}/1709164740000.json"


def test_later_documents_of_a_row_keep_its_key_and_get_a_nonce():
    """Keys of kinds with several rows at one time will hold more than a time."""
    for key in ("1709164740000", "1709164740000-4711"):
        first = ENTRIES.entry_path("folder", key)
        later = ENTRIES.renamed_entry(first, "0af3")

        assert later == f"folder/{key}.0af3.json"
        assert ENTRIES.renamed_entry(later, "99") == f"folder/{key}.99.json"
        assert {ENTRIES.entry_key(first), ENTRIES.entry_key(later)} == {key}
        assert ENTRIES.entry_path("folder", ENTRIES.entry_name(later)) == later


def test_the_name_of_an_entry_leads_nowhere_else():
    with pytest.raises(ValueError, match="not the name"):
        ENTRIES.entry_path("folder", "../other/1709164740000")


@quick(200)
@given(partitions, st.data())
def test_the_entries_of_a_partition_lie_in_its_folder_and_in_folders_of_entries(partition, data):
    first = max(epoch_ms(partition.range.start), 0)
    time_ms = data.draw(st.integers(first, epoch_ms(partition.range.end) - 1))
    folder = ENTRIES.entry_folder(partition.series, time_ms)
    path = ENTRIES.entry_path(folder, str(time_ms))

    assert folder.startswith(f"{ENTRIES.partition_folder(partition)}/")
    assert ENTRIES.is_entry_folder(folder)
    assert ENTRIES.series_of(path) == partition.series
    assert ENTRIES.partition_of(path) is None


@both
@quick(200)
@given(partitions)
@example(partition_at(series("2024/02/28"), utc("2024-02-29")))
def test_no_folder_above_a_commit_is_one_of_entries(paths, partition):
    folder = paths.part_path(partition)
    while folder:
        folder = folder.rpartition("/")[0]
        assert not paths.is_entry_folder(folder)


@both
@quick(200)
@given(partitions)
def test_a_partition_is_found_again_from_its_path(paths, partition):
    assert paths.partition_of(paths.part_path(partition)) == partition


@both
@quick(200)
@given(all_series)
@examples
def test_a_series_is_found_again_from_every_path_of_it(paths, of):
    assert paths.series_of(paths.part_path(partition_at(of, utc("2024-02-29")))) == of
    assert paths.series_of(paths.facts_path(of)) == of


@both
@pytest.mark.parametrize("kind", [Kind.TRADES, Kind.FUNDING_RATE, Kind.ORDER_BOOK])
def test_a_series_without_bars_is_found_again(paths, kind):
    of = Series("binance", "BTC/USDT", kind, None)

    assert paths.series_of(paths.facts_path(of)) == of


@both_with_dots
@quick(200)
@given(all_series)
@examples
def test_nothing_leads_out_of_the_root(paths, of):
    part = paths.part_path(partition_at(of, utc("2024-02-29")))
    entry = paths.entry_path(paths.entry_folder(of, 0), "0") if isinstance(paths, EntryPaths) else part
    for path in (part, entry, paths.facts_path(of), paths.damaged_path(part, '"0x8D"')):
        parts = path.split("/")
        assert not PurePosixPath(path).is_absolute()
        assert all(part not in {"", ".", ".."} for part in parts)
        assert "\\" not in path


@both_with_dots
@quick(200)
@given(all_series)
@examples
def test_every_series_lies_in_a_folder_of_its_exchange(paths, of):
    folder = paths.series_folder(of)

    assert len(folder.split("/")) == 4
    assert str(PurePosixPath(os.path.normpath(folder))) == folder
    assert any(folder.startswith(f"{exchange}/") for exchange in paths.exchange_folders(of.exchange))


@both
@quick(100)
@given(partitions, st.lists(partitions, max_size=5))
def test_distinct_partitions_lie_at_distinct_places(paths, one, others):
    different = {one, *others}

    assert len({os.path.normpath(paths.part_path(partition)) for partition in different}) == len(different)
    assert paths.facts_path(one.series) not in {paths.part_path(partition) for partition in different}


@both
def test_the_timeframes_of_a_symbol_stay_apart_on_a_disk_that_does_not_tell_case(paths):
    folders = {paths.series_folder(series(timeframe=str(timeframe))).lower() for timeframe in TIMEFRAMES}

    assert len(folders) == len(TIMEFRAMES)
    assert paths.series_of(paths.facts_path(series(timeframe="1M"))).timeframe == Timeframe.parse("1M")


@both
def test_versions_of_a_damaged_object_are_kept_apart(paths):
    path = paths.part_path(partition_at(series(), utc("2024-02-29")))
    copies = {paths.damaged_path(path, version) for version in ('"0x8D"', '"0x8E"', "abc")}

    assert len(copies) == 3
    for copy in copies:
        assert copy.startswith("_damaged/")
        assert paths.partition_of(copy) is None
        assert paths.series_of(copy) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "part.parquet",
        "_check",
        "ohlcv/exchange=binance",
        "_damaged/ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/_series.json",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.arrow",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/xpart.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/deeper/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=2/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=02024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=٢٠٢٤/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=x/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=-1/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/2024/02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1mo/year=2024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1M/year=0/month=0/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2fUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=%FF/timeframe=1m/year=2024/month=02/part.parquet",
        "ohlcv/exchange=BINANCE/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=/timeframe=1m/year=2024/month=02/part.parquet",
        "trades/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "candles/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "old/ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=02/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=13/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=0/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=0/month=0/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=0/month=01/part.parquet",
        "ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=10000/month=01/part.parquet",
        pytest.param("ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=9999/month=12/part.parquet"),
        pytest.param("trades/exchange=binance/symbol=BTC%2FUSDT/timeframe=none/year=2024/month=02/part.parquet"),
    ],
)
def test_any_other_file_in_a_hive_tree_is_no_partition(path):
    assert HIVE.partition_of(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "_coverage.json",
        "raw_data/binance/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/13/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/2/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/02/28/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/02/coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/02/_series.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1m/٢٠٢٤/02/_coverage.json",
        pytest.param("raw_data/binance/BTC%2FUSDT/ohlcv-1m/9999/12/_coverage.json"),
        "raw_data/binance/BTC%2FUSDT/ohlcv-1M/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1h/2024/02/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1d/2024/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv-1d/0000/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/ohlcv/2024/02/_coverage.json",
        "raw_data/binance/BTC%2FUSDT/trades-1m/2024/02/_coverage.json",
        pytest.param("raw_data/binance/BTC%2FUSDT/trades-none/2024/02/_coverage.json"),
        "_damaged/raw_data/binance/BTC%2FUSDT/ohlcv-1m/2024/02/_coverage.json",
        "data/binance/BTC%2FUSDT/ohlcv-1m/2024/02/_coverage.json",
    ],
)
def test_any_other_file_in_a_tree_of_entries_is_no_partition(path):
    assert ENTRIES.partition_of(path) is None


@pytest.mark.parametrize("path", ["", "_check", "ohlcv/exchange=binance", "a/b/c/d", "xsymbol=BTC/part.parquet"])
@both
def test_a_path_that_is_not_ours_belongs_to_no_series(paths, path):
    assert paths.series_of(path) is None
