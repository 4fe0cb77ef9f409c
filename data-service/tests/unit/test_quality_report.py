"""What one answer about quality reads: bounded, and no more than it needs."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta

import pytest
from unit_builders import bars, epoch_ms, minute_bars, series, span, table, utc

from cb_trade_data.errors import BarTooLongError, PartitionChangedError
from cb_trade_data.historical import quality_report
from cb_trade_data.historical.comparing import StoredSide
from cb_trade_data.historical.quality_report import QualityPage, report_quality, with_accuracy
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.market import slice_range
from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.evidence import Found
from cb_trade_data.quality.inspection import Finding
from cb_trade_data.quality.scores import Measures
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts import metadata
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change

MINUTES = series()
LATER = utc("2025-06-01")


class WatchedStorage(StorageManagerImpl):
    """The real storage manager; tells of which partitions it was asked for, and for rows of which."""

    def __init__(self, root) -> None:
        super().__init__(LocalFileStorage(root, ParquetLayout()))
        self.outlines: list[datetime] = []
        self.reads: list[datetime] = []

    async def outline(self, partition):
        self.outlines.append(partition.range.start)
        return await super().outline(partition)

    async def read(self, partition, wanted=None, *, known=None):
        self.reads.append(partition.range.start)
        return await super().read(partition, wanted, known=known)


@pytest.fixture
def storage(tmp_path) -> WatchedStorage:
    return WatchedStorage(tmp_path)


async def hold(storage: WatchedStorage, of: Series, known: TimeRange, rows=None, state: State = State.HELD) -> None:
    rows = minute_bars([]) if rows is None else rows
    for partition, part in partitions_of(of, known):
        inside = slice_range(rows, part)
        asked_at = None if state is State.HELD else LATER
        stored = await StorageManagerImpl.read(storage, partition)
        await storage.commit(stored, [Change(inside, (Segment(part, state, asked_at),))])


def side(of: Series = MINUTES, facts: SeriesFacts | None = None) -> StoredSide:
    return StoredSide(of, Reach(facts or SeriesFacts("")))


async def report(
    storage: WatchedStorage,
    wanted: TimeRange,
    of: Series = MINUTES,
    *,
    details: bool = False,
    limit: int = 1_000,
    facts: SeriesFacts | None = None,
    closed_until: datetime = LATER,
) -> QualityPage:
    partitions = await storage.list_partitions(of)
    return await report_quality(
        storage, side(of, facts), partitions, wanted, closed_until, details=details, limit=limit
    )


async def accuracy(
    storage: WatchedStorage, page: QualityPage, of: Series, source: Series, *, secs: float = 60.0
) -> QualityPage | None:
    until_secs = asyncio.get_running_loop().time() + secs
    return await with_accuracy(storage, page, side(of), side(source), until_secs)


async def test_a_page_ends_after_a_dozen_stored_partitions(storage):
    await hold(storage, MINUTES, span("2023-01-01", "2024-06-01"))

    page = await report(storage, span("2022-11-01", "2024-06-01"))
    rest = await report(storage, TimeRange(page.range.end, utc("2024-06-01")))

    assert (page.range, page.is_last) == (span("2022-11-01", "2024-01-01"), False)
    assert (rest.range, rest.is_last) == (span("2024-01-01", "2024-06-01"), True)
    assert len(page.days) == 365 + 61, "days that nobody asked for are told, too, and cost nothing"
    assert storage.reads == []


async def test_a_page_ends_after_as_many_days_as_are_wanted(storage):
    await hold(storage, MINUTES, span("2024-01-01", "2024-03-01"))

    page = await report(storage, span("2024-01-01T12:00", "2024-03-01"), limit=2)

    assert page.range == span("2024-01-01T12:00", "2024-01-03")


async def test_where_rows_have_to_be_read_a_page_ends_after_so_many_of_them(storage, monkeypatch):
    monkeypatch.setattr(quality_report, "_ROWS_MAX", 15)
    monkeypatch.setattr(metadata, "inspected", lambda stored: None)
    opens = [utc(f"2024-{month:02}-01") + minute * timedelta(minutes=1) for month in (1, 2, 3) for minute in range(10)]
    await hold(storage, MINUTES, span("2024-01-01", "2024-04-01"), bars(opens))

    page = await report(storage, span("2024-01-01", "2024-04-01"))

    assert (page.range, page.is_last) == (span("2024-01-01", "2024-03-01"), False)
    assert storage.reads == [utc("2024-01-01"), utc("2024-02-01")]
    assert page.measures.found == Found(20, page.measures.found.flagged)


@pytest.mark.parametrize(
    ("timeframe", "page"),
    [
        ("1m", span("2024-01-01", "2024-02-01")),
        ("1h", span("2024-01-01", "2024-02-01")),
        ("1s", span("2024-01-01", "2024-01-02")),
        ("1d", span("2024-01-01", "2025-06-01")),
    ],
)
async def test_a_page_with_details_is_of_a_month_or_of_a_hundred_thousand_bars(storage, timeframe, page):
    found = await report(storage, span("2024-01-01", "2025-06-01"), series(timeframe=timeframe), details=True)

    assert found.range == page


async def test_only_partitions_of_which_a_day_is_cut_amid_held_bars_are_read(storage):
    await hold(storage, MINUTES, span("2024-01-10T06:00", "2024-03-10T06:00"))

    await report(storage, span("2024-01-10T06:00", "2024-03-10T06:00"))
    assert storage.reads == []

    await report(storage, span("2024-01-10T03:00", "2024-03-10T05:00"))
    assert storage.reads == [utc("2024-03-01")]


async def test_the_newest_bar_is_that_of_the_series_and_what_was_delisted_is_never_behind(storage):
    await hold(storage, MINUTES, span("2024-01-01", "2024-03-10T06:00"))
    await hold(storage, MINUTES, span("2024-04-01", "2024-04-02"), state=State.FAILED)
    wanted = span("2024-01-01", "2024-01-02")

    traded = await report(storage, wanted, closed_until=utc("2024-03-10T06:05"))
    ended = await report(storage, wanted, facts=SeriesFacts("x", delisted_at=utc("2024-03-10T06:02")))
    closed = await report(storage, wanted, closed_until=utc("2024-03-10T06:00"))

    assert (traded.newest_end, traded.bars_behind, traded.scores.freshness) == (utc("2024-03-10T06:00"), 5, 0.5)
    assert (ended.newest_end, ended.bars_behind) == (utc("2024-03-10T06:00"), 2)
    assert closed.bars_behind == 0


async def test_gaps_that_reach_over_partitions_are_one(storage):
    await hold(storage, MINUTES, span("2024-01-31T23:58", "2024-02-01T00:02"))

    page = await report(storage, span("2024-01-31T23:00", "2024-02-01T01:00"), details=True)

    assert [(gap.range, gap.bars, gap.state) for gap in page.details.gaps] == [
        (span("2024-01-31T23:00", "2024-01-31T23:58"), 58, State.UNKNOWN),
        (span("2024-01-31T23:58", "2024-02-01T00:02"), 4, State.HELD),
        (span("2024-02-01T00:02", "2024-02-01T01:00"), 58, State.UNKNOWN),
    ]


async def whole_days(storage: WatchedStorage, gaps_of_days: list[int]) -> TimeRange:
    """Hold days of minutes, each with so many single holes, and return their time."""
    start = utc("2024-01-30")
    known = TimeRange(start, start + timedelta(days=len(gaps_of_days)))
    without = {1440 * day + 60 + 2 * number for day, count in enumerate(gaps_of_days) for number in range(count)}
    opens = [start + minute * timedelta(minutes=1) for minute in range(1440 * len(gaps_of_days))]
    await hold(storage, MINUTES, known, bars([each for number, each in enumerate(opens) if number not in without]))
    return known


async def test_a_page_ends_before_the_day_for_which_a_list_has_no_room_and_the_next_one_goes_on(storage, monkeypatch):
    monkeypatch.setattr(quality_report, "_LISTED_MAX", 5)
    monkeypatch.setattr(quality_report, "findings_within", lambda *_: iter(()))  # All bars are the same here.
    known = await whole_days(storage, [2, 3, 1, 5, 7, 0, 1])

    pages, start = [], known.start
    while start < known.end:
        pages.append(await report(storage, TimeRange(start, known.end), details=True))
        start = pages[-1].range.end

    assert [len(page.days) for page in pages] == [2, 1, 1, 1, 2]
    assert [len(page.details.gaps) for page in pages] == [5, 1, 5, 5, 1]
    assert [page.details.is_truncated for page in pages] == [False, False, False, True, False]
    assert [page.is_last for page in pages] == [False, False, False, False, True]
    assert [page.measures.expected_bars for page in pages] == [2 * 1440, 1440, 1440, 1440, 2 * 1440]


@pytest.mark.parametrize(("gaps", "days"), [(500, 2), (501, 1)])
async def test_a_list_has_room_for_a_thousand(storage, monkeypatch, gaps, days):
    monkeypatch.setattr(quality_report, "findings_within", lambda *_: iter(()))
    known = await whole_days(storage, [500, gaps])

    page = await report(storage, known, details=True)

    assert (len(page.days), len(page.details.gaps)) == (days, 500 * days)


async def test_a_gap_that_goes_on_behind_the_end_of_a_page_is_told_in_parts(storage, monkeypatch):
    monkeypatch.setattr(quality_report, "_LISTED_MAX", 1)
    await hold(storage, MINUTES, span("2024-01-02T12:00", "2024-01-02T12:01"), bars([utc("2024-01-02T12:00")]))

    first = await report(storage, span("2024-01-01", "2024-01-03"), details=True)
    second = await report(storage, span("2024-01-02", "2024-01-03"), details=True)

    assert (first.range, first.details.is_truncated) == (span("2024-01-01", "2024-01-02"), False)
    assert [(gap.range, gap.bars) for gap in first.details.gaps] == [(span("2024-01-01", "2024-01-02"), 1440)]
    assert [(gap.range, gap.bars) for gap in second.details.gaps] == [(span("2024-01-02", "2024-01-02T12:00"), 720)]
    assert second.details.is_truncated


async def test_findings_end_a_page_as_gaps_do(storage, monkeypatch):
    monkeypatch.setattr(quality_report, "_LISTED_MAX", 1)
    known = await whole_days(storage, [0, 0])
    odd = [
        Finding(DataCode.PRICE_OUTLIER, known.start + timedelta(hours=at), ("high",), 2.0, 1.0) for at in (1, 25, 26)
    ]
    monkeypatch.setattr(quality_report, "findings_within", lambda *_: iter(odd))

    page = await report(storage, TimeRange(known.start, known.start + timedelta(days=2)), details=True)

    assert (len(page.days), page.details.findings, page.details.is_truncated) == (1, (odd[0],), False)


async def test_years_of_days_are_compared_with_as_many_years_of_shorter_bars(storage, monkeypatch):
    monkeypatch.setattr(quality_report, "findings_within", lambda *_: iter(()))
    days, hours = series(timeframe="1d"), series(timeframe="6h")
    years = span("2021-01-01", "2024-01-01")
    for of, count in ((days, 3 * 365), (hours, 4 * 3 * 365)):
        await hold(storage, of, years, bars([years.start + number * of.grid.duration for number in range(count)]))
    page = await report(storage, years, days, details=True)

    compared = await accuracy(storage, page, days, hours)

    assert (compared.measures.compared_bars, compared.details.compared_with) == (3 * 365, "6h")
    assert compared.measures.held_bars == page.measures.held_bars
    assert await accuracy(storage, page, days, series(timeframe="1h")) is None


async def test_what_cannot_be_compared_in_time_or_as_a_whole_has_no_accuracy_and_fails_nothing(storage, monkeypatch):
    days, hours = series(timeframe="1d"), series(timeframe="6h")
    year = span("2023-01-01", "2024-01-01")
    for of, count in ((days, 365), (hours, 4 * 365)):
        await hold(storage, of, year, bars([year.start + number * of.grid.duration for number in range(count)]))
    page = await report(storage, year, days, details=True)

    assert await accuracy(storage, page, days, hours, secs=-1.0) is None
    for error in (BarTooLongError("1d", year.start, 90.0), PartitionChangedError("a day of trades")):

        async def compare(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(quality_report, "compare_stored", compare)
        assert await accuracy(storage, page, days, hours) is None


@pytest.mark.parametrize("details", [False, True])
async def test_rows_from_before_the_listing_are_neither_counted_nor_told(storage, monkeypatch, details):
    """Of the day of the listing, either, the rest of which counts."""
    known = span("2024-01-01", "2024-01-03")
    opens = [known.start + number * timedelta(minutes=1) for number in range(2 * 1440)]
    prices = [100.0 + number % 7 for number in range(2 * 1440)]
    for hour in (6, 30, 42):  # before the day of the listing, on that day before it, and after it
        prices[60 * hour] *= 50
    rows = table([(epoch_ms(each), *[price] * 4, 1.0) for each, price in zip(opens, prices, strict=True)])
    await hold(storage, MINUTES, known, rows)

    page = await report(storage, known, facts=SeriesFacts("x", utc("2024-01-02T12:00")), details=details)

    found = page.measures.found
    assert (page.measures.expected_bars, page.measures.held_bars, found.rows) == (720, 720, 720)
    assert found.flagged == {DataCode.PRICE_OUTLIER: 1}
    if details:
        assert [finding.time for finding in page.details.findings] == [utc("2024-01-02T18:00")]


async def test_nothing_stored_is_nothing_held(storage):
    page = await report(storage, span("2024-01-01", "2024-01-03"))

    assert page.measures == Measures(2 * 1440)
    assert (page.newest_end, page.bars_behind, page.scores.freshness) == (None, None, None)
    assert storage.outlines == []


@pytest.mark.parametrize("details", [False, True])
async def test_what_is_known_is_gone_through_off_the_event_loop(storage, monkeypatch, details):
    """Of a month of quiet minutes that takes a tenth of a second."""
    await hold(storage, MINUTES, span("2024-01-01", "2024-02-02"))
    threads: set[threading.Thread] = set()
    within = Coverage.within

    def watched(coverage, wanted):
        threads.add(threading.current_thread())
        return within(coverage, wanted)

    monkeypatch.setattr(Coverage, "within", watched)

    await report(
        storage,
        span("2024-01-01T12:00", "2024-02-03"),
        facts=SeriesFacts("x", utc("2024-01-01T12:00")),
        details=details,
    )

    assert threads
    assert threading.main_thread() not in threads
