"""What one answer compares of a long range, and what becomes of storage that changes under it."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from unit_builders import bars, epoch_ms, series, span, utc

from cb_trade_data.errors import BarTooLongError, PartitionChangedError
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
    """The real storage manager; tells what it was asked for of trades, and may have them changed after a read.

    Attributes:
        changes: What follows when the first hour of a day is read the next times: rows that are added, or all that is
            held from then on.
    """

    def __init__(self, root) -> None:
        super().__init__(LocalFileStorage(root, ParquetLayout()))
        self._root = root
        self.hours_read: list[datetime] = []
        self.changes: list[pa.Table | TimeRange] = []

    async def read(self, partition, wanted=None, *, known=None):
        stored = await super().read(partition, wanted, known=known)
        if partition.series == TRADES:
            self.hours_read.append(wanted.start)
            if self.changes and wanted.start == partition.range.start:
                await self._change(partition, self.changes.pop(0))
        return stored

    async def _change(self, partition: Partition, change: pa.Table | TimeRange) -> None:
        if isinstance(change, TimeRange):
            shutil.rmtree(self._root)  # the bars with them, which were read before
            await hold(self, partition.series, change, trades(change.start))
        else:
            await self.commit(await super().read(partition), [Change(change, ())])


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
    storage: WatchedStorage, wanted: TimeRange, timeframe: str, facts: SeriesFacts | None = None, **limits: float
) -> ComparisonPage:
    sides = [StoredSide(each, Reach(facts or SeriesFacts(""))) for each in (series(timeframe=timeframe), TRADES)]
    days: list[Partition] = await storage.list_partitions(TRADES)
    return await compare_stored(storage, *sides, days, wanted, **limits)


async def pages_without_time(storage: WatchedStorage, wanted: TimeRange, timeframe: str) -> list[ComparisonPage]:
    """Return the pages of a range where each has no time to read more trades than it must."""
    pages: list[ComparisonPage] = []
    rest = wanted
    while not pages or not pages[-1].is_last:
        pages.append(await compared(storage, rest, timeframe, reading_secs=0))
        if not pages[-1].is_last:
            rest = TimeRange(pages[-1].range.end, wanted.end)
    return pages


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


@pytest.fixture
async def held_day(storage) -> TimeRange:
    """A day of which all is stored: a trade, and a minute, at four and at five."""
    day, times = span("2024-02-10", "2024-02-11"), [utc("2024-02-10T04:00"), utc("2024-02-10T05:00")]
    await hold(storage, TRADES, day, trades(*times))
    await hold(storage, series(), day, bars(times))
    return day


async def test_trades_that_are_added_while_they_are_read_are_no_reason_to_begin_anew(storage, held_day):
    storage.changes = [trades(utc("2024-02-10T06:00"))]

    comparison = await compared(storage, held_day, "1m")

    assert storage.hours_read == [held_day.start + timedelta(hours=number) for number in range(24)]
    assert [each.open_time.hour for each in comparison.differences] == [4, 5, 6]
    assert comparison.without_trades == timedelta()


async def test_a_day_of_which_hours_are_lost_while_they_are_read_is_read_again(storage, held_day):
    left = span("2024-02-10T00:00", "2024-02-10T08:00")
    storage.changes = [left]

    comparison = await compared(storage, held_day, "1m")

    assert (comparison.range, comparison.is_last) == (held_day, True)
    assert comparison.without_trades == timedelta(hours=16)
    assert comparison.bars_compared == 3  # one by the trade that is left, two as they were told


async def test_a_day_that_changes_each_time_it_is_read_ends_with_an_error_that_may_be_tried_again(storage, held_day):
    storage.changes = [span("2024-02-10", f"2024-02-10T{hour:02}:00") for hour in (20, 10, 1)]

    with pytest.raises(PartitionChangedError, match="ask again") as caught:
        await compared(storage, held_day, "1m")

    assert (caught.value.code, caught.value.retryable) == ("storage_unavailable", True)
    assert storage.hours_read.count(held_day.start) == 3


async def test_a_page_for_which_there_is_no_time_ends_with_the_hour_in_which_its_first_bar_does(storage, held_day):
    whole = await compared(storage, held_day, "1m")

    pages = await pages_without_time(storage, held_day, "1m")

    assert [page.range.duration for page in pages] == [timedelta(hours=1)] * 24
    assert sum(page.bars_compared for page in pages) == whole.bars_compared
    assert [each for page in pages for each in page.differences] == list(whole.differences)


async def test_bars_longer_than_what_there_is_time_for_are_made_of_all_their_trades(storage):
    days = span("2024-02-10", "2024-02-13")
    times = [days.start + timedelta(hours=number) for number in range(72)]
    await hold(storage, TRADES, days, trades(*times))
    for timeframe in ("4h", "1d"):
        await hold(storage, series(timeframe=timeframe), days, bars([days.start]))

    pages = {timeframe: await pages_without_time(storage, days, timeframe) for timeframe in ("4h", "1d")}

    assert [page.range.duration for page in pages["4h"]] == [timedelta(hours=4)] * 18
    assert [page.range.duration for page in pages["1d"]] == [timedelta(days=1)] * 3
    assert [each.rebuilt[-1] for page in pages["1d"] for each in page.differences] == [48.0] * 3


async def test_a_bar_whose_trades_take_too_long_to_read_is_refused_and_told(storage):
    month = span("2024-02-01", "2024-03-01")
    await hold(storage, TRADES, month, trades(utc("2024-02-10T12:00")))
    await hold(storage, series(timeframe="1M"), month, bars([month.start]))

    with pytest.raises(BarTooLongError, match=r"one bar of 1M, from 2024-02-01.* compare shorter bars"):
        await compared(storage, month, "1M", reading_secs=0, bar_secs=0)

    assert len(storage.hours_read) <= 2  # one is read ahead


async def test_what_is_not_stored_is_counted_in_the_page_in_which_it_lies(storage):
    days = span("2024-02-10", "2024-02-12")
    await hold(storage, TRADES, span("2024-02-10T06:00", "2024-02-11"), trades(utc("2024-02-10T07:00")))
    await hold(storage, series(timeframe="1h"), span("2024-02-10", "2024-02-10T12:00"), bars([utc("2024-02-10T07:00")]))

    whole, pages = await compared(storage, days, "1h"), await pages_without_time(storage, days, "1h")

    assert len(pages) > 6
    assert sum((page.without_trades for page in pages), timedelta()) == whole.without_trades == timedelta(hours=30)
    assert sum((page.without_bars for page in pages), timedelta()) == whole.without_bars == timedelta(hours=12)


async def test_time_before_a_listing_and_after_a_delisting_lacks_nothing(storage):
    facts = SeriesFacts("", utc("2024-02-10T06:00"), utc("2024-03-01"), utc("2024-02-10T18:00"), utc("2024-03-01"))

    comparison = await compared(storage, span("2024-02-09", "2024-02-12"), "1m", facts)

    assert (comparison.without_trades, comparison.without_bars) == (timedelta(hours=12), timedelta())
