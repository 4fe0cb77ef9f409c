"""The tree of the `parquet` layout as other engines find it: minutes to days, months, years and whole series."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from storage_around import ParquetForm
from unit_builders import bars, series, utc

from cb_trade_data.models.partition import partition_at
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.series_facts import SeriesFacts

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT")
TIMEFRAMES = ("1m", "5m", "1h", "1d")
EXPECTED = {(symbol, timeframe): 10 for symbol in SYMBOLS for timeframe in TIMEFRAMES}


@pytest.fixture
async def root(tmp_path):
    storage = LocalFileStorage(tmp_path, ParquetForm().layout())
    for symbol in SYMBOLS:
        for timeframe in TIMEFRAMES:
            of = series(symbol, timeframe)
            first = of.grid.advance(utc("2024-03-01"), -5)
            await storage.save_bulk_entries(of, bars(of.grid.advance(first, number) for number in range(10)))
            await storage.write_facts(of, SeriesFacts("X"))
            lock = await storage.try_lock(partition_at(of, first))
            await lock.release()
    return tmp_path


def counted(rows: pa.Table) -> dict[tuple[str, str], int]:
    """Return how many rows there are of each series; they must have their own columns and the keys."""
    assert {"timestamp", "open", "high", "low", "close", "volume", "exchange", "year", "month"} <= set(
        rows.column_names
    )
    assert set(rows.column("exchange").to_pylist()) == {"binance"}
    return Counter(zip(rows.column("symbol").to_pylist(), rows.column("timeframe").to_pylist(), strict=True))


async def test_pyarrow_opens_the_whole_tree(root):
    dataset = ds.dataset(root / "ohlcv", partitioning="hive")

    assert counted(dataset.to_table()) == EXPECTED
    assert dataset.count_rows(filter=(ds.field("symbol") == SYMBOLS[0]) & (ds.field("year") == 2024)) == 30


async def test_duckdb_opens_the_whole_tree(root):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        query = "select * from read_parquet($files, hive_partitioning = true)"
        found = connection.sql(query, params={"files": f"{root}/ohlcv/**/*.parquet"}).to_arrow_table()

    assert counted(found) == EXPECTED


async def test_polars_opens_the_whole_tree(root):
    polars = pytest.importorskip("polars")

    found = polars.scan_parquet(root / "ohlcv" / "**" / "*.parquet", hive_partitioning=True).collect()

    assert counted(found.to_arrow()) == EXPECTED


async def test_pandas_opens_the_whole_tree(root):
    pandas = pytest.importorskip("pandas")

    found = pandas.read_parquet(root / "ohlcv")

    assert counted(pa.Table.from_pandas(found)) == EXPECTED
