"""An exchange without a row of its own: the same rows through what CCXT says of its class, perhaps with more calls."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ccxt_venues import FACTS, running_venue

from cb_trade_data.exchange_source.plugins.generic import generic_facts
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_simulator.venues import VENUES


@pytest.mark.parametrize("name", FACTS)
async def test_a_proven_exchange_is_exact_through_the_generic_row_too(name: str):
    outage = VENUES[name].outages[-1]
    around = TimeRange(outage.start - timedelta(minutes=70), outage.end + timedelta(minutes=70))
    async with running_venue(generic_facts(name), around.end + timedelta(hours=2)) as venue:
        for symbol, timeframe in (("BTC/USDT", "1m"), ("ADA/BTC", "1m"), ("BTC/USDT", "1h")):
            window = Timeframe.parse(timeframe).snap(around)

            rows = await venue.rows(symbol, timeframe, window)

            assert rows == venue.truth(symbol, timeframe, window), (symbol, timeframe)
            assert 0 < len(rows) <= 140  # the outage is a hole


@pytest.mark.parametrize("name", FACTS)
def test_a_generic_row_promises_no_more_than_the_proven_one(name: str):
    generic, proven = generic_facts(name), FACTS[name]

    assert set(generic.timeframes) <= set(proven.timeframes)
    assert generic.page_limit_bars <= proven.page_limit_bars
    assert generic.pace.calls_per_sec <= proven.pace.calls_per_sec
