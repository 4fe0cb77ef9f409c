"""The seven exchanges whose rows of facts are proven: CCXT's own classes, unmodified, over HTTP, value for value."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from ccxt_venues import FACTS, NOW, PERPETUALS, Venue
from exchange_contract import ExchangeClientContract, Subject
from service_harness import at

from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_simulator.venues import VENUES

SYMBOL = "SOL/USDT"
LISTED_AT = at("2020-08-11T06:00")
MARKET_IDS = {
    "binance": "SOLUSDT",
    "bybit": "SOLUSDT",
    "coinbase": "SOL-USDT",
    "coinbaseexchange": "SOL-USDT",
    "cryptocom": "SOL_USDT",
    "kraken": "SOLUSDT",
    "okx": "SOL-USDT",
}
DAY_MS = 86_400_000
PERPETUAL_IDS = {
    "binance": "linear:SOLUSDT",
    "bybit": "linear:SOLUSDT",
    "cryptocom": "SOLUSD-PERP",
    "okx": "swap:SOL-USDT-SWAP",
}


@pytest.fixture
def now(name: str) -> datetime:
    """Early for Kraken, which answers each question with the newest 720 bars, or all there are."""
    return at("2017-12-01T12:34:30") if name == "kraken" else NOW


def newest(venue: Venue, grid: Timeframe, bars: int) -> TimeRange:
    """Return the newest *bars* closed bars, which every exchange serves."""
    end = grid.floor(venue.clock.now())
    return TimeRange(grid.advance(end, -bars), end)


class TestVenues(ExchangeClientContract):
    @pytest.fixture
    def now(self, name: str) -> datetime:
        """Kraken only has the newest 720 bars, so there it is soon after the listing."""
        return LISTED_AT + timedelta(minutes=719, seconds=30) if name == "kraken" else NOW

    @pytest.fixture
    def subject(self, venue: Venue, name: str) -> Subject:
        return Subject(
            venue.client,
            SYMBOL,
            MARKET_IDS[name],
            LISTED_AT,
            lambda wanted: [row[0] for row in venue.truth(SYMBOL, "1m", wanted)],
            venue.clock.now,
        )


@pytest.mark.parametrize(
    ("name", "symbol"), [*((name, "BTC/USDT") for name in FACTS), *PERPETUALS.items()], ids=lambda value: value
)
async def test_every_timeframe_is_the_truth(venue: Venue, symbol: str):
    """Weeks that open on Monday and calendar months among them, which CCXT would ask for in steps of 30 days."""
    # The simulator has no seconds.
    for timeframe in [name for name in venue.client.facts.timeframes if name != "1s"]:
        grid = Timeframe.parse(timeframe)
        window = newest(venue, grid, 20 if grid.duration_ms < DAY_MS else 3)

        rows = await venue.rows(symbol, timeframe, window)

        assert rows == venue.truth(symbol, timeframe, window), timeframe
        assert len(rows) == grid.bars_in(window), timeframe


@pytest.mark.parametrize("name", PERPETUALS)
async def test_a_perpetual_is_not_the_spot_market_of_its_name(venue: Venue, name: str):
    assert (await venue.client.market(PERPETUALS[name])).id == PERPETUAL_IDS[name]
    assert (await venue.client.market(SYMBOL)).id == MARKET_IDS[name]
    assert await venue.client.symbol_of(PERPETUAL_IDS[name]) == PERPETUALS[name]
    assert await venue.client.symbol_of(MARKET_IDS[name]) == SYMBOL


@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_a_listing_costs_one_call_where_the_venue_jumps(venue: Venue, name: str):
    for symbol, timeframe in ((SYMBOL, "1m"), (SYMBOL, "1w"), (PERPETUALS[name], "1M")):
        await venue.client.market(symbol)
        venue.simulator.calls.reset()

        found = await venue.client.fetch_first_open(venue.series(symbol, timeframe))

        assert found == Timeframe.parse(timeframe).floor(venue.simulator.listed_at(symbol)), timeframe
        assert venue.simulator.calls.by_endpoint == {"klines": 1}


async def test_an_outage_and_quiet_minutes_are_the_truth(venue: Venue, name: str):
    outage = VENUES[name].outages[-1]
    window = TimeRange(outage.start - timedelta(minutes=50), outage.end + timedelta(minutes=50))
    if name == "kraken":
        venue.clock.set(window.end + timedelta(seconds=30))

    rows = await venue.rows("ADA/BTC", "1m", window)

    assert rows == venue.truth("ADA/BTC", "1m", window)
    assert rows


async def test_the_open_bar_is_handed_on_as_it_came(venue: Venue):
    """Last or first, closed or not: what a row is worth is the validation's to say."""
    grid = Timeframe.parse("1m")
    opened_at = grid.floor(venue.clock.now())
    newest_bars = TimeRange(opened_at - timedelta(minutes=9), opened_at + timedelta(minutes=1))

    page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1m"), newest_bars)

    assert timestamps_ms(page.rows).max() == to_ms(opened_at)


async def test_both_ends_of_a_window_are_written_so_that_no_other_row_comes(venue: Venue, name: str):
    """But from Coinbase Exchange, which adds one in front, and Kraken, which always goes on to its newest."""
    end = newest(venue, Timeframe.parse("1m"), 1).end
    window = TimeRange(end - timedelta(minutes=400), end - timedelta(minutes=300))

    page = await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1m"), window)

    strangers = page.rows.num_rows - len(venue.truth("BTC/USDT", "1m", window))
    assert strangers == {"coinbaseexchange": 1, "kraken": 301}.get(name, 0)


async def test_calls_are_only_those_that_are_needed(venue: Venue, name: str):
    """Spot markets do not wait for perpetuals, nor the other way round, and nothing is asked twice."""
    window = newest(venue, Timeframe.parse("1m"), 10)
    for _ in range(2):
        await venue.client.market("BTC/USDT")
        await venue.client.fetch_ohlcv(venue.series("BTC/USDT", "1m"), window)

    calls = dict(venue.simulator.calls.by_endpoint)
    assert calls.pop("klines") == 2
    assert sum(calls.values()) == {"coinbase": 5, "coinbaseexchange": 2, "kraken": 2}.get(name, 1)
    assert not venue.simulator.calls.by_endpoint["unknown"]
