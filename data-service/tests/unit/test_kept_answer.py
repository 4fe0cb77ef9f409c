"""What one partition in memory settles is answered at once, and just as it would be otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_exchange import FakeExchange
from history_rig import HistoryRig
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, quick, span, utc

from cb_trade_data.historical.kept_answer import KeptAnswer
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.stored_partition import Change

SERIES = Series("fake", "BTC/USDT", Kind.OHLCV, Timeframe.parse("5m"))
LISTED_AT = utc("2024-01-20")
NOW = utc("2024-04-10T12:34:56")
STORED = TimeRange(utc("2024-01-01"), utc("2024-04-10T12:00"))
#: The exchange stood still for a night, and over the turn of a month.
STILL = [span("2024-02-10T20:00", "2024-02-11T06:00"), span("2024-02-29T23:00", "2024-03-01T01:00")]
OPENS = [
    open_time
    for open_time in (LISTED_AT + timedelta(minutes=5 * number) for number in range(24_000))
    if open_time < NOW and not any(open_time in night for night in STILL)
]


def keeping(root: Path, cache_max_bytes: int = 100_000_000) -> HistoryRig:
    """Return a service over the files of *root* which keeps what it has read, and trusts it for ever."""
    rig = HistoryRig(root, NOW)
    place = LocalFileStorage(root, ParquetLayout())
    rig.storage = StorageManagerImpl(place, cache_max_bytes=cache_max_bytes, recheck_after_secs=1e9)
    return rig.connect(FakeExchange(OPENS, 1_000, now=lambda: NOW))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root: Path = tmp_path_factory.mktemp("stored")

    async def store() -> None:
        rig = keeping(root)
        await rig.answer(STORED, series=SERIES)
        await rig.fetcher.close()

    asyncio.run(store())
    return root


@pytest.fixture
async def warm(root) -> AsyncIterator[HistoryRig]:
    rig = keeping(root)
    await rig.answer(STORED, series=SERIES)
    rig.exchange.windows.clear()
    yield rig
    await rig.fetcher.close()


async def is_kept(rig: HistoryRig, wanted: TimeRange, *, refresh: bool = False) -> bool:
    return isinstance(await rig.manager.open(SERIES, wanted, refresh=refresh), KeptAnswer)


def instants() -> st.SearchStrategy[datetime]:
    around = [LISTED_AT, utc("2024-02-01"), utc("2024-03-01"), STILL[0].start, STILL[1].end, STORED.end, NOW]
    near = st.builds(lambda at, secs: at + timedelta(seconds=secs), st.sampled_from(around), st.integers(-900, 900))
    return near | st.datetimes(datetime(2024, 1, 1), datetime(2024, 4, 10, 12, 30)).map(  # noqa: DTZ001
        lambda at: utc(at.isoformat())
    )


@quick(80)
@given(st.tuples(instants(), instants()).map(sorted).filter(lambda both: both[0] < both[1] and both[0] < NOW))
def test_an_answer_at_once_is_the_answer_there_would_be_otherwise(root, both):
    wanted = TimeRange(*both)

    async def compare() -> None:
        warm, cold = keeping(root), keeping(root, cache_max_bytes=0)
        await warm.answer(TimeRange(max(LISTED_AT, STORED.start), STORED.end), series=SERIES)
        at_once = await warm.manager.open(SERIES, wanted, refresh=False)
        otherwise = await cold.manager.open(SERIES, wanted, refresh=False)
        assert (at_once.start, at_once.end) == (otherwise.start, otherwise.end)
        assert at_once.estimated_rows == otherwise.estimated_rows
        rows, receipt = await warm.answer(wanted, series=SERIES)
        expected_rows, expected_receipt = await cold.answer(wanted, series=SERIES)
        assert_same_rows(rows, expected_rows)
        if isinstance(at_once, KeptAnswer):
            assert receipt == expected_receipt
            assert receipt.rows_from_exchange == receipt.exchange_calls == 0
        for rig in (warm, cold):
            await rig.fetcher.close()

    asyncio.run(compare())


async def test_a_part_of_one_partition_that_is_held_and_kept_is_answered_at_once(warm):
    assert await is_kept(warm, span("2024-02-01", "2024-03-01"))
    assert await is_kept(warm, span("2024-02-10", "2024-02-12T00:01"))
    assert warm.exchange.windows == []


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(span("2024-02-28", "2024-03-02"), id="two partitions"),
        pytest.param(TimeRange(LISTED_AT - timedelta(minutes=5), utc("2024-01-21")), id="from before the listing"),
        pytest.param(span("2024-04-10T10:00", "2024-04-11"), id="until what has not closed yet"),
        pytest.param(span("2024-02-01T00:01", "2024-02-01T00:04"), id="between two opens"),
    ],
)
async def test_what_takes_more_than_one_held_stretch_is_not(warm, wanted):
    assert not await is_kept(warm, wanted)


async def test_a_refresh_is_never_answered_at_once(warm):
    assert not await is_kept(warm, span("2024-02-01", "2024-02-02"), refresh=True)


async def test_what_was_stored_a_moment_ago_is_not_overlooked(warm):
    """The partition is read again first: what is kept of it is no longer the newest."""
    await warm.answer(span("2024-02-01", "2024-02-02"), series=SERIES, refresh=True)

    assert not await is_kept(warm, span("2024-02-01", "2024-02-02"))


async def test_what_is_only_partly_held_is_not_answered_at_once(tmp_path):
    rig = keeping(tmp_path)
    for _ in range(2):  # the second time, it is read and kept
        await rig.answer(span("2024-02-01", "2024-02-03"), series=SERIES)

    assert await is_kept(rig, span("2024-02-01", "2024-02-03"))
    assert not await is_kept(rig, span("2024-02-01", "2024-02-03T00:05"))
    await rig.fetcher.close()


async def test_what_is_stored_from_before_the_listing_does_not_count(warm):
    """As little as it does otherwise: an exchange may take back what it said before it knew better."""
    january = partition_at(SERIES, LISTED_AT)
    too_early = span("2024-01-10", "2024-01-12")
    base = await warm.storage.read(january)
    await warm.storage.commit(base, [Change(base.rows.slice(0, 0), (Segment(too_early, State.HELD),))])
    await warm.storage.read(january)

    assert not await is_kept(warm, too_early)
    _, receipt = await warm.answer(too_early, series=SERIES)
    assert [each.state for each in receipt.coverage] == [State.UNLISTED]


async def test_an_end_at_the_end_of_the_calendar_is_none_that_is_kept(warm):
    last = datetime.max.replace(tzinfo=UTC)

    assert not await is_kept(warm, TimeRange(utc("2024-02-01"), last))
