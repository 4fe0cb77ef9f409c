"""The tree of the `parquet` layout as other engines find it: minutes to days, months, years and whole series, and days
of trades and all funding rates beside them. Each kind has its own columns, and so its own folder at the top."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from event_samples import ODD_IDS, STORED_FUNDING, trades
from storage_around import ParquetForm
from unit_builders import assert_same_rows, bars, series, utc

from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.series_facts import SeriesFacts

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT")
TIMEFRAMES = ("1m", "5m", "1h", "1d")
EVENTS = {
    Kind.TRADES: trades((-1, "1"), *((7, each) for each in ODD_IDS), (86_400_000 * 3, "2")),
    Kind.FUNDING_RATE: STORED_FUNDING.rows,
}
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
        for kind, rows in EVENTS.items():
            of = Series("binance", symbol, kind, None)
            await storage.save_bulk_entries(of, rows)
            await storage.write_facts(of, SeriesFacts("X"))
    return tmp_path


def events_of(kind: Kind, found: pa.Table, symbol: str) -> pa.Table:
    """Return the rows of a symbol by time as they were found, with none but their own columns; check the keys."""
    keys = ["exchange", "symbol", "timeframe", "year", "month"]
    assert sorted(found.column_names) == sorted([*SCHEMAS[kind].names, *keys])
    assert set(found.column("timeframe").to_pylist()) == {"none"}
    found = found.filter(pc.equal(found.column("symbol").cast(pa.string()), symbol)).select(SCHEMAS[kind].names)
    order = ["timestamp", "price"] if kind is Kind.TRADES else ["timestamp"]
    return found.cast(SCHEMAS[kind]).sort_by([(name, "ascending") for name in order]).combine_chunks()


def assert_all_events(kind: Kind, found: pa.Table) -> None:
    for symbol in SYMBOLS:
        expected = EVENTS[kind].append_column("symbol", pa.array([symbol] * len(EVENTS[kind])))
        for name, value in (("exchange", "binance"), ("timeframe", "none"), ("year", 0), ("month", 0)):
            expected = expected.append_column(name, pa.array([value] * len(expected)))
        assert_same_rows(events_of(kind, found, symbol), events_of(kind, expected, symbol))


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


# --- Kinds without bars -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVENTS)
async def test_pyarrow_opens_the_trees_of_other_kinds(root, kind):
    assert_all_events(kind, ds.dataset(root / kind, partitioning="hive").to_table())


@pytest.mark.parametrize("kind", EVENTS)
async def test_duckdb_opens_the_trees_of_other_kinds(root, kind):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        query = "select * from read_parquet($files, hive_partitioning = true)"
        found = connection.sql(query, params={"files": f"{root}/{kind}/**/*.parquet"}).to_arrow_table()

    assert_all_events(kind, found)


@pytest.mark.parametrize("kind", EVENTS)
async def test_polars_opens_the_trees_of_other_kinds(root, kind):
    polars = pytest.importorskip("polars")

    found = polars.scan_parquet(root / kind / "**" / "*.parquet", hive_partitioning=True).collect()

    assert_all_events(kind, found.to_arrow())


@pytest.mark.parametrize("kind", EVENTS)
async def test_pandas_opens_the_trees_of_other_kinds(root, kind):
    pandas = pytest.importorskip("pandas")

    assert_all_events(kind, pa.Table.from_pandas(pandas.read_parquet(root / kind), preserve_index=False))


async def test_duckdb_opens_the_kinds_together_by_their_names(root):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        query = (
            "select count(*), count(id), count(rate), count(open), count(mark_price) "
            "from read_parquet($files, hive_partitioning = true, union_by_name = true)"
        )
        found = connection.sql(query, params={"files": f"{root}/**/*.parquet"}).fetchall()

    of_trades, of_funding = (2 * len(EVENTS[kind]) for kind in (Kind.TRADES, Kind.FUNDING_RATE))
    of_bars = sum(EXPECTED.values())
    assert found == [(of_trades + of_funding + of_bars, of_trades, of_funding, of_bars, 4)]
