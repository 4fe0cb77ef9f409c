from __future__ import annotations

from datetime import datetime

import pytest
from unit_builders import bars, minute, series, span, utc

from cb_trade_data.historical.ledger_reader import known_range, read_ledger
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

SERIES = series()
YEARS = span("2020-01-01", "2025-01-01")


class CountingStorage(StorageManagerImpl):
    """The real storage manager; tells which partitions it was asked for."""

    def __init__(self, root) -> None:
        super().__init__(LocalFileStorage(root, ParquetLayout()))
        self.reads: list[tuple[int, int]] = []

    async def coverage(self, partition: Partition) -> Coverage:
        self.reads.append((partition.year, partition.month))
        return await super().coverage(partition)


@pytest.fixture
def storage(tmp_path) -> CountingStorage:
    return CountingStorage(tmp_path)


async def store(storage: CountingStorage, year: int, month: int, *segments: Segment) -> None:
    partition = Partition(SERIES, year, month)
    change = Change(bars([segments[0].range.start]), segments)
    await storage.commit(StoredPartition.empty(partition), [change])


def held(start: str, end: str) -> Segment:
    return Segment(span(start, end), State.HELD)


async def ledger(storage: CountingStorage, wanted: TimeRange, limit: int = 100):
    reach = Reach(await storage.facts(SERIES) or SeriesFacts("BTCUSDT"))
    return await read_ledger(storage, SERIES, await storage.list_partitions(SERIES), wanted, reach, limit=limit)


async def test_only_partitions_that_are_stored_are_read(storage):
    await store(storage, 2022, 3, held("2022-03-01", "2022-04-01"))

    page = await ledger(storage, YEARS)

    assert [segment.state for segment in page.segments] == [State.UNKNOWN, State.HELD, State.UNKNOWN]
    assert page.range == YEARS
    assert storage.reads == [(2022, 3)]


async def test_partitions_outside_the_range_are_not_read(storage):
    for month in (1, 2, 3):
        await store(storage, 2022, month, held(f"2022-{month:02}-01", f"2022-{month + 1:02}-01"))

    page = await ledger(storage, span("2022-02-10", "2022-02-20"))

    assert page.segments == (held("2022-02-10", "2022-02-20"),)
    assert storage.reads == [(2022, 2)]


async def test_a_page_reads_a_year_of_minutes_at_most_and_says_that_there_is_more(storage):
    for year in (2022, 2023):
        for month in range(1, 13):
            await store(storage, year, month, held(f"{year}-{month:02}-01", f"{year}-{month:02}-28"))

    page = await ledger(storage, YEARS)

    assert storage.reads == [(2022, month) for month in range(1, 13)]
    assert page.range == span("2020-01-01", "2023-01-01")
    assert not page.is_last


async def test_a_full_page_reads_no_further(storage):
    for month in (1, 2, 3):
        await store(storage, 2022, month, held(f"2022-{month:02}-02", f"2022-{month:02}-03"))

    page = await ledger(storage, span("2022-01-01", "2022-04-01"), limit=2)

    assert storage.reads == [(2022, 1)]
    assert page.segments == (Segment(span("2022-01-01", "2022-01-02"), State.UNKNOWN), held("2022-01-02", "2022-01-03"))


async def test_partitions_before_the_listing_are_not_read(storage):
    await store(storage, 2022, 1, held("2022-01-05", "2022-01-06"))
    await store(storage, 2022, 2, held("2022-02-01", "2022-03-01"))
    await storage.commit_facts(SERIES, SeriesFacts("BTCUSDT", utc("2022-02-01"), utc("2024-01-01")))

    page = await ledger(storage, span("2022-01-01", "2022-03-01"))

    assert [segment.state for segment in page.segments] == [State.UNLISTED, State.HELD]
    assert storage.reads == [(2022, 2)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, span("2022-01-05", "2022-03-09")),
        (utc("2022-02-01"), None, span("2022-02-01", "2022-03-09")),
        (None, utc("2022-02-01"), span("2022-01-05", "2022-02-01")),
        (utc("2021-01-01"), utc("2023-01-01"), span("2021-01-01", "2023-01-01")),
        (utc("2022-03-09"), None, None),
        (None, utc("2022-01-05"), None),
    ],
)
async def test_an_open_end_is_where_coverage_ends(storage, start: datetime | None, end: datetime | None, expected):
    """Whatever its state: where rows end, failures may go on."""
    failure = Segment(span("2022-03-08", "2022-03-09"), State.FAILED, minute(0), reason="timeout")
    await store(storage, 2022, 1, held("2022-01-05", "2022-01-06"))
    await store(storage, 2022, 3, held("2022-03-01", "2022-03-02"), failure)

    partitions = await storage.list_partitions(SERIES)

    assert await known_range(storage, partitions, start, end) == expected


async def test_where_nothing_is_known_an_open_end_leads_nowhere(storage):
    assert await known_range(storage, [], None, None) is None
    assert await known_range(storage, [], utc("2022-01-01"), None) is None
    assert await known_range(storage, [], None, utc("2022-01-01")) is None
