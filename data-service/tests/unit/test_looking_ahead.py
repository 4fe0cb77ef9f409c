"""While one partition comes from the exchange, the next one is asked for, too; no further, and not for nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from answers import tables
from fake_exchange import Anchoring, FakeExchange, rows_at
from history_rig import SERIES, HistoryRig
from scripted_client import settled
from service_harness import eventually
from unit_builders import assert_same_rows, span, utc

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.flight import Flight
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.read_ahead import ReadAhead
from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Coverage, State
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

NOW = utc("2024-06-01")
THREE_MONTHS = span("2024-01-31T23:30", "2024-03-01T00:30")
FEBRUARY = span("2024-02-01", "2024-03-01")
FEW_PAGES = span("2024-01-31T23:30", "2024-02-01T00:10")


MINUTES = [THREE_MONTHS.start + timedelta(minutes=number) for number in range(30 * 24 * 60)]
#: Around the borders only: few bars of three partitions.
OPENS = [each for each in MINUTES if each.day in (1, 29, 31) and each in THREE_MONTHS]
FEW_PAGES_OPENS = [each for each in OPENS if each in FEW_PAGES]


class Holding(FakeExchange):
    """Serves 20 bars a page, and holds January's second page until its gate is open."""

    def __init__(self) -> None:
        super().__init__(OPENS, 20, Anchoring.START, now=lambda: NOW)
        self.gate = asyncio.Event()

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        page = await super().fetch_ohlcv(series, window)
        if window.end == FEBRUARY.start:
            await self.gate.wait()
        return page


