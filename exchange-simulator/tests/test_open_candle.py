"""The candle that holds now is unfinished, on every timeframe, until its time is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cb_trade_simulator.clock import MINUTE_MS, to_milliseconds
from cb_trade_simulator.markets.timeframes import TIMEFRAMES

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


async def last_rows(get, interval, count=2, symbol="BTCUSDT"):
    return (await get("klines", symbol=symbol, interval=interval, limit=count)).json


@pytest.mark.parametrize("interval", TIMEFRAMES)
async def test_the_last_candle_is_made_only_of_what_has_happened(interval, get, clock):
    clock.set(NOON + timedelta(seconds=30))
    unfinished = (await last_rows(get, interval))[-1]
    assert unfinished[6] >= to_milliseconds(clock.now())

    clock.advance(timedelta(days=40))
    final = (await get("klines", symbol="BTCUSDT", interval=interval, startTime=unfinished[0], limit=1)).json[0]

    assert final[0] == unfinished[0]
    assert final[1] == unfinished[1]  # it opened where it opened
    assert float(final[2]) >= float(unfinished[2])
    assert float(final[3]) <= float(unfinished[3])
    assert float(final[5]) > float(unfinished[5])
    assert final[8] > unfinished[8]


async def test_an_unfinished_minute_grows_with_the_clock(get, clock):
    clock.set(NOON)
    volumes = []
    for _ in range(6):
        clock.advance(timedelta(seconds=9.9))
        volumes.append(float((await last_rows(get, "1m"))[-1][5]))

    assert volumes == sorted(set(volumes))


async def test_candles_before_the_open_one_are_final(get, clock):
    clock.set(NOON + timedelta(seconds=1))
    before = (await last_rows(get, "1m", 10))[:-1]

    clock.advance(timedelta(days=1))
    after = (await get("klines", symbol="BTCUSDT", interval="1m", startTime=before[0][0], limit=9)).json

    assert before == after


async def test_at_the_very_open_a_minute_is_flat_at_the_close_before_it(get, clock):
    """Midnight, because then the close before it is in another day."""
    clock.set(datetime(2024, 5, 1, tzinfo=UTC))

    before, opened = await last_rows(get, "1m", symbol="ADABTC")

    assert opened[0] == to_milliseconds(clock.now())
    assert opened[1:5] == [before[4]] * 4
    assert float(opened[5]) == opened[8] == 0


async def test_the_truth_holds_closed_candles_only(simulator, clock):
    clock.set(NOON + timedelta(seconds=30))
    assert simulator.candles("BTC/USDT", "1m", NOON - timedelta(minutes=5), NOON + timedelta(hours=1))[
        "timestamp"
    ].tolist() == [to_milliseconds(NOON) - minute * MINUTE_MS for minute in (5, 4, 3, 2, 1)]

    clock.set(NOON + timedelta(minutes=1))
    assert len(simulator.candles("BTC/USDT", "1m", NOON, NOON + timedelta(hours=1))) == 1


async def test_there_is_no_open_candle_in_an_outage(get, clock):
    clock.set(datetime(2020, 6, 28, 3, 30, tzinfo=UTC))

    last = (await last_rows(get, "1m"))[-1]

    assert last[0] == to_milliseconds(datetime(2020, 6, 28, 1, 59, tzinfo=UTC))


async def test_an_hour_cut_by_an_outage_stays_open_through_it(get, clock):
    clock.set(datetime(2020, 2, 19, 11, 50, tzinfo=UTC))  # the outage began at 11:38

    hour = (await last_rows(get, "1h"))[-1]
    minutes = (await get("klines", symbol="BTCUSDT", interval="1m", startTime=hour[0])).json

    assert len(minutes) == 38
    assert hour[8] == sum(minute[8] for minute in minutes)
