from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from fake_exchange import Anchoring, FakeExchange
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick, utc

from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.exchange_source.lifetime import first_open, last_open
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

NOW = utc("2026-11-21T15:24:30")
BINANCE = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
COINBASE = ("1m", "5m", "15m", "30m", "1h", "2h", "6h", "1d")
KRAKEN = ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "2w")


class Market:
    """Has a bar in every minute from one instant to another, without making them all."""

    def __init__(
        self, first: datetime, end: datetime, timeframes: tuple[str, ...], limit: int, *, is_newest_only: bool = False
    ) -> None:
        self.facts = ExchangeFacts("fake", timeframes, limit, history_bars=limit if is_newest_only else None)
        self.first, self.end = first, end
        self.calls: list[TimeRange] = []

    async def fetch(self, series: Series, window: TimeRange) -> Page:
        assert series.grid.bars_in(window) <= self.facts.page_limit_bars
        assert str(series.grid) in self.facts.timeframes
        self.calls.append(window)
        grid, last = series.grid, min(self.end, NOW) - timedelta(microseconds=1)
        opens: list[datetime] = []
        if self.facts.history_bars is not None:
            newest = [grid.advance(last, -back) for back in range(self.facts.history_bars)]
            opens = [open_time for open_time in newest if open_time >= grid.floor(self.first)]
        elif self.first < last and (lived := window.intersect(TimeRange(grid.floor(self.first), last))) is not None:
            opens = [grid.advance(lived.start, bar) for bar in range(grid.bars_in(lived))]
        return await FakeExchange(opens, 10_000, Anchoring.START, timeframes=self.facts.timeframes).fetch_ohlcv(
            Series("fake", "BTC/USDT", Kind.OHLCV, grid), TimeRange(utc("1970-01-01"), utc("2100-01-01"))
        )

    async def first_open(self, timeframe: str) -> datetime | None:
        return await first_open(self.fetch, self.facts, of(timeframe), NOW)

    async def last_open(self, timeframe: str) -> datetime | None:
        return await last_open(self.fetch, self.facts, of(timeframe), NOW)


def of(timeframe: str) -> Series:
    return Series("fake", "BTC/USDT", Kind.OHLCV, Timeframe.parse(timeframe))


@pytest.mark.parametrize("listed_at", [utc("2017-08-17T04:00"), utc("2026-11-20T10:07"), utc("2010-07-18T00:01")])
@pytest.mark.parametrize(
    ("timeframes", "limit", "most_calls"),
    [(BINANCE, 1000, 5), (COINBASE, 300, 7), (BINANCE, 300, 7), (BINANCE, 100, 9)],
)
async def test_the_first_minute_is_found_with_few_calls(listed_at, timeframes, limit, most_calls):
    market = Market(listed_at, NOW, timeframes, limit)

    assert await market.first_open("1m") == listed_at
    assert len(market.calls) <= most_calls


@pytest.mark.parametrize(
    ("timeframe", "opened"), [("1h", "2017-08-17T04:00"), ("1d", "2017-08-17"), ("3d", "2017-08-16")]
)
async def test_the_first_bar_is_one_of_the_series_own(timeframe, opened):
    market = Market(utc("2017-08-17T04:00"), NOW, BINANCE, 1000)

    assert await market.first_open(timeframe) == utc(opened)
    assert len(market.calls) <= 5


@pytest.mark.parametrize(("timeframe", "opened"), [("1w", "2017-08-14"), ("1M", "2017-08-01")])
async def test_of_bars_longer_than_a_day_all_fit_into_one_page(timeframe, opened):
    market = Market(utc("2017-08-17T04:00"), NOW, BINANCE, 1000)

    assert await market.first_open(timeframe) == utc(opened)
    assert len(market.calls) == 1


async def test_the_first_bar_of_a_market_that_ended_long_ago_is_found():
    market = Market(utc("2012-03-04T05:06"), utc("2012-05-06T07:08"), BINANCE, 1000)

    assert await market.first_open("1m") == utc("2012-03-04T05:06")
    assert len(market.calls) <= 11


async def test_a_market_that_never_had_a_bar_has_no_first_and_no_last_one():
    market = Market(NOW + timedelta(days=1), NOW + timedelta(days=2), BINANCE, 1000)

    assert await market.first_open("1m") is None
    assert await market.last_open("1m") is None
    assert len(market.calls) == 2 * 7


