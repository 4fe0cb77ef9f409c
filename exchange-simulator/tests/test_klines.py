"""Klines over HTTP follow Binance's rules of selection and format."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cb_trade_simulator.clock import DAY_MS, MINUTE_MS, to_milliseconds

from .conftest import NOW

START_MS = to_milliseconds(datetime(2024, 3, 1, tzinfo=UTC))
LISTED_MS = to_milliseconds(datetime(2020, 8, 11, 6, tzinfo=UTC))  # SOL/USDT
DECIMAL = re.compile(r"\d+\.\d{8}")


def opens(reply):
    return [row[0] for row in reply.json]


async def test_both_ends_are_inclusive_by_open_time(get):
    reply = await get("klines", symbol="BTCUSDT", interval="1m", startTime=START_MS, endTime=START_MS + 2 * MINUTE_MS)

    assert opens(reply) == [START_MS, START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS]


async def test_a_start_between_two_opens_gives_the_later_one(get):
    reply = await get("klines", symbol="BTCUSDT", interval="1h", startTime=START_MS + 1, limit=1)

    assert opens(reply) == [START_MS + 60 * MINUTE_MS]


@pytest.mark.parametrize(("query", "count"), [({}, 500), ({"limit": 7}, 7), ({"limit": 5000}, 1000)])
async def test_a_page_holds_500_rows_unless_asked_and_never_more_than_1000(query, count, get):
    reply = await get("klines", symbol="BTCUSDT", interval="1m", startTime=START_MS, **query)

    assert opens(reply) == [START_MS + minute * MINUTE_MS for minute in range(count)]


async def test_without_a_start_the_newest_candles_come(get):
    this_minute_ms = to_milliseconds(NOW.replace(second=0))

    reply = await get("klines", symbol="BTCUSDT", interval="1m", limit=3)

    assert opens(reply) == [this_minute_ms - 2 * MINUTE_MS, this_minute_ms - MINUTE_MS, this_minute_ms]


async def test_with_only_an_end_the_newest_before_it_come(get):
    reply = await get("klines", symbol="BTCUSDT", interval="1d", endTime=START_MS, limit=3)

    assert opens(reply) == [START_MS - 2 * DAY_MS, START_MS - DAY_MS, START_MS]


async def test_before_the_listing_the_answer_jumps_to_the_first_candle(get):
    reply = await get("klines", symbol="SOLUSDT", interval="1m", startTime=0, limit=2)

    assert opens(reply) == [LISTED_MS, LISTED_MS + MINUTE_MS]


async def test_a_window_that_ends_before_the_listing_is_empty(get):
    reply = await get("klines", symbol="SOLUSDT", interval="1m", startTime=0, endTime=LISTED_MS - 1)

    assert reply.json == []


async def test_a_window_that_ends_before_it_starts_is_empty(get):
    reply = await get("klines", symbol="SOLUSDT", interval="1m", startTime=START_MS, endTime=START_MS - 1)

    assert reply.json == []


async def test_the_future_is_empty(get):
    reply = await get("klines", symbol="BTCUSDT", interval="1m", startTime=to_milliseconds(NOW) + MINUTE_MS)

    assert reply.json == []


async def test_a_page_reaches_across_an_outage_to_be_full(get):
    before_ms = to_milliseconds(datetime(2020, 6, 28, 1, 58, tzinfo=UTC))

    forwards = await get("klines", symbol="BTCUSDT", interval="1m", startTime=before_ms, limit=4)
    backwards = await get("klines", symbol="BTCUSDT", interval="1m", endTime=before_ms + 183 * MINUTE_MS, limit=4)

    assert opens(forwards) == [before_ms + minute * MINUTE_MS for minute in (0, 1, 182, 183)]
    assert forwards.json == backwards.json


async def test_weeks_open_on_monday_and_months_on_the_first(get):
    weeks = await get("klines", symbol="BTCUSDT", interval="1w", startTime=0, limit=2)
    months = await get("klines", symbol="BTCUSDT", interval="1M", startTime=0, limit=2)

    assert opens(weeks) == [to_milliseconds(datetime(2017, 8, day, tzinfo=UTC)) for day in (14, 21)]
    assert opens(months) == [to_milliseconds(datetime(2017, month, 1, tzinfo=UTC)) for month in (8, 9)]
    assert months.json[0][6] == to_milliseconds(datetime(2017, 9, 1, tzinfo=UTC)) - 1


async def test_a_row_has_the_twelve_fields_of_binance(get):
    rows = (await get("klines", symbol="BTCUSDT", interval="5m", startTime=START_MS, limit=10)).json

    for row in rows:
        opened, *prices, volume, closed, worth, trades, taker_volume, taker_worth, unused = row
        assert closed == opened + 5 * MINUTE_MS - 1
        assert isinstance(trades, int)
        assert unused == "0"
        assert all(DECIMAL.fullmatch(text) for text in (*prices, volume, worth, taker_volume, taker_worth))


@pytest.mark.parametrize(("market", "tick"), [("BTCUSDT", "000000"), ("SOLUSDT", "0000"), ("ADABTC", "")])
async def test_prices_lie_on_the_tick_grid(market, tick, get):
    rows = (await get("klines", symbol=market, interval="1m", startTime=START_MS, limit=200)).json

    assert all(price.endswith(tick) for row in rows for price in row[1:5])


@pytest.mark.parametrize("symbol", ["BTC/USDT", "ADA/BTC", "PEPE/USDT"])
@pytest.mark.parametrize("interval", ["1m", "1h", "1w", "1M"])
async def test_the_truth_equals_the_floats_of_the_wire(symbol, interval, get, simulator):
    start = datetime(2024, 1, 1, tzinfo=UTC)
    end = datetime(2024, 1, 1, 12, tzinfo=UTC) if interval == "1m" else datetime(2024, 4, 1, tzinfo=UTC)
    page = {"symbol": symbol.replace("/", ""), "interval": interval, "limit": 1000}
    span = {"startTime": to_milliseconds(start), "endTime": to_milliseconds(end) - 1}
    if interval == "1h":
        end = start + timedelta(hours=1000)

    wire = (await get("klines", **page, **span)).json
    truth = simulator.candles(symbol, interval, start, end)

    assert truth.dtype.names == ("timestamp", "open", "high", "low", "close", "volume")
    assert truth.dtype["open"] == np.float64
    assert truth.tolist() == [(row[0], *(float(text) for text in row[1:6])) for row in wire]


@pytest.mark.parametrize("day", [datetime(2020, 1, 1), "2020-01-01"])  # noqa: DTZ001 - that is the point
async def test_the_truth_is_not_told_for_times_without_zone(day, simulator):
    with pytest.raises((ValueError, AttributeError)):
        simulator.candles("BTC/USDT", "1m", day, NOW)
