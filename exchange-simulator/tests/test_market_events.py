"""What befalls whole markets: they end, begin again, are corrected, or are slow to publish."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cb_trade_simulator import BadFaultError, ExchangeSimulator, ManualClock, UnknownSymbolError
from cb_trade_simulator.clock import MINUTE_MS, to_milliseconds
from cb_trade_simulator.faults import Delisting, LateQuietMinutes, Relisting, Restating
from cb_trade_simulator.venues import VENUES

from .ccxt_classes import make_exchange
from .conftest import NOW

AT = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
AT_MS = to_milliseconds(AT)
START = AT - timedelta(minutes=30)
START_MS = to_milliseconds(START)


async def rows(exchange, symbol="SOL/USDT", limit=100):
    return await exchange.fetch_ohlcv(symbol, "1m", since=START_MS, limit=limit)


@pytest.fixture(params=VENUES)
def venue(request):
    return request.param


@pytest.fixture
async def simulator(venue, clock):
    async with ExchangeSimulator(venue, seed=1, clock=clock).serve() as serving:
        yield serving


@pytest.fixture
async def exchange(venue, simulator):
    exchange = make_exchange(simulator, venue)
    yield exchange
    await exchange.close()


async def test_a_delisted_market_has_no_rows_after_its_end_and_is_inactive(exchange, simulator):
    simulator.inject(Delisting("SOL/USDT", AT))

    found = await rows(exchange)

    assert [row[0] for row in found] == list(range(START_MS, AT_MS, MINUTE_MS))
    assert found == [list(row) for row in simulator.candles("SOL/USDT", "1m", START, NOW).tolist()]
    assert not exchange.markets["SOL/USDT"]["active"]
    assert exchange.markets["ETH/USDT"]["active"]


async def test_a_market_is_delisted_only_when_the_clock_is_there(exchange, simulator, clock):
    simulator.inject(Delisting("SOL/USDT", AT))
    clock.set(AT - timedelta(seconds=1))

    assert (await exchange.load_markets())["SOL/USDT"]["active"]
    clock.set(AT)
    assert not (await exchange.load_markets(reload=True))["SOL/USDT"]["active"]


async def test_a_market_that_vanishes_is_absent_and_unknown(exchange, simulator):
    await exchange.load_markets()
    simulator.inject("delist=SOL/USDT,2024-05-01T12:00,vanishes")

    with pytest.raises(Exception, match=exchange.id):
        await rows(exchange)
    assert "SOL/USDT" not in await exchange.load_markets(reload=True)
    assert "ETH/USDT" in exchange.markets


async def test_a_relisted_symbol_is_two_markets_with_a_hole_between(exchange, simulator, clock):
    honest = await rows(exchange)
    begin = AT + timedelta(minutes=10)
    simulator.inject(Relisting("SOL/USDT", AT, begin))

    found = await rows(exchange)

    old, new = [row for row in found if row[0] < AT_MS], [row for row in found if row[0] >= AT_MS]
    assert old == honest[:30]
    assert new[0][0] == to_milliseconds(begin)
    assert not {tuple(row) for row in new} & {tuple(row) for row in honest}
    closed = [row for row in found if row[0] + MINUTE_MS <= to_milliseconds(NOW)]
    assert closed == [list(row) for row in simulator.candles("SOL/USDT", "1m", START, NOW).tolist()]
    assert (await exchange.load_markets(reload=True))["SOL/USDT"]["active"]
    clock.set(AT + timedelta(minutes=5))
    assert not (await exchange.load_markets(reload=True))["SOL/USDT"]["active"]


async def test_restated_candles_have_other_values_when_asked_later(exchange, simulator, clock):
    simulator.inject(Restating("SOL/USDT", START, START + timedelta(minutes=5), at=NOW + timedelta(minutes=1)))
    before = await rows(exchange, limit=10)

    clock.set(NOW + timedelta(minutes=1))
    after = await rows(exchange, limit=10)

    assert [one != other for one, other in zip(before, after, strict=True)] == [True] * 5 + [False] * 5
    assert [row[0] for row in before] == [row[0] for row in after]
    assert after == [list(row) for row in simulator.candles("SOL/USDT", "1m", START, AT).tolist()][:10]
    hour = simulator.candles("SOL/USDT", "1h", AT - timedelta(hours=1), AT)
    hour_minutes = simulator.candles("SOL/USDT", "1m", AT - timedelta(hours=1), AT)
    assert hour["volume"][0] == pytest.approx(hour_minutes["volume"].sum(), rel=1e-9)


@pytest.mark.parametrize("venue", [name for name in VENUES if VENUES[name].fills_quiet_minutes])
async def test_quiet_minutes_can_be_published_late(venue, exchange, simulator, clock):
    simulator.inject(LateQuietMinutes(60))
    truth = [list(row) for row in simulator.candles("ADA/BTC", "1m", START, AT).tolist()]
    assert 0 in [row[5] for row in truth]

    early = await rows(exchange, "ADA/BTC", limit=30)
    clock.set(AT + timedelta(minutes=60))
    late = await rows(exchange, "ADA/BTC", limit=30)

    assert [row for row in early if row[0] < AT_MS] == [row for row in truth if row[5] > 0]
    assert [row for row in late if row[0] < AT_MS] == truth


@pytest.mark.parametrize("venue", ["binance"])
@pytest.mark.parametrize(
    "nonsense",
    [
        "delist=SOL/USDT",
        "delist=SOL/USDT,soon",
        "delist=SOL/USDT,2024-05-01T12:00:30",
        "delist=SOL/USDT,2024-05-01,gone",
        "delist=SOL/USDT,2019-05-01",
        "relist=SOL/USDT,2024-05-01,2024-04-01",
        "late=soon",
        "429:2",
        "429:-1",
        "600",
        "meteor",
        "null=3",
        "",
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(venue, nonsense):
    with pytest.raises(BadFaultError, match="cannot make sense of the fault"):
        ExchangeSimulator(venue).inject(nonsense)


@pytest.mark.parametrize("venue", ["binance"])
def test_an_event_of_a_market_that_does_not_exist_is_refused(venue):
    with pytest.raises(UnknownSymbolError, match="BTC/USDT"):
        ExchangeSimulator(venue, clock=ManualClock(NOW)).inject("delist=NOPE/USDT,2024-05-01")
