"""Where a series begins and ends: looked up when an answer depends on it, at most once a day, and never for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fake_exchange import SYMBOL, Anchoring, FakeExchange, rows_at
from history_rig import SERIES, HistoryRig
from unit_builders import assert_same_rows, minute, minute_numbers, minutes

from cb_trade_data.errors import UnknownSymbolError
from cb_trade_data.exchange_source.interfaces import Market
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.series_facts import SeriesFacts

LATER = minute(0) + timedelta(days=30)
DAY = timedelta(days=1)
INACTIVE = Market("BTCUSDT", is_active=False)
BARS = minutes(0, 40)


@pytest.fixture
def rig(tmp_path) -> HistoryRig:
    """At an exchange that had bars in the minutes 0 to 39."""
    rig = HistoryRig(tmp_path, LATER)
    opens = map(minute, range(40))
    return rig.connect(FakeExchange(opens, 50, Anchoring.START, timeframes=("1m", "1h", "1d"), now=rig.present))


async def states(rig: HistoryRig, first: int, end: int, **options) -> list[tuple[State, int, int]]:
    _, receipt = await rig.answer(minutes(first, end), **options)
    numbers = [minute_numbers([segment.range]) for segment in receipt.coverage]
    return [(segment.state, each[0], each[-1] + 1) for segment, each in zip(receipt.coverage, numbers, strict=True)]


async def test_a_market_that_is_inactive_when_first_met_ends_with_its_last_bar(rig):
    rig.exchange.markets[SYMBOL] = INACTIVE

    assert await states(rig, 0, 90) == [(State.HELD, 0, 40), (State.DELISTED, 40, 90)]
    calls = len(rig.exchange.windows)
    assert await states(rig, 30, 900) == [(State.HELD, 30, 40), (State.DELISTED, 40, 900)]
    assert len(rig.exchange.windows) == calls


async def test_an_empty_page_of_a_market_that_became_inactive_leads_to_its_last_bar(rig):
    await rig.answer(minutes(0, 20))
    rig.exchange.markets[SYMBOL] = INACTIVE

    assert await states(rig, 100, 300) == [(State.DELISTED, 100, 300)]
    assert await states(rig, 0, 60) == [(State.HELD, 0, 40), (State.DELISTED, 40, 60)]


async def test_an_empty_page_of_a_market_that_is_traded_ends_nothing(rig):
    assert await states(rig, 100, 300) == [(State.EMPTY, 100, 300)]
    assert (await rig.storage.facts(SERIES)).delisting_checked_at is None


async def test_an_end_is_looked_up_again_after_a_day_and_a_market_that_is_traded_again_has_none(rig):
    rig.exchange.markets[SYMBOL] = INACTIVE
    await rig.answer(minutes(0, 60))
    rig.exchange.markets[SYMBOL] = Market("BTCUSDT")
    rig.exchange.opens += [minute(50), minute(51)]

    assert (await states(rig, 30, 60))[-1] == (State.DELISTED, 40, 60)
    rig.now += DAY
    assert await states(rig, 30, 40) == [(State.HELD, 30, 40)]  # does not depend on it
    assert (await rig.storage.facts(SERIES)).delisted_at is not None
    rows, _ = await rig.answer(minutes(30, 60))

    assert_same_rows(rows, rows_at(map(minute, [*range(30, 40), 50, 51])))
    assert (await rig.storage.facts(SERIES)).delisted_at is None


async def test_an_end_that_is_still_one_is_looked_up_once_a_day(rig):
    rig.exchange.markets[SYMBOL] = INACTIVE
    await rig.answer(minutes(0, 60))
    rig.now += DAY
    await rig.answer(minutes(0, 60))
    calls = len(rig.exchange.windows)

    await rig.answer(minutes(0, 60))

    assert len(rig.exchange.windows) == calls


async def test_of_a_symbol_that_vanished_what_is_stored_is_delivered_and_the_rest_failed_with_the_reason(rig):
    await rig.answer(minutes(10, 20))
    rig.exchange.markets.clear()

    rows, receipt = await rig.answer(minutes(0, 90))
    assert_same_rows(rows, rows_at(map(minute, range(10, 20))))
    assert [(gap.range, gap.state, gap.reason) for gap in receipt.gaps] == [
        (part, State.FAILED, "fake does not list BTC/USDT any more") for part in (minutes(0, 10), minutes(20, 90))
    ]
    assert await states(rig, 0, 90) == [(State.FAILED, 0, 10), (State.HELD, 10, 20), (State.FAILED, 20, 90)]
    assert (await rig.storage.facts(SERIES)).delisted_at is None


async def test_of_a_symbol_that_vanished_after_its_end_was_found_the_end_stays(rig):
    rig.exchange.markets[SYMBOL] = INACTIVE
    await rig.answer(minutes(10, 60))
    rig.exchange.markets.clear()
    rig.now += DAY

    assert await states(rig, 10, 90) == [(State.HELD, 10, 40), (State.DELISTED, 40, 90)]
    assert await states(rig, 5, 90) == [(State.FAILED, 5, 10), (State.HELD, 10, 40), (State.DELISTED, 40, 90)]


async def test_a_market_that_is_only_halted_has_not_ended(rig):
    rig.now = minute(45)
    rig.exchange.markets[SYMBOL] = INACTIVE
    assert (State.DELISTED) not in {state for state, *_ in await states(rig, 0, 45)}

    rig.exchange.markets[SYMBOL] = Market("BTCUSDT")
    rig.exchange.opens += map(minute, range(50, 100))
    rig.now = minute(200)
    rows, _ = await rig.answer(minutes(0, 100))

    assert_same_rows(rows, rows_at(map(minute, [*range(40), *range(50, 100)])))


async def test_of_a_symbol_that_was_renamed_the_reason_tells_the_new_name(rig):
    await rig.answer(minutes(10, 20))
    rig.exchange.markets = {"NEW/USDT": Market("BTCUSDT")}

    _, receipt = await rig.answer(minutes(0, 15))

    assert [gap.reason for gap in receipt.gaps] == ["fake calls BTC/USDT NEW/USDT now"]


async def test_a_refresh_of_a_symbol_that_vanished_delivers_what_is_stored_and_says_that_it_failed(rig):
    await rig.answer(minutes(0, 20))
    rig.exchange.markets.clear()

    rows, receipt = await rig.answer(minutes(0, 20), refresh=True)

    assert rows.num_rows == 20
    assert [(gap.range, gap.state) for gap in receipt.gaps] == [(minutes(0, 20), State.FAILED)]


async def test_a_symbol_that_vanished_before_a_bar_was_stored_ends_nowhere(rig):
    await rig.register.facts(SERIES)
    rig.exchange.markets.clear()

    assert await states(rig, 0, 90) == [(State.FAILED, 0, 90)]
    assert (await rig.storage.facts(SERIES)).delisted_at is None


async def test_a_symbol_that_nobody_knows_stays_unknown(rig):
    rig.exchange.markets.clear()

    with pytest.raises(UnknownSymbolError):
        await rig.answer(BARS)


async def test_a_symbol_that_came_back_is_asked_for_again(rig):
    await rig.answer(minutes(10, 20))
    markets = dict(rig.exchange.markets)
    rig.exchange.markets.clear()
    await rig.answer(minutes(0, 90))
    rig.exchange.markets.update(markets)
    rig.now += DAY

    rows, _ = await rig.answer(minutes(0, 90))

    assert_same_rows(rows, rows_at(map(minute, range(40))))


async def test_a_listing_that_a_bar_proves_wrong_is_taken_back(rig):
    await rig.storage.commit_facts(SERIES, SeriesFacts("BTCUSDT").with_listing(minute(20), LATER - DAY))

    same = await rig.register.note_older_bar(SERIES, minute(20), LATER)
    taken_back = await rig.register.note_older_bar(SERIES, minute(19), LATER)

    assert same.listed_at == minute(20)
    assert (taken_back.listed_at, taken_back.listing_checked_at) == (None, LATER)
    assert (await rig.answer(BARS))[0].num_rows == 40
