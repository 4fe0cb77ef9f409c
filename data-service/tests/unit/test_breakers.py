"""Whose failure it is when an answer is nonsense: that of the market it is about, or the exchange's."""

from __future__ import annotations

import asyncio

import pytest
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.errors import ExchangeNonsenseError, ExchangeUnavailableError
from cb_trade_data.exchange_source.breakers import Breakers
from cb_trade_data.exchange_source.stopwatch import Stopwatch

DOWN = ExchangeUnavailableError("binance", "503")
NONSENSE = ExchangeNonsenseError("binance", "no candles")


@pytest.fixture
def breakers() -> Breakers:
    return Breakers("binance", Stopwatch(now_secs))


async def call(breakers: Breakers, about: str | None, error: Exception | None = None) -> float:
    """Make one call that ends with *error*, or well; return when it began."""
    await breakers.passage(about)
    began = now_secs()
    with breakers.watching(about):
        if error is not None:
            raise error
    return began


async def fail(breakers: Breakers, times: int, about: str | None = None) -> None:
    for _ in range(times):
        with pytest.raises(ExchangeUnavailableError):
            await call(breakers, about, DOWN)


async def nonsense(breakers: Breakers, *markets: str | None) -> None:
    for about in markets:
        with pytest.raises(ExchangeNonsenseError):
            await call(breakers, about, NONSENSE)


@in_virtual_time
async def test_nonsense_about_one_market_is_one_failure_of_the_exchange(breakers):
    await nonsense(breakers, *["BTC/USDT"] * 5)
    assert breakers.exchange.state == "closed"

    await fail(breakers, 4)

    assert breakers.exchange.state == "open"


@in_virtual_time
async def test_nonsense_about_five_markets_is_the_exchange_s(breakers):
    await nonsense(breakers, "A/B", "A/B", "B/C", "C/D", "D/E")
    assert breakers.exchange.state == "closed"

    await nonsense(breakers, "E/F")

    assert breakers.exchange.state == "open"


@in_virtual_time
async def test_nonsense_that_is_about_no_market_is_the_exchange_s(breakers):
    await nonsense(breakers, *[None] * 5)

    assert breakers.exchange.state == "open"


@in_virtual_time
async def test_after_a_success_nonsense_counts_anew(breakers):
    await nonsense(breakers, "A/B", "B/C", "C/D", "D/E")
    await call(breakers, "E/F")
    await nonsense(breakers, "A/B", "B/C", "C/D", "D/E")
    assert breakers.exchange.state == "closed"

    await nonsense(breakers, "E/F")

    assert breakers.exchange.state == "open"


@in_virtual_time
async def test_a_probe_that_meets_nonsense_about_a_market_leaves_it_to_another_market(breakers):
    await fail(breakers, 5)
    await asyncio.sleep(16)

    await nonsense(breakers, "A/B")

    assert breakers.exchange.state == "open"
    assert (breakers.lets_through("A/B"), breakers.lets_through("B/C")) == (False, True)
    await call(breakers, "B/C")
    assert breakers.exchange.state == "closed"


@in_virtual_time
async def test_a_market_of_nonsense_probes_where_no_other_market_is_asked_about(breakers):
    await nonsense(breakers, "A/B")
    await fail(breakers, 4)

    assert await call(breakers, "A/B") == pytest.approx(20, abs=0.01)


@in_virtual_time
async def test_where_five_markets_are_nonsense_a_probe_that_meets_it_has_failed(breakers):
    await nonsense(breakers, "A/B", "B/C", "C/D", "D/E", "E/F")
    await asyncio.sleep(20)

    await nonsense(breakers, "E/F")

    assert not breakers.lets_through("F/G")
    await asyncio.sleep(22)
    assert not breakers.lets_through("F/G")
    await asyncio.sleep(1)
    assert breakers.lets_through("F/G")


@in_virtual_time
async def test_nonsense_of_before_the_last_success_makes_nobody_probe_later(breakers):
    await nonsense(breakers, "A/B")
    await call(breakers, "A/B")
    await fail(breakers, 5)

    assert await call(breakers, "A/B") == pytest.approx(15, abs=0.01)


@in_virtual_time
async def test_where_nonsense_is_the_exchange_s_failure_its_reason_names_the_market(breakers):
    await nonsense(breakers, "A/B", "B/C", "C/D", "D/E", "E/F")
    waiting = asyncio.create_task(call(breakers, "F/G"))
    others = [asyncio.create_task(call(breakers, "A/B", NONSENSE)) for _ in range(2)]
    await asyncio.sleep(1)
    waiting.cancel()

    reasons = {error.reason for error in await asyncio.gather(*others, return_exceptions=True)}

    assert reasons == {"no candles", "what it says of A/B makes no sense: no candles"}


@in_virtual_time
async def test_a_market_s_own_opens_by_nonsense_about_it_and_stands_in_nobody_else_s_way(breakers):
    await fail(breakers, 4, about="BTC/USDT")
    await call(breakers, None)
    await nonsense(breakers, *["BTC/USDT"] * 4)
    assert breakers.lets_through("BTC/USDT")

    await nonsense(breakers, "BTC/USDT")

    assert not breakers.lets_through("BTC/USDT")
    assert breakers.lets_through("ETH/USDT")
    assert breakers.lets_through(None)
    assert await call(breakers, "BTC/USDT") == pytest.approx(15, abs=0.01)
    assert breakers.lets_through("BTC/USDT")


@in_virtual_time
async def test_markets_are_held_up_while_their_own_is_open_and_no_longer(breakers):
    for market in ("A/B", "B/C"):
        await nonsense(breakers, *[market] * 5)
    await nonsense(breakers, "C/D")
    assert breakers.markets_held_up == 2

    await call(breakers, "A/B")
    assert breakers.markets_held_up == 1

    await asyncio.sleep(400)
    assert breakers.markets_held_up == 0, "nobody asks for it any more"


@in_virtual_time
async def test_what_is_remembered_of_a_market_goes_with_its_failures(breakers):
    await nonsense(breakers, "A/B", "B/C")
    await fail(breakers, 1, about="C/D")
    await call(breakers, "A/B")
    for number in range(1000):
        await call(breakers, f"{number}/USDT")
    assert set(breakers._markets) == {"B/C"}

    await asyncio.sleep(400)
    await call(breakers, "A/B")
    assert not breakers._markets


@in_virtual_time
async def test_calls_under_way_count_whatever_ends_between_them(breakers):
    async def long_call(secs: int) -> None:
        with breakers.watching("A/B"):
            await asyncio.sleep(secs)
            raise NONSENSE

    calls = [asyncio.create_task(long_call(secs)) for secs in range(1, 6)]
    for _ in range(10):
        await asyncio.sleep(0.5)
        await call(breakers, "B/C")
    await asyncio.gather(*calls, return_exceptions=True)

    assert not breakers.lets_through("A/B")


@in_virtual_time
async def test_shutting_down_sends_everybody_home(breakers):
    await nonsense(breakers, *["BTC/USDT"] * 5)
    waiting = asyncio.create_task(call(breakers, "BTC/USDT"))
    await asyncio.sleep(1)

    breakers.shut_down()

    for each in (waiting, call(breakers, "ETH/USDT")):
        with pytest.raises(ExchangeUnavailableError, match="stopping"):
            await each
    assert now_secs() == 1
