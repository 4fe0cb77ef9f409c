"""What is looked ahead to is not locked before its turn has come: until then, another service has it at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pyarrow as pa
import pytest
from fake_exchange import Anchoring, FakeExchange, rows_at
from history_rig import SERIES, HistoryRig
from service_harness import eventually
from unit_builders import assert_same_rows, span, utc

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.interfaces import PartitionLock

NOW = utc("2024-06-01")
OPENS = [utc(f"2024-01-31T23:{minute}") for minute in range(30, 60)] + [
    utc(f"2024-0{month}-01T00:0{minute}") for month in (2, 3) for minute in range(10)
]
JANUARY_AND_FEBRUARY = span("2024-01-31T23:30", "2024-02-01T00:10")
JANUARY_PAGES = [span("2024-01-31T23:30", "2024-01-31T23:50"), span("2024-01-31T23:50", "2024-02-01")]
FEBRUARY = span("2024-02-01", "2024-02-01T00:10")
MARCH = span("2024-03-01", "2024-03-01T00:10")


class OnePlace(FakeExchange):
    """Has one call under way at a time, and does not answer January's second page, or March's, before its time."""

    def __init__(self) -> None:
        super().__init__(OPENS, 20, Anchoring.START, now=lambda: NOW)
        self.facts = replace(self.facts, concurrent_calls=1)
        self.january, self.march = asyncio.Event(), asyncio.Event()

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        page = await super().fetch_ohlcv(series, window)
        if window == JANUARY_PAGES[1]:
            await self.january.wait()
        if window == MARCH:
            await self.march.wait()
        return page


class Backfill:
    """A service of its own that answers both months; it waits with one page of February behind one of January."""

    def __init__(self, root) -> None:
        self.exchange = OnePlace()
        self.rig = HistoryRig(root, NOW).connect(self.exchange)
        self._answer = asyncio.create_task(self.rig.answer(JANUARY_AND_FEBRUARY))

    async def looks_ahead(self) -> None:
        await eventually(lambda: self.exchange.windows == JANUARY_PAGES and self.waiting == 1)

    async def rest(self) -> tuple[pa.Table, Receipt]:
        self.exchange.january.set()
        return await self._answer

    @property
    def waiting(self) -> int:
        return self.rig.source.conditions()["fake"].waiting


@pytest.fixture
async def backfill(tmp_path):
    backfill = Backfill(tmp_path)
    await backfill.looks_ahead()
    yield backfill
    backfill.exchange.january.set()
    backfill.exchange.march.set()
    await backfill.rig.fetcher.close()


async def test_another_service_has_the_next_partition_before_the_backfill_has_come_to_it(backfill, tmp_path):
    other = HistoryRig(tmp_path, NOW).connect(OnePlace())

    rows, _ = await other.answer(FEBRUARY)

    assert_same_rows(rows, rows_at(OPENS[30:40]))
    assert backfill.exchange.windows == JANUARY_PAGES


async def test_what_another_service_fetched_before_its_turn_came_is_not_asked_for_again(backfill, tmp_path):
    await HistoryRig(tmp_path, NOW).connect(OnePlace()).answer(FEBRUARY)

    rows, receipt = await backfill.rest()

    assert_same_rows(rows, rows_at(OPENS[:40]))
    assert backfill.exchange.windows == JANUARY_PAGES
    assert (receipt.rows_from_exchange, receipt.rows_from_storage) == (30, 10)


async def test_while_another_service_has_the_lock_no_place_is_held(backfill, tmp_path):
    theirs = await HistoryRig(tmp_path, NOW).storage.try_lock(partition_at(SERIES, FEBRUARY.start))
    backfill.exchange.march.set()
    answer = asyncio.create_task(backfill.rest())

    rows, _ = await backfill.rig.answer(MARCH)  # at the exchange's one place
    assert_same_rows(rows, rows_at(OPENS[40:]))
    assert FEBRUARY not in backfill.exchange.windows

    await theirs.release()
    rows, receipt = await answer
    assert_same_rows(rows, rows_at(OPENS[:40]))
    assert receipt.exchange_calls == 3


async def test_a_listing_that_another_service_found_meanwhile_is_known_with_the_lock(tmp_path, monkeypatch):
    """It is written nowhere in the partition; without it, the same empty page would be asked for again."""
    before_listing = span("2024-01-01", "2024-01-01T00:10")
    other, exchange = HistoryRig(tmp_path, NOW).connect(OnePlace()), OnePlace()
    rig = HistoryRig(tmp_path, NOW).connect(exchange)
    try_lock = rig.storage.try_lock

    async def after_the_other(partition):
        await other.answer(before_listing)
        return await try_lock(partition)

    monkeypatch.setattr(rig.storage, "try_lock", after_the_other)

    rows, receipt = await rig.answer(before_listing)

    assert len(other.exchange.windows) == 1
    assert exchange.windows == []
    assert (rows.num_rows, [gap.state for gap in receipt.coverage]) == (0, [State.UNLISTED])


async def test_once_it_is_the_turn_of_its_rows_the_exchange_is_not_waited_for_first(backfill, tmp_path):
    await HistoryRig(tmp_path, NOW).connect(OnePlace()).answer(FEBRUARY)
    march = asyncio.create_task(backfill.rig.answer(MARCH))  # goes before February
    await eventually(lambda: backfill.waiting == 2)

    rows, _ = await backfill.rest()

    assert_same_rows(rows, rows_at(OPENS[:40]))
    assert backfill.exchange.windows == [*JANUARY_PAGES, MARCH]
    backfill.exchange.march.set()
    await march


async def test_where_no_lock_can_be_had_the_next_partition_is_fetched_all_the_same(backfill, monkeypatch):
    async def no_lock(partition) -> PartitionLock | None:
        raise StorageUnavailableError(str(partition), "it is full")

    monkeypatch.setattr(backfill.rig.storage, "try_lock", no_lock)

    rows, receipt = await backfill.rest()

    assert_same_rows(rows, rows_at(OPENS[:40]))
    assert backfill.exchange.windows == [*JANUARY_PAGES, FEBRUARY]
    assert receipt.gaps == []


async def test_what_fails_before_its_turn_comes_is_no_gap_where_another_service_has_got_it(backfill, tmp_path):
    await HistoryRig(tmp_path, NOW).connect(OnePlace()).answer(FEBRUARY)
    await backfill.rig.source.close()  # whoever waits for a turn is sent home

    rows, receipt = await backfill.rest()

    assert_same_rows(rows, rows_at(OPENS[:40]))
    assert [gap for gap in receipt.gaps if FEBRUARY.start <= gap.range.start] == []