class SlowLook:
    """Looks into a partition, which lasts until it may end."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.was_ended = False

    def at(self, rig: HistoryRig) -> HistoryRig:
        coverage = rig.storage.coverage

        async def look(partition: Partition) -> Coverage:
            self.begun.set()
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                self.was_ended = True
                raise
            return await coverage(partition)

        rig.storage.coverage = look
        return rig


@pytest.fixture
def rig(tmp_path) -> HistoryRig:
    return HistoryRig(tmp_path, NOW).connect(FakeExchange(OPENS, 50_000, now=lambda: NOW))


def months_asked(rig: HistoryRig) -> set[int]:
    return {window.start.month for window in rig.exchange.windows}


async def test_the_next_partition_is_asked_for_while_pages_of_the_first_one_are_under_way(tmp_path):
    exchange = Holding()
    rig = HistoryRig(tmp_path, NOW).connect(exchange)
    answer = asyncio.create_task(rig.answer(FEW_PAGES))

    await eventually(lambda: months_asked(rig) == {1, 2})
    exchange.gate.set()
    rows, _ = await answer

    assert_same_rows(rows, rows_at(FEW_PAGES_OPENS))


async def test_nothing_is_asked_ahead_of_the_first_rows_nor_further_ahead_than_the_next_partition(rig):
    answer = await rig.manager.open(SERIES, THREE_MONTHS, refresh=False)
    async with aclosing(tables(answer)) as batches:
        await anext(batches)
        assert months_asked(rig) == {1}
        await anext(batches)
        assert months_asked(rig) == {1, 2}


async def test_looking_ahead_changes_neither_the_rows_nor_the_receipt(rig):
    plan = await rig.manager.plan(SERIES, THREE_MONTHS, refresh=False)

    rows, receipt = await rig.answer(THREE_MONTHS)
    again, second = await rig.answer(THREE_MONTHS)

    assert_same_rows(rows, rows_at(OPENS))
    assert_same_rows(again, rows)
    assert receipt.exchange_calls == len(rig.exchange.windows) == plan.exchange_calls == 3
    assert (receipt.rows_from_exchange, receipt.rows_from_storage) == (len(OPENS), 0)
    assert (second.rows_from_exchange, second.rows_from_storage, second.exchange_calls) == (0, len(OPENS), 0)


async def test_rows_that_are_stored_already_are_told_as_such(rig):
    await rig.answer(FEBRUARY)

    rows, receipt = await rig.answer(THREE_MONTHS)

    stored = [each for each in OPENS if each in FEBRUARY]
    assert_same_rows(rows, rows_at(OPENS))
    assert (receipt.rows_from_storage, receipt.exchange_calls) == (len(stored), 2)


async def test_before_the_first_row_nothing_is_asked_ahead(tmp_path):
    exchange = FakeExchange([utc("2024-03-01T00:05")], 50_000, now=lambda: NOW)
    rig = HistoryRig(tmp_path, NOW).connect(exchange)

    rows, receipt = await rig.answer(THREE_MONTHS)

    assert rows.num_rows == 1
    assert State.UNLISTED in {segment.state for segment in receipt.coverage}
    assert len(exchange.windows) == 2  # the empty one, after which the listing was looked up, and March


async def test_what_storage_settles_is_read_from_there_when_its_turn_has_come_and_joins_no_flight(
    tmp_path, monkeypatch
):
    exchange = Holding()
    rig = HistoryRig(tmp_path, NOW).connect(exchange)
    await rig.answer(TimeRange(FEBRUARY.start, FEW_PAGES.end))
    flights: list[Partition] = []
    looks: list[Partition] = []
    reads: list[tuple[Partition, TimeRange | None]] = []
    flight, read, coverage = rig.fetcher.flight, rig.storage.read, rig.storage.coverage

    def noted_flight(partition: Partition, reach: Reach) -> Flight:
        flights.append(partition)
        return flight(partition, reach)

    async def noted_read(
        partition: Partition, wanted: TimeRange | None = None, *, known: StoredPartition | None = None
    ) -> StoredPartition:
        reads.append((partition, wanted))
        return await read(partition, wanted, known=known)

    async def noted_coverage(partition: Partition) -> Coverage:
        looks.append(partition)
        return await coverage(partition)

    monkeypatch.setattr(rig.fetcher, "flight", noted_flight)
    monkeypatch.setattr(rig.storage, "read", noted_read)
    monkeypatch.setattr(rig.storage, "coverage", noted_coverage)
    wanted = TimeRange(FEW_PAGES.start, utc("2024-02-01T00:05"))

    answer = asyncio.create_task(rig.answer(wanted))
    await eventually(lambda: [partition.month for partition in looks] == [2])
    exchange.gate.set()
    rows, receipt = await answer

    assert_same_rows(rows, rows_at(each for each in OPENS if each in wanted))
    assert (receipt.rows_from_exchange, receipt.rows_from_storage) == (30, 5)
    assert [partition.month for partition in flights] == [1]
    assert [part for partition, part in reads if partition.month == 2] == [TimeRange(FEBRUARY.start, wanted.end)]


async def test_a_next_partition_that_cannot_be_looked_into_spoils_nothing_of_the_first(rig, monkeypatch):
    async def unreadable(partition: Partition) -> Coverage:
        raise NewerFormatError(str(partition), found=2, known=1)

    await rig.source.now("fake")  # else the newest partition is looked into first, in place of the clock
    monkeypatch.setattr(rig.storage, "coverage", unreadable)

    rows, receipt = await rig.answer(THREE_MONTHS)

    assert_same_rows(rows, rows_at(OPENS))
    assert receipt.exchange_calls == 3


async def test_a_failure_of_ours_to_look_into_the_next_partition_is_heard(rig, monkeypatch):
    async def broken(partition: Partition) -> Coverage:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.storage, "coverage", broken)

    with pytest.raises(ZeroDivisionError):
        await rig.answer(THREE_MONTHS)


async def test_rows_that_are_there_wait_for_no_look_into_the_next_partition(tmp_path):
    exchange, slow_look = Holding(), SlowLook()
    rig = slow_look.at(HistoryRig(tmp_path, NOW).connect(exchange))
    await rig.source.now("fake")  # else the newest partition is looked into first, in place of the clock
    answer = await rig.manager.open(SERIES, FEW_PAGES, refresh=False)

    async with aclosing(tables(answer)) as batches:
        got = [await anext(batches)]
        exchange.gate.set()
        got.append(await anext(batches))
        assert {each.month for each in FEW_PAGES_OPENS[: sum(rows.num_rows for rows in got)]} == {1}
        assert slow_look.begun.is_set()
        slow_look.may_end.set()
        got += [rows async for rows in batches]

    assert_same_rows(pa.concat_tables(got), rows_at(FEW_PAGES_OPENS))


async def test_who_leaves_before_it_is_known_what_the_next_partition_lacks_has_nothing_of_it_fetched(tmp_path):
    exchange, slow_look = Holding(), SlowLook()
    rig = slow_look.at(HistoryRig(tmp_path, NOW).connect(exchange))
    await rig.source.now("fake")  # else the newest partition is looked into first, in place of the clock
    answer = asyncio.create_task(rig.answer(FEW_PAGES))
    await slow_look.begun.wait()

    answer.cancel()
    await asyncio.wait([answer])
    slow_look.may_end.set()
    await rig.fetcher.close()

    assert slow_look.was_ended
    assert months_asked(rig) == {1}


async def test_who_leaves_is_no_longer_waited_for_ahead_either(tmp_path):
    exchange = Holding()
    exchange.facts = replace(exchange.facts, concurrent_calls=1)
    rig = HistoryRig(tmp_path, NOW).connect(exchange)
    answer = asyncio.create_task(rig.answer(FEW_PAGES))
    await eventually(lambda: len(exchange.windows) == 2 and rig.source.conditions()["fake"].waiting == 1)

    answer.cancel()
    await asyncio.wait([answer])
    await rig.fetcher.close()

    assert months_asked(rig) == {1}
    assert rig.source.conditions()["fake"].waiting == 0


FIVE_MINUTES = Series("fake", SERIES.symbol, Kind.OHLCV, Timeframe.parse("5m"))
SPRING = span("2024-01-01", "2024-05-01")


@pytest.fixture
def stored_january(tmp_path) -> HistoryRig:
    """January of the spring is stored, the rest is not; four partitions, small enough that all are read ahead."""
    opens = [SPRING.start + timedelta(minutes=5 * number) for number in range(121 * 288)]
    return HistoryRig(tmp_path, NOW).connect(FakeExchange(opens, 50_000, now=lambda: NOW))


async def test_a_month_that_is_missing_is_asked_for_ahead_also_where_stored_ones_were_read_ahead_before(stored_january):
    rig = stored_january
    await rig.answer(span("2024-01-01", "2024-02-01"), series=FIVE_MINUTES)
    rig.exchange.windows.clear()
    answer = await rig.manager.open(FIVE_MINUTES, SPRING, refresh=False)

    async with aclosing(tables(answer)) as batches:
        await anext(batches)  # January's
        assert months_asked(rig) == set()
        await anext(batches)  # February's
        await eventually(lambda: months_asked(rig) == {2})
        february = asyncio.create_task(anext(batches))
        await eventually(lambda: months_asked(rig) == {2, 3})
        await february
    await rig.fetcher.close()


async def test_what_is_stored_after_it_was_read_ahead_is_what_is_delivered(stored_january):
    rig = stored_january
    await rig.answer(SPRING, series=FIVE_MINUTES)
    answer = await rig.manager.open(FIVE_MINUTES, SPRING, refresh=False)
    april = partition_at(FIVE_MINUTES, utc("2024-04-15"))

    async with aclosing(tables(answer)) as batches:
        got = [await anext(batches)]
        base = await rig.storage.read(april)
        restated = base.rows.slice(100, 1).set_column(
            1, base.rows.schema.field("open"), pa.chunked_array([[123_456.0]], pa.float64())
        )
        await rig.storage.commit(base, [Change(restated, ())])
        got += [rows async for rows in batches]

    delivered = pa.concat_tables(got)
    assert delivered.column("open").to_pylist().count(123_456.0) == 1


async def test_a_partition_that_is_larger_than_what_may_be_read_ahead_waits_for_its_turn(tmp_path, monkeypatch):
    seconds = Series("fake", SERIES.symbol, Kind.OHLCV, Timeframe.parse("1s"))
    rig = HistoryRig(tmp_path, NOW)
    reads: list[Partition] = []
    read = rig.storage.read_if_possible

    async def noted(partition, wanted=None, *, known=None):
        reads.append(partition)
        return await read(partition, wanted, known=known)

    monkeypatch.setattr(rig.storage, "read_if_possible", noted)
    ahead = ReadAhead(seconds, rig.storage)

    ahead.begin(span("2024-02-01", "2024-05-01"), SeriesFacts("BTCUSDT"))

    await settled()
    assert reads == []
