"""Every venue, as the unmodified CCXT class sees it over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import ccxt.async_support as ccxt
import pytest

from cb_trade_simulator import ExchangeSimulator, ManualClock
from cb_trade_simulator.clock import MINUTE_MS, from_milliseconds, to_milliseconds
from cb_trade_simulator.markets.timeframes import first_open, shifted
from cb_trade_simulator.venues import VENUES

from .ccxt_classes import PAGE_ROWS, fetch_all, make_exchange
from .conftest import NOW

PERPETUALS = {
    "binance": "BTC/USDT:USDT",
    "bybit": "BTC/USDT:USDT",
    "cryptocom": "BTC/USD:USD",
    "okx": "BTC/USDT:USDT",
}
TIMEFRAMES = [(venue, name) for venue in VENUES for name in VENUES[venue].timeframes if "@" not in name]


@pytest.fixture(params=VENUES)
def venue(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def exchange(venue: str, simulator: ExchangeSimulator) -> AsyncIterator[Any]:
    exchange = make_exchange(simulator, venue)
    yield exchange
    await exchange.close()


def truth(simulator: ExchangeSimulator, *series: Any) -> list[list[float]]:
    return [list(row) for row in simulator.candles(*series).tolist()]


def stay(clock: ManualClock, venue: str, end: datetime) -> None:
    """Let the clock stand soon after *end* where only the newest candles can be had."""
    if venue == "kraken":
        clock.set(end + timedelta(seconds=30))


async def test_the_markets_are_those_that_are_traded(exchange, simulator):
    markets = await exchange.load_markets()

    assert set(markets) == set(simulator.symbols)
    assert all(market["active"] for market in markets.values())
    assert markets["BTC/USDT"]["spot"]
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["PEPE/USDT"]["precision"]["price"] == 0.00000001
    perpetual = PERPETUALS.get(exchange.id)
    assert (perpetual is None) == (not any(":" in symbol for symbol in markets))
    if perpetual:
        assert markets[perpetual]["swap"]
        assert markets[perpetual]["linear"]


async def test_the_time_is_the_clocks(venue, exchange, simulator, clock):
    if venue == "cryptocom":
        pytest.skip("Crypto.com tells nobody the time")
    assert await exchange.fetch_time() // 1000 == to_milliseconds(NOW) // 1000
    clock.advance(timedelta(hours=1))
    assert await exchange.fetch_time() // 1000 == to_milliseconds(NOW) // 1000 + 3600


@pytest.mark.parametrize(("venue", "timeframe"), TIMEFRAMES)
async def test_every_timeframe_pages_to_the_truth(venue, timeframe, exchange, simulator, clock):
    """Over more than one page below a day, where a page is short.

    Soon after the listing and before the present: of a page that is asked for, all is made that there is.
    """
    grid = VENUES[venue].timeframes[timeframe]
    start_ms = first_open(grid, to_milliseconds(datetime(2017, 9, 20, tzinfo=UTC)))
    several = 350 if PAGE_ROWS[venue] == 300 else 50
    candles = several if timeframe.endswith(("m", "h")) else 3
    start, end = from_milliseconds(start_ms), from_milliseconds(shifted(grid, start_ms, candles))
    clock.set(end + timedelta(seconds=30))

    fetched = await fetch_all(exchange, "BTC/USDT", timeframe, start, end)

    assert fetched == truth(simulator, "BTC/USDT", timeframe, start, end)
    assert len(fetched) == candles


@pytest.mark.parametrize("symbol", ["BTC/USDT", "ADA/BTC"])
async def test_an_outage_and_quiet_minutes_page_to_the_truth(symbol, venue, exchange, simulator, clock):
    outage = VENUES[venue].outages[-1]
    start, end = outage.start - timedelta(minutes=250), outage.end + timedelta(minutes=170)
    stay(clock, venue, end)

    fetched = await fetch_all(exchange, symbol, "1m", start, end)

    assert fetched == truth(simulator, symbol, "1m", start, end)
    opens = {row[0] for row in fetched}
    assert not opens & set(range(to_milliseconds(outage.start), to_milliseconds(outage.end), MINUTE_MS))
    assert to_milliseconds(outage.end) in opens
    quiet = [row for row in fetched if row[5] == 0]
    if symbol == "ADA/BTC":
        assert bool(quiet) == VENUES[venue].fills_quiet_minutes
        assert VENUES[venue].fills_quiet_minutes or len(fetched) < 420


async def test_a_listing_pages_to_the_truth(venue, exchange, simulator, clock):
    listed = simulator.listed_at("SOL/USDT")
    start, end = listed - timedelta(hours=9), listed + timedelta(hours=2)
    stay(clock, venue, end)

    fetched = await fetch_all(exchange, "SOL/USDT", "1m", start, end)

    assert fetched == truth(simulator, "SOL/USDT", "1m", start, end)
    assert fetched[0][0] == to_milliseconds(listed)


async def test_before_a_listing_some_jump_to_the_first_candle_and_some_have_nothing(venue, exchange, simulator):
    listed_ms = to_milliseconds(simulator.listed_at("SOL/USDT"))

    page = await exchange.fetch_ohlcv("SOL/USDT", "1m", since=listed_ms - 10_000 * MINUTE_MS, limit=100)

    if venue in ("binance", "bybit"):
        assert [row[0] for row in page] == [listed_ms + minute * MINUTE_MS for minute in range(100)]
    elif venue == "kraken":  # since only filters its newest
        assert page[0][0] > listed_ms
    else:
        assert page == []


@pytest.mark.parametrize("venue", PERPETUALS)
async def test_a_perpetual_pages_to_the_truth_and_is_not_the_spot_market(venue, exchange, simulator):
    start, end = datetime(2023, 2, 1, tzinfo=UTC), datetime(2023, 2, 1, 7, 0, tzinfo=UTC)

    fetched = await fetch_all(exchange, PERPETUALS[venue], "1m", start, end)

    assert fetched == truth(simulator, PERPETUALS[venue], "1m", start, end)
    assert fetched != await fetch_all(exchange, "BTC/USDT", "1m", start, end)


async def test_the_last_row_is_the_open_candle(venue, exchange, simulator, clock):
    """Wherever it stands on the wire; CCXT sorts."""
    since = to_milliseconds(NOW.replace(second=0)) - 4 * MINUTE_MS

    fetched = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=since, limit=10)

    assert [row[0] for row in fetched] == [since + minute * MINUTE_MS for minute in range(5)]
    closed = truth(simulator, "BTC/USDT", "1m", from_milliseconds(since), NOW)
    assert fetched[:-1] == closed
    clock.advance(timedelta(seconds=40))
    later = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=since, limit=5)
    assert later[:-1] == closed
    assert later[-1] != fetched[-1]


async def test_an_unknown_symbol_is_refused_in_the_venues_own_words(venue, exchange, simulator):
    await exchange.load_markets()
    market = exchange.markets["BTC/USDT"]
    market["id"] = "NOSUCH-NOSUCH" if "-" in market["id"] else "NOSUCH_NOSUCH"

    expected = {
        "binance": ccxt.BadSymbol,
        "bybit": ccxt.BadRequest,
        "coinbase": ccxt.BadRequest,
        "coinbaseexchange": ccxt.OrderNotFound,
        "cryptocom": ccxt.BadRequest,
        "kraken": ccxt.ExchangeError,
        "okx": ccxt.BadSymbol,
    }
    with pytest.raises(expected[venue]) as caught:
        await exchange.fetch_ohlcv("BTC/USDT", "1m", since=to_milliseconds(NOW) - 60 * MINUTE_MS, limit=5)
    assert not isinstance(caught.value, ccxt.NetworkError)


async def test_an_unknown_timeframe_is_refused(venue, exchange, simulator):
    exchange.timeframes = {"7m": "7m"}

    with pytest.raises(ccxt.ExchangeError):
        await exchange.fetch_ohlcv("BTC/USDT", "7m")


@pytest.mark.parametrize("venue", ["okx"])
async def test_okx_is_asked_for_recent_candles_at_the_address_of_recent_ones(venue):
    """CCXT decides by the machine's clock, which here is the exchange's too."""
    async with ExchangeSimulator(venue).serve() as simulator:
        exchange = make_exchange(simulator, venue)
        try:
            now_ms = to_milliseconds(simulator.clock.now())
            for candles_ago in (10, 2000):
                page = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=now_ms - candles_ago * MINUTE_MS, limit=5)
                assert len(page) == 5
        finally:
            await exchange.close()

    assert simulator.calls.paths("klines") == ["/api/v5/market/candles", "/api/v5/market/history-candles"]
