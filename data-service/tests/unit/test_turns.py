"""Whose page is next: the flights' order, at an exchange that gives one place at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from answers import tables
from fake_exchange import Anchoring, FakeExchange
from history_rig import SERIES, HistoryRig
from service_harness import eventually
from unit_builders import span, utc

from cb_trade_data.errors import ExchangeRefusalError, ExchangeUnavailableError
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.series_facts import SeriesFacts

NOW = utc("2026-06-01")
BACKFILL = span("2024-02-10", "2026-01-01")
DAYS = [utc("2024-02-10"), utc("2024-02-12"), utc("2024-02-14"), utc("2024-03-02")]
LIMIT = 100


class OneAtATime(DataSourceConnectorImpl):
    """Grants a page its turn when the test says so, to the most urgent one that waits.

    Attributes:
        waiting: Those that wait for their turn, by how urgent they are.
        failures_left: How many of the next tries fail; their pages wait for another turn.
    """

    def __init__(self, exchange: FakeExchange, local_now: Callable[[], datetime]) -> None:
        registry = PluginRegistry()
        registry.register(exchange.facts, lambda: exchange)
        super().__init__(registry, local_now)
        self.waiting: dict[asyncio.Future[None], Callable[[], int]] = {}
        self.failures_left = 0
        self.refusal: ExchangeUnavailableError | None = None
        self.refuses_windows = True

    async def fetch_page(
        self, series: Series, next_window: Callable[[], TimeRange | None], urgency: Callable[[], int]
    ) -> Page | None:
        await self._turn(urgency)
        while self.failures_left:
            self.failures_left -= 1
            next_window()
            await self._turn(urgency)
        if self.refusal is not None:
            if self.refuses_windows:
                next_window()
            raise self.refusal
        return await super().fetch_page(series, next_window, urgency)

    async def _turn(self, urgency: Callable[[], int]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting[turn] = urgency
        try:
            await turn
        finally:
            del self.waiting[turn]

    def wants_at_most(self, bars: int) -> bool:
        """Tell whether a page waits for a request that wants no more bars than that."""
        return any(urgency() <= bars for urgency in self.waiting.values())

    async def grant(self, pages: int = 1) -> None:
        """Let as many pages go ahead, one after the other."""
        for _ in range(pages):
            await eventually(lambda: bool(self.waiting))
            turn = min(self.waiting, key=lambda each: self.waiting[each]())
            turn.set_result(None)
            await eventually(lambda turn=turn: turn not in self.waiting)


class Asker:
    """Reads an answer in a task of its own."""

    def __init__(self, rig: HistoryRig, wanted: TimeRange) -> None:
        self.rows: list[pa.Table] = []
        self.task = asyncio.create_task(self._read(rig, wanted))

    async def _read(self, rig: HistoryRig, wanted: TimeRange) -> None:
        answer = await rig.manager.open(SERIES, wanted, refresh=False)
        self.receipt = answer.receipt
        async with aclosing(tables(answer)) as batches:
            async for rows in batches:
                self.rows.append(rows)

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def rig(tmp_path):
    rig = HistoryRig(tmp_path, NOW)
    opens = [day + timedelta(minutes=minute) for day in DAYS for minute in range(1440)]
    exchange = FakeExchange(opens, LIMIT, Anchoring.START, now=rig.present)
    rig.connect(exchange, OneAtATime(exchange, rig.present))
    yield rig
    await rig.fetcher.close()


@pytest.fixture
async def listed(rig):
    """It is known that there were bars: no page has to go alone."""
    asker = Asker(rig, span("2024-02-10", "2024-02-10T00:01"))
    await rig.source.grant()
    await asyncio.wait([asker.task])
    rig.exchange.windows.clear()


async def begun_backfill(rig: HistoryRig) -> Asker:
    """Five pages of the month that it is at are in; its next one waits, and one that looks ahead, without its lock.

    Nobody is granted a turn before both wait: the latter, if it waits alone, is served, and gives its turn back.
    """
    backfill = Asker(rig, BACKFILL)
    for pages in range(1, 6):
        await rig.source.grant()
        await eventually(lambda pages=pages: len(rig.exchange.windows) == pages)
        await eventually(lambda: len(rig.source.waiting) == 2)
    return backfill


@pytest.mark.parametrize("day", [span("2024-02-12", "2024-02-13"), span("2024-03-02", "2024-03-03")])
async def test_a_day_asked_for_in_the_middle_of_a_backfill_is_served_first(rig, day):
    """In the month that the backfill is at, or in another one."""
    backfill = await begun_backfill(rig)
    urgent = Asker(rig, day)
    await eventually(lambda: rig.source.wants_at_most(1440))

    await rig.source.grant()
    await eventually(lambda: bool(urgent.rows))

    assert rig.exchange.windows[5] == TimeRange(day.start, day.start + timedelta(minutes=LIMIT))
    await backfill.leave()
    await urgent.leave()


async def test_who_joins_a_flight_that_looks_ahead_is_urgent_when_it_has_the_lock(rig, monkeypatch):
    """A turn that comes before would be missed."""
    day = span("2024-03-02", "2024-03-03")
    backfill = await begun_backfill(rig)
    asked, may_have_it = asyncio.Event(), asyncio.Event()
    try_lock = rig.storage.try_lock

    async def slow_lock(partition):
        asked.set()
        await may_have_it.wait()
        return await try_lock(partition)

    monkeypatch.setattr(rig.storage, "try_lock", slow_lock)
    urgent = Asker(rig, day)
    await asked.wait()
    assert not rig.source.wants_at_most(1440)
    may_have_it.set()
    await eventually(lambda: rig.source.wants_at_most(1440))

    await rig.source.grant()
    await eventually(lambda: bool(urgent.rows))

    assert rig.exchange.windows[5] == TimeRange(day.start, day.start + timedelta(minutes=LIMIT))
    await backfill.leave()
    await urgent.leave()


async def test_who_joins_while_the_exchange_is_asked_for_the_time_is_not_overlooked(rig, listed, monkeypatch):
    """Before a page begins to wait, that is asked; who joins a flight that looked ahead until then is in a hurry."""
    asked, may_tell = asyncio.Event(), asyncio.Event()
    now = rig.source.now

    async def slow_now(exchange):
        asked.set()
        await may_tell.wait()
        return await now(exchange)

    monkeypatch.setattr(rig.source, "now", slow_now)
    day = span("2024-02-12", "2024-02-13")
    flight = rig.fetcher.flight(partition_at(SERIES, day.start), Reach(SeriesFacts("BTCUSDT")))
    with flight.joined(day, refresh=False, now=NOW, bars_before=1):
        await asked.wait()
        with flight.joined(day, refresh=False, now=NOW):
            may_tell.set()
            await eventually(lambda: rig.source.wants_at_most(1440))


async def test_where_nothing_can_be_had_any_more_by_the_time_no_page_begins_to_wait(tmp_path, monkeypatch):
    """While the lock was taken, the exchange let go of all that is wanted."""
    rig = HistoryRig(tmp_path, NOW)
    exchange = FakeExchange([], LIMIT, Anchoring.NEWEST_ONLY, now=rig.present)
    rig.connect(exchange, OneAtATime(exchange, rig.present))
    begun: list[Series] = []
    try_lock, fetch_page = rig.storage.try_lock, rig.source.fetch_page

    async def slow_lock(partition):
        rig.now += timedelta(days=1)
        return await try_lock(partition)

    def noted(series, *arguments):
        begun.append(series)
        return fetch_page(series, *arguments)

    monkeypatch.setattr(rig.storage, "try_lock", slow_lock)
    monkeypatch.setattr(rig.source, "fetch_page", noted)

    rows, receipt = await rig.answer(TimeRange(NOW - timedelta(minutes=60), NOW - timedelta(minutes=30)))

    assert (rows.num_rows, [gap.state for gap in receipt.gaps]) == (0, [State.UNAVAILABLE])
    assert begun == []


async def test_one_page_of_a_flight_waits_at_a_time_and_what_it_brings_is_decided_when_its_turn_has_come(rig):
    asker = Asker(rig, span("2024-02-12", "2024-02-13"))
    await eventually(lambda: bool(rig.source.waiting))

    assert len(rig.source.waiting) == 1
    assert rig.exchange.windows == []
    await rig.source.grant(15)
    await asyncio.wait([asker.task])
    assert len(rig.exchange.windows) == 15
    assert rig.source.waiting == {}


async def test_a_page_of_a_flight_that_has_taken_all_places_waits_for_the_first_that_is_free(rig, listed, monkeypatch):
    """Else pages of others, who can wait, would have it."""
    may_answer = asyncio.Event()
    fetch = rig.exchange.fetch_ohlcv

    async def slow_fetch(*arguments):
        await may_answer.wait()
        return await fetch(*arguments)

    monkeypatch.setattr(rig.exchange, "fetch_ohlcv", slow_fetch)
    asker = Asker(rig, span("2024-02-12", "2024-02-13"))
    places = rig.exchange.facts.concurrent_calls
    await rig.source.grant(places)
    await eventually(lambda: rig.source.conditions()["fake"].under_way == places)

    await eventually(lambda: len(rig.source.waiting) == 1)
    urgent = Asker(rig, span("2024-02-14", "2024-02-14T00:30"))
    await eventually(lambda: rig.source.wants_at_most(30))
    await rig.source.grant()
    may_answer.set()
    await asyncio.wait([urgent.task])

    await rig.source.grant(15 - places)
    await asyncio.wait([asker.task])
    assert len(rig.exchange.windows) == len(set(rig.exchange.windows)) == 15 + 1


async def test_who_leaves_frees_the_place_it_waits_for(rig):
    asker = Asker(rig, span("2024-02-12", "2024-02-13"))
    await eventually(lambda: bool(rig.source.waiting))

    await asker.leave()
    await eventually(lambda: not rig.source.waiting)

    assert rig.exchange.windows == []


async def test_a_page_that_waits_for_one_who_left_goes_to_one_who_stayed(rig):
    leaving = Asker(rig, span("2024-02-12", "2024-02-12T01:00"))
    await eventually(lambda: bool(rig.source.waiting))
    staying = Asker(rig, span("2024-02-14", "2024-02-14T00:30"))
    await eventually(lambda: rig.source.wants_at_most(30))

    await leaving.leave()
    await rig.source.grant()
    await asyncio.wait([staying.task])

    assert rig.exchange.windows == [span("2024-02-14", "2024-02-14T00:30")]


async def test_a_page_that_is_tried_again_brings_the_same(rig, listed):
    """Also if somebody came meanwhile who lacks less."""
    rig.source.failures_left = 1
    first = Asker(rig, span("2024-02-12", "2024-02-12T01:00"))
    await rig.source.grant()
    second = Asker(rig, span("2024-02-14", "2024-02-14T00:30"))
    await eventually(lambda: rig.source.wants_at_most(30))

    await rig.source.grant(2)
    await asyncio.wait([first.task, second.task])

    assert rig.exchange.windows == [span("2024-02-14", "2024-02-14T00:30"), span("2024-02-12", "2024-02-12T01:00")]


async def test_a_page_that_is_to_be_tried_again_is_given_up_when_who_wanted_it_leaves(rig, listed):
    """Others stay with its flight, who want nothing of it."""
    leaving = Asker(rig, span("2024-02-12", "2024-02-12T01:00"))
    await eventually(lambda: rig.source.wants_at_most(60))
    rig.source.failures_left = 1
    staying = Asker(rig, span("2024-02-14", "2024-02-15"))
    await rig.source.grant()
    await eventually(lambda: len(rig.source.waiting) == 2)

    await leaving.leave()
    await eventually(lambda: len(rig.source.waiting) == 1)
    await rig.source.grant(15)
    await asyncio.wait([staying.task])

    assert {window.start.day for window in rig.exchange.windows} == {14}


async def test_no_other_try_is_made_for_who_left_while_its_flight_is_storing(rig, listed, monkeypatch):
    leaving = Asker(rig, span("2024-02-12", "2024-02-12T01:00"))
    await eventually(lambda: rig.source.wants_at_most(60))
    rig.source.failures_left = 1
    staying = Asker(rig, span("2024-02-14", "2024-02-14T03:00"))
    await rig.source.grant()
    await eventually(lambda: len(rig.source.waiting) == 2)
    storing, may_store = asyncio.Event(), asyncio.Event()
    commit = rig.storage.commit

    async def slow_commit(*arguments):
        storing.set()
        await may_store.wait()
        return await commit(*arguments)

    monkeypatch.setattr(rig.storage, "commit", slow_commit)
    served = Asker(rig, span("2024-02-12T12:00", "2024-02-12T12:30"))
    await eventually(lambda: rig.source.wants_at_most(30))
    await rig.source.grant()
    await storing.wait()

    await leaving.leave()
    await rig.source.grant(2)  # a page of who stays, and the one that nobody wants
    may_store.set()
    await rig.source.grant()
    await asyncio.wait([staying.task, served.task])

    assert [window.start.hour for window in rig.exchange.windows] == [12, 0, 1]
    assert {window.start.day for window in rig.exchange.windows[1:]} == {14}


async def test_who_leaves_frees_the_place_of_its_page_though_others_stay_with_the_flight(rig, listed, monkeypatch):
    async def no_answer(*_):
        await asyncio.Event().wait()

    leaving = Asker(rig, span("2024-02-12", "2024-02-12T01:00"))
    await eventually(lambda: rig.source.wants_at_most(60))
    staying = Asker(rig, span("2024-02-14", "2024-02-14T03:00"))
    with monkeypatch.context() as silent:
        silent.setattr(rig.exchange, "fetch_ohlcv", no_answer)
        await rig.source.grant()
        await eventually(lambda: rig.source.conditions()["fake"].under_way == 1)

    await leaving.leave()
    await eventually(lambda: rig.source.conditions()["fake"].under_way == 0)
    await rig.source.grant(2)
    await asyncio.wait([staying.task])

    assert {window.start.day for window in rig.exchange.windows} == {14}


@pytest.mark.parametrize("refuses_windows", [True, False])
async def test_a_question_that_the_exchange_refuses_ends_as_a_gap_with_its_reason(rig, refuses_windows):
    """Also where it is not even put, because the exchange is known to be down."""
    rig.source.refusal = ExchangeRefusalError("fake", "start is too far back")
    rig.source.refuses_windows = refuses_windows
    asker = Asker(rig, span("2024-02-12", "2024-02-12T03:00"))

    await rig.source.grant(2)
    await asyncio.wait([asker.task])

    [gap] = asker.receipt.gaps  # two of one moment
    assert (gap.range, gap.state) == (span("2024-02-12", "2024-02-12T03:00"), State.FAILED)
    assert gap.reason == "start is too far back"