@pytest.mark.parametrize(
    ("end", "most_calls"),
    [("2026-11-01T12:34", 3), ("2026-11-21T15:24", 3), ("2022-05-13T00:40", 6), ("2012-05-06T07:08", 8)],
)
async def test_the_last_minute_is_found_with_few_calls(end, most_calls):
    market = Market(utc("2012-03-04"), utc(end), BINANCE, 1000)

    assert await market.last_open("1m") == utc(end) - timedelta(minutes=1)
    assert len(market.calls) <= most_calls


async def test_the_last_open_is_that_of_a_closed_bar():
    market = Market(utc("2012-03-04"), NOW, BINANCE, 1000)

    assert await market.last_open("1m") == utc("2026-11-21T15:23")
    assert await market.last_open("1d") == utc("2026-11-20")


@quick(60)
@given(
    st.integers(0, 6_000 * 1440),
    st.integers(1, 6_000 * 1440),
    st.sampled_from([(BINANCE, 1000), (COINBASE, 300), (BINANCE, 100)]),
)
async def test_any_lifetime_is_found(begin, length, exchange):
    first = utc("2010-01-02") + timedelta(minutes=begin)
    end = min(first + timedelta(minutes=length), NOW.replace(second=0))
    market = Market(first, end, *exchange)

    assert await market.first_open("1m") == first
    assert await market.last_open("1m") == end - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("listed_at", "found"),
    [
        ("2026-11-21T09:10", "2026-11-21T09:10"),  # of minutes, too, all are served
        ("2026-11-20T09:10", "2026-11-20T09:10"),
        ("2026-10-01T09:10", "2026-10-01T09:00"),  # hours go back a month, four of them a third of a year
        ("2025-10-01T09:10", "2025-10-01T00:00"),
        ("2016-03-04T09:10", "2016-02-29T00:00"),
    ],
)
async def test_where_only_the_newest_bars_are_served_the_longest_of_which_all_are_served_tell_the_first(
    listed_at, found
):
    """Nothing is before it; it may be earlier than the first bar by less than a bar of the longer timeframe."""
    market = Market(utc(listed_at), NOW, KRAKEN, 720, is_newest_only=True)

    first = await market.first_open("1m")

    assert first <= utc(listed_at)
    assert utc(listed_at) - first < timedelta(days=7)
    assert len(market.calls) <= len(KRAKEN)


async def test_where_not_even_the_longest_newest_bars_reach_back_the_first_is_as_old_as_exchanges():
    market = Market(utc("2011-01-01"), NOW, ("1m", "1d"), 720, is_newest_only=True)

    assert await market.first_open("1m") == utc("2010-01-01")
    assert len(market.calls) == 1


@pytest.mark.parametrize("stray", [utc("2190-01-01"), utc("2015-05-05T05:05"), utc("1999-01-01")])
@pytest.mark.parametrize("search", [first_open, last_open])
async def test_an_answer_to_another_question_ends_the_search(search, stray):
    """It says nothing about whether there are bars."""
    exchange = FakeExchange([], 1000, Anchoring.START, timeframes=("1d",))
    exchange.spoil = lambda opens: [stray]

    with pytest.raises(ExchangeUnavailableError, match="does not fit the question"):
        await search(exchange.fetch_ohlcv, exchange.facts, of("1d"), NOW)


async def test_an_unproven_exchange_that_sends_its_newest_bars_whatever_it_is_asked_does_not_begin_with_them():
    days = [utc("2026-01-25") + timedelta(days=number) for number in range(300)]
    exchange = FakeExchange(days, 10, timeframes=("1d",), is_proven=False)
    exchange.spoil = lambda opens: days[-10:]

    with pytest.raises(ExchangeUnavailableError, match="from before those"):
        await first_open(exchange.fetch_ohlcv, exchange.facts, of("1d"), NOW)


async def test_an_unproven_exchange_that_answers_from_the_start_begins_where_it_does():
    days = [utc("2020-01-01") + timedelta(days=number) for number in range(300)]
    exchange = FakeExchange(days, 100, timeframes=("1d",), is_proven=False)

    assert await first_open(exchange.fetch_ohlcv, exchange.facts, of("1d"), NOW) == days[0]
