"""What one answer compares of a long range, and what becomes of storage that changes under it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from unit_builders import bars, epoch_ms, series, span, utc

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.historical.comparing import ComparisonPage, StoredSide, compare_stored
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.market import TIMESTAMP, TRADES_SCHEMA
from cb_trade_data.models.partition import Partition, partitions_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

TRADES = Series("binance", "BTC/USDT", Kind.TRADES, None)


class WatchedStorage(StorageManagerImpl):
    """The real storage manager; tells what it was asked for of trades, and may have them changed after a read."""

    def __init__(self, root) -> None:
        super().__init__(LocalFileStorage(root, ParquetLayout()))
        self.hours_read: list[datetime] = []
        self.changes_after_a_read: list[pa.Table] = []

    async def read(self, partition, wanted=None, *, known=None):
        stored = await super().read(partition, wanted, known=known)
        if partition.series == TRADES:
            self.hours_read.append(wanted.start)
            if self.changes_after_a_read:
                await self.commit(stored, [Change(self.changes_after_a_read.pop(), ())])
        return stored


@pytest.fixture
def storage(tmp_path) -> WatchedStorage:
    return WatchedStorage(tmp_path)


def trades(*times: datetime) -> pa.Table:
    count = len(times)
    return pa.table(
        [
            pa.array(list(map(epoch_ms, times)), pa.int64()).cast(TIMESTAMP),
            pa.array([str(number) for number in range(count)]),
            pa.array(["buy"] * count),
            pa.array([1.0] * count),
            pa.array([2.0] * count),
        ],
        schema=TRADES_SCHEMA,
    )


async def hold(storage: WatchedStorage, of: Series, known: TimeRange, rows: pa.Table) -> None:
    for partition, part in partitions_of(of, known):
        inside = StoredPartition(partition, rows).rows_in(part)
        change = Change(inside, (Segment(part, State.HELD),))
        await storage.commit(StoredPartition.empty(partition), [change])


async def compared(
    storage: WatchedStorage, wanted: TimeRange, timeframe: str, facts: SeriesFacts | None = None
) -> ComparisonPage:
    sides = [StoredSide(each, Reach(facts or SeriesFacts(""))) for each in (series(timeframe=timeframe), TRADES)]
    days: list[Partition] = await storage.list_partitions(TRADES)
    return await compare_stored(storage, *sides, days, wanted)


@pytest.mark.parametrize(
    ("timeframe", "wanted", "page"),
    [
        ("1m", span("2024-01-01", "2024-12-01"), span("2024-01-01", "2024-03-12")),
        ("1w", span("2024-01-01", "2024-12-02"), span("2024-01-01", "2024-03-04")),
        ("1M", span("2024-01-01", "2024-12-01"), span("2024-01-01", "2024-03-01")),
        ("3M", span("2024-01-01", "2024-10-01"), span("2024-01-01", "2024-04-01")),
        ("1s", span("2024-01-01", "2024-12-01"), span("2024-01-01", "2024-02-11T03:46:40")),
        ("1m", span("2024-01-01", "2024-02-20"), span("2024-01-01", "2024-02-20")),
        ("1m", span("2024-02-10T12:00", "2024-12-01"), span("2024-02-10T12:00", "2024-03-12T12:00")),
        ("1m", span("2024-03-01", "2024-12-01"), span("2024-03-01", "2024-12-01")),
    ],
)
async def test_a_page_has_31_days_from_the_first_stored_trade_on_or_100_000_bars_and_whole_bars_always(
    storage, timeframe, wanted, page
):
    await hold(storage, TRADES, span("2024-02-10", "2024-02-11"), trades(utc("2024-02-10T01:00")))

    comparison = await compared(storage, wanted, timeframe)

    assert comparison.range == page
    assert comparison.is_last == (page == wanted)


async def test_trades_are_read_by_the_hour_and_only_where_bars_are_stored(storage):
    day, morning = span("2024-02-10", "2024-02-11"), span("2024-02-10T03:00", "2024-02-10T05:30")
    await hold(storage, TRADES, day, trades(utc("2024-02-10T04:00")))
    await hold(storage, series(timeframe="30m"), morning, bars([utc("2024-02-10T04:00")]))

    comparison = await compared(storage, day, "30m")

    midnight, *hours = storage.hours_read  # the first of them for what is known of the day
    assert midnight == utc("2024-02-10")
    assert hours == [utc(f"2024-02-10T{hour:02}:00") for hour in (3, 4, 5)]
    assert (comparison.bars_compared, comparison.bars_that_differ) == (1, 1)
    assert comparison.without_bars == timedelta(hours=21.5)


async def test_a_month_is_made_of_the_trades_of_all_its_days(storage):
    times = [utc(f"2024-02-{day:02}T12:00") for day in range(1, 30)]
    month = span("2024-02-01", "2024-03-01")
    await hold(storage, TRADES, month, trades(*times))
    await hold(storage, series(timeframe="1M"), month, bars([month.start]))

    [difference] = (await compared(storage, month, "1M")).differences

    assert difference.rebuilt == (1, 1, 1, 1, 2 * 29)


async def test_a_thousand_differences_are_told_and_all_are_counted(storage):
    day = span("2024-02-10", "2024-02-11")
    await hold(storage, TRADES, day, trades())
    await hold(storage, series(), day, bars(day.start + timedelta(minutes=number) for number in range(1, 1202)))

    comparison = await compared(storage, day, "1m")

    assert (comparison.bars_that_differ, len(comparison.differences)) == (1201, 1000)


async def test_trades_that_change_while_they_are_read_are_not_compared(storage):
    day = span("2024-02-10", "2024-02-11")
    await hold(storage, TRADES, day, trades(utc("2024-02-10T04:00")))
    await hold(storage, series(), day, bars([utc("2024-02-10T04:00")]))
    storage.changes_after_a_read.append(trades(utc("2024-02-10T05:00")))

    with pytest.raises(StorageUnavailableError, match="ask again"):
        await compared(storage, day, "1m")


async def test_time_before_a_listing_and_after_a_delisting_lacks_nothing(storage):
    facts = SeriesFacts("", utc("2024-02-10T06:00"), utc("2024-03-01"), utc("2024-02-10T18:00"), utc("2024-03-01"))

    comparison = await compared(storage, span("2024-02-09", "2024-02-12"), "1m", facts)

    assert (comparison.without_trades, comparison.without_bars) == (timedelta(hours=12), timedelta())
