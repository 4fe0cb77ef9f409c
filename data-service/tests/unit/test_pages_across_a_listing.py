"""A page that begins before the first bar: what it leaves out there is told apart from a hole between two bars."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fake_exchange import Anchoring, FakeExchange, rows_at
from history_rig import SERIES, HistoryRig
from unit_builders import assert_same_rows, minute, minute_numbers, minutes

from cb_trade_data.errors import ExchangeRefusalError, UnknownSymbolError
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.partition import Partition, partitions_of
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change

DAY = timedelta(days=1)
LATER = minute(0) + 30 * DAY
#: Listed in minute 20, with a hole from minute 30 to 34.
BARS = [*range(20, 30), *range(35, 60)]


def connect(rig: HistoryRig, exchange_class: type[FakeExchange] = FakeExchange) -> FakeExchange:
    """Put an exchange with those bars behind the rig."""
    rig.connect(exchange_class(map(minute, BARS), 5000, Anchoring.START, now=rig.present))
    return rig.exchange


@pytest.fixture
def rig(tmp_path) -> HistoryRig:
    rig = HistoryRig(tmp_path, LATER)
    connect(rig)
    return rig


async def states(rig: HistoryRig, first: int, end: int, **options) -> list[tuple[State, int, int]]:
    _, receipt = await rig.answer(minutes(first, end), **options)
    return told(receipt.coverage)


def told(segments) -> list[tuple[State, int, int]]:
    numbers = [minute_numbers([segment.range]) for segment in segments]
    return [(segment.state, each[0], each[-1] + 1) for segment, each in zip(segments, numbers, strict=True)]


async def test_what_a_page_leaves_out_before_the_first_bar_is_unlisted(rig):
    expected = [(State.UNLISTED, 0, 20), (State.HELD, 20, 60)]

    assert await states(rig, 0, 60) == expected
    assert (len(rig.exchange.windows), rig.exchange.probes) == (1, 1)
    assert await states(rig, 0, 60) == expected
    connect(rig)
    assert await states(rig, -9, 60) == [(State.UNLISTED, -9, 20), (State.HELD, 20, 60)]
    assert (len(rig.exchange.windows), rig.exchange.probes) == (0, 0)


async def test_a_page_that_begins_with_the_first_bar_asked_for_leads_to_no_look(rig):
    assert await states(rig, 25, 60) == [(State.HELD, 25, 60)]
    assert rig.exchange.probes == 0


async def test_a_page_that_begins_in_a_hole_between_two_bars_holds_it_and_leads_to_one_look_at_most(rig):
    assert await states(rig, 32, 50) == [(State.HELD, 32, 50)]
    assert await states(rig, 31, 60) == [(State.HELD, 31, 60)]
    assert rig.exchange.probes == 1


async def test_where_a_bar_from_before_is_known_nobody_looks(rig):
    await rig.answer(minutes(20, 25))

    assert await states(rig, 32, 50) == [(State.HELD, 32, 50)]
    assert rig.exchange.probes == 0


async def test_a_look_that_fails_loses_no_row_and_leaves_a_gap_that_the_next_request_settles(rig):
    class Mute(FakeExchange):
        async def fetch_first_open(self, series):
            raise ExchangeRefusalError("fake", "we do not tell")

    connect(rig, Mute)
    rows, receipt = await rig.answer(minutes(0, 60))

    assert_same_rows(rows, rows_at(map(minute, BARS)))
    assert told(receipt.coverage) == [(State.FAILED, 0, 20), (State.HELD, 20, 60)]
    assert [gap.reason for gap in receipt.gaps] == ["we do not tell"]
    connect(rig)
    assert await states(rig, 0, 60) == [(State.UNLISTED, 0, 20), (State.HELD, 20, 60)]
    assert rig.exchange.windows == [minutes(0, 20)]


@pytest.mark.parametrize("first_open", [minute(25), None])
async def test_a_listing_that_the_page_contradicts_is_not_believed(rig, first_open):
    class Lying(FakeExchange):
        async def fetch_first_open(self, series):
            return first_open

    connect(rig, Lying)
    rows, receipt = await rig.answer(minutes(0, 60))

    assert_same_rows(rows, rows_at(map(minute, BARS)))
    assert told(receipt.coverage) == [(State.FAILED, 0, 20), (State.HELD, 20, 60)]
    assert (await rig.storage.facts(SERIES)).listed_at is None


async def test_a_symbol_that_vanishes_before_the_look_takes_no_row_with_it(rig):
    class Vanishing(FakeExchange):
        async def fetch_first_open(self, series):
            raise UnknownSymbolError("fake", series.symbol)

    connect(rig, Vanishing)
    rows, receipt = await rig.answer(minutes(0, 60))

    assert_same_rows(rows, rows_at(map(minute, BARS)))
    assert told(receipt.coverage) == [(State.FAILED, 0, 20), (State.HELD, 20, 60)]


async def test_a_listing_that_somebody_else_found_meanwhile_and_the_page_contradicts_is_taken_back(rig):
    class Overtaken(FakeExchange):
        async def fetch_ohlcv(self, series, window) -> Page:
            page = await super().fetch_ohlcv(series, window)
            await rig.storage.commit_facts(SERIES, SeriesFacts("BTCUSDT").with_listing(minute(25), LATER))
            return page

    connect(rig, Overtaken)
    rows, receipt = await rig.answer(minutes(0, 60))

    assert_same_rows(rows, rows_at(map(minute, BARS)))
    assert told(receipt.coverage) == [(State.EMPTY, 0, 20), (State.HELD, 20, 60)]
    assert rig.exchange.probes == 0


async def test_while_it_is_too_early_for_another_look_there_being_nothing_is_dated_evidence(rig):
    """A market whose first bar was looked for in vain, and came within a day."""
    connect(rig).opens = []
    rig.now = minute(50)
    assert await states(rig, -2000, 20) == [(State.EMPTY, -2000, 20)]
    connect(rig)
    rig.now += timedelta(hours=2)

    assert (await states(rig, -2000, 60))[:2] == [(State.EMPTY, -2000, 20), (State.HELD, 20, 30)]
    assert rig.exchange.probes == 0
    rig.now += 8 * DAY
    assert await states(rig, -2000, 60) == [(State.UNLISTED, -2000, 20), (State.HELD, 20, 60)]
    assert rig.exchange.probes == 1


async def test_a_young_listing_is_unlisted_before_it_and_its_holes_are_empty_so_far(rig):
    rig.now = minute(90)

    assert await states(rig, 0, 60) == [
        (State.UNLISTED, 0, 20),
        (State.HELD, 20, 30),
        (State.EMPTY, 30, 35),
        (State.HELD, 35, 60),
    ]


async def test_a_bar_of_which_only_unusable_rows_came_is_no_silence(rig):
    """The first bar of a market, sent with a price of nothing, and well when it is asked for again."""

    class Stammering(FakeExchange):
        async def fetch_ohlcv(self, series, window) -> Page:
            page = await super().fetch_ohlcv(series, window)
            if len(self.windows) > 1:
                return page
            low = [-1.0, *page.rows["low"].to_pylist()[1:]]
            return Page(page.rows.set_column(3, page.rows.schema.field(3), [low]))

    connect(rig, Stammering)
    rows, receipt = await rig.answer(minutes(0, 60))

    assert_same_rows(rows, rows_at(map(minute, BARS)))
    assert told(receipt.coverage) == [(State.UNLISTED, 0, 20), (State.HELD, 20, 60)]
    assert rig.exchange.windows == [minutes(0, 60), minutes(20, 21)]


async def test_an_exchange_that_nobody_has_proven_tells_it_too(rig):
    exchange = FakeExchange(map(minute, BARS), 100, Anchoring.START, now=rig.present, is_proven=False)
    rig.connect(exchange)

    assert (await states(rig, 0, 30))[:1] == [(State.UNLISTED, 0, 20)]


async def test_an_exchange_that_serves_only_its_newest_bars_tells_it_too(rig):
    rig.connect(FakeExchange(map(minute, BARS), 100, Anchoring.NEWEST_ONLY, jumps_to_first=False, now=rig.present))
    rig.now = minute(90)

    assert (await states(rig, 0, 60))[:2] == [(State.UNLISTED, 0, 20), (State.HELD, 20, 30)]


async def test_what_was_once_held_before_the_listing_is_unlisted_once_that_is_known(rig):
    [(partition, _)] = partitions_of(SERIES, minutes(0, 60))
    await write_held(rig, partition, minutes(0, 60))
    assert await states(rig, 0, 60) == [(State.HELD, 0, 60)]

    await rig.answer(minutes(-10, 0))

    expected = [(State.UNLISTED, 0, 20), (State.HELD, 20, 60)]
    assert await states(rig, 0, 60) == expected
    page = await rig.manager.coverage(SERIES, minute(0), minute(60), limit=10)
    assert told(page.segments) == expected


async def test_a_refresh_of_what_was_once_held_before_the_listing_finds_it_out(rig):
    [(partition, _)] = partitions_of(SERIES, minutes(0, 60))
    await write_held(rig, partition, minutes(0, 60))

    assert await states(rig, 10, 60, refresh=True) == [(State.UNLISTED, 10, 20), (State.HELD, 20, 60)]


async def write_held(rig: HistoryRig, partition: Partition, held: TimeRange) -> None:
    """Store what a page of *held* was once taken for: everything that it leaves out is held."""
    await rig.storage.commit_facts(SERIES, SeriesFacts("BTCUSDT"))
    change = Change(rows_at(map(minute, BARS)), (Segment(held, State.HELD),))
    await rig.storage.commit(await rig.storage.read(partition), [change])
