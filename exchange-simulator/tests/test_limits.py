"""Turning away who asks too much: by whose rules, in whose words, and counted."""

from __future__ import annotations

import aiohttp
import ccxt.async_support as ccxt
import pytest

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.limits import Bucket, Limiter, Window
from cb_trade_simulator.venues import VENUES
from cb_trade_simulator.venues.venue import Question

from .ccxt_classes import make_exchange

CANDLE_HOSTS = {
    "binance": "api.binance.com",
    "bybit": "api.bybit.com",
    "coinbase": "api.coinbase.com",
    "coinbaseexchange": "api.exchange.coinbase.com",
    "cryptocom": "api.crypto.com",
    "kraken": "api.kraken.com",
    "okx": "www.okx.com",
}


def use_up(simulator: ExchangeSimulator, venue: str) -> None:
    """Enforce limits and leave nothing of them, for the time being."""
    simulator.limits.enforce(speed=1e-6)
    for name in VENUES[venue].allowances:
        left = [simulator.limits.retry_after_secs("use up", (name, 1)) for _ in range(6001)]
        assert left[-1] is not None
    simulator.limits.refused.clear()


class Stopwatch:
    def __init__(self) -> None:
        self.secs = 1000.0

    def __call__(self) -> float:
        return self.secs


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


def test_what_is_used_is_counted_whether_or_not_it_is_limited(watch):
    limiter = Limiter({"calls": Window(weight=5, secs=10)}, watch)
    limiter.retry_after_secs("klines", ("calls", 4))
    limiter.enforce()
    limiter.retry_after_secs("klines", ("calls", 6))

    assert limiter.used == {"calls": 10}
    assert limiter.refused == {"klines": 1}


def test_a_window_is_fresh_when_the_next_one_begins(watch):
    limiter = Limiter({"calls": Window(weight=5, secs=10)}, watch)
    limiter.enforce()

    assert [limiter.retry_after_secs("klines", ("calls", 2)) for _ in range(3)] == [None, None, 10]
    assert limiter.retry_after_secs("time", ("calls", 1)) is None
    watch.secs += 7.5
    assert limiter.retry_after_secs("klines", ("calls", 2)) == 3
    watch.secs += 2.5
    assert limiter.retry_after_secs("klines", ("calls", 2)) is None
    assert limiter.refused == {"klines": 2}


def test_a_bucket_refills_steadily_up_to_its_reserve(watch):
    limiter = Limiter({"calls": Bucket(reserve=3, per_second=0.5)}, watch)
    limiter.enforce()

    assert [limiter.retry_after_secs("klines", ("calls", 1)) for _ in range(4)] == [None, None, None, 2]
    watch.secs += 2
    assert [limiter.retry_after_secs("klines", ("calls", 1)) for _ in range(2)] == [None, 2]
    watch.secs += 1000
    assert [limiter.retry_after_secs("klines", ("calls", 1)) for _ in range(4)] == [None, None, None, 2]


def test_a_faster_exchange_is_as_strict_per_call_in_less_time(watch):
    limiter = Limiter({"calls": Bucket(reserve=1, per_second=1)}, watch)
    limiter.enforce(speed=100)

    assert limiter.retry_after_secs("klines", ("calls", 1)) is None
    watch.secs += 0.009
    assert limiter.retry_after_secs("klines", ("calls", 1)) == 1
    watch.secs += 0.0011
    assert limiter.retry_after_secs("klines", ("calls", 1)) is None


def test_nobody_is_turned_away_before_limits_are_enforced_or_after(watch):
    limiter = Limiter({"calls": Bucket(reserve=1, per_second=1)}, watch)

    assert [limiter.retry_after_secs("klines", ("calls", 1)) for _ in range(3)] == [None] * 3
    limiter.enforce()
    assert [limiter.retry_after_secs("klines", ("calls", 1)) for _ in range(2)] == [None, 1]
    limiter.stop()
    assert limiter.retry_after_secs("klines", ("calls", 1)) is None
    with pytest.raises(ValueError, match="above zero"):
        limiter.enforce(speed=0)


@pytest.mark.parametrize(
    ("venue", "candles_per_second"),
    [
        ("binance", 50),  # 6000 a minute, 2 a call
        ("bybit", 120),
        ("coinbase", 10),
        ("coinbaseexchange", 10),
        ("cryptocom", 100),
        ("kraken", 1),
        ("okx", 10),  # history-candles
    ],
)
async def test_candles_cost_what_they_cost_on_the_real_exchange(venue, candles_per_second, clock):
    async with ExchangeSimulator(venue, clock=clock).serve() as simulator:
        exchange = make_exchange(simulator, venue)
        try:
            await exchange.fetch_ohlcv("BTC/USDT", "1m", since=0, limit=10)
        finally:
            await exchange.close()
        host = CANDLE_HOSTS[venue]
        path, query = simulator.calls.paths("klines")[-1], simulator.calls.queries("klines")[-1]

    name, weight = VENUES[venue]([]).cost(Question(host, path, query))
    assert VENUES[venue].allowances[name].per_second / weight == candles_per_second


@pytest.mark.parametrize("venue", VENUES)
async def test_the_ccxt_class_hears_of_a_refusal_as_of_too_many_requests(venue, clock):
    async with ExchangeSimulator(venue, clock=clock).serve() as simulator:
        exchange = make_exchange(simulator, venue)
        try:
            await exchange.load_markets()
            use_up(simulator, venue)
            with pytest.raises((ccxt.DDoSProtection, ccxt.RateLimitExceeded)):
                await exchange.fetch_ohlcv("BTC/USDT", "1m", since=0, limit=10)
            assert simulator.limits.refused == {"klines": 1}

            simulator.limits.stop()
            await exchange.fetch_ohlcv("BTC/USDT", "1m", since=0, limit=10)
        finally:
            await exchange.close()
    arrived = simulator.calls.times("klines")
    assert arrived == sorted(arrived)
    assert len(arrived) == 2


@pytest.mark.parametrize(
    ("venue", "address", "body"),
    [
        ("binance", "api.binance.com/api/v3/time", '"code":-1003'),
        ("bybit", "api.bybit.com/v5/market/time", '"retCode":10006'),
        ("coinbase", "api.coinbase.com/v2/time", '"rate_limit_exceeded"'),
        ("coinbaseexchange", "api.exchange.coinbase.com/time", '"Public rate limit exceeded"'),
        ("cryptocom", "api.crypto.com/exchange/v1/public/get-instruments", '"code":42901'),
        ("kraken", "api.kraken.com/0/public/Time", '"EGeneral:Too many requests"'),
        ("okx", "www.okx.com/api/v5/public/time", '"code":"50011"'),
    ],
)
async def test_a_refusal_is_in_the_venues_own_words_says_when_to_return_and_is_counted(venue, address, body, clock):
    async with ExchangeSimulator(venue, clock=clock).serve() as simulator, aiohttp.ClientSession() as session:
        url = f"{simulator.base_url}/{address}"
        use_up(simulator, venue)
        async with session.get(url) as response:
            status, headers, text = response.status, response.headers, await response.text()
        async with session.get(f"{simulator.url}/_calls") as response:
            counted = await response.json()

    assert body in text
    if venue == "kraken":
        assert status == 200
        assert "Retry-After" not in headers
    else:
        assert status == 429
        assert int(headers["Retry-After"]) > 0
    assert sum(counted["refused"].values()) == 1
