"""Whether something is called at all: five failures in a row stop everybody but one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
)
from cb_trade_data.exchange_source.breaker import Breaker
from cb_trade_data.exchange_source.stopwatch import Stopwatch

DOWN = ExchangeUnavailableError("binance", "503")
LIMIT = ExchangeLimitError("binance", "429", timedelta(seconds=1))
REFUSAL = ExchangeRefusalError("binance", "no")


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("binance", Stopwatch(now_secs))


def to_blame(error: ExchangeUnavailableError) -> str | None:
    return error.reason


async def call(breaker: Breaker, error: BaseException | None = None, lasts_secs: float = 0.0) -> float:
    """Make one call that ends with *error*, or well; return when it began."""
    await breaker.passage()
    began = now_secs()
    with breaker.watching(to_blame):
        await asyncio.sleep(lasts_secs)
        if error is not None:
            raise error
    return began


async def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ExchangeUnavailableError):
            await call(breaker, DOWN)


async def probe(breaker: Breaker, error: BaseException | None = None) -> float:
    """Wait for the time of the next probe, and make it."""
    assert not breaker.lets_through()
    while not breaker.lets_through():  # noqa: ASYNC110 - nobody announces a time
        await asyncio.sleep(0.5)
    if error is None:
        return await call(breaker)
    with pytest.raises(type(error)):
        await call(breaker, error)
    return now_secs()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@in_virtual_time
async def test_five_failures_with_no_success_between_them_open_it(breaker):
    await fail(breaker, 4)
    await call(breaker)
    await fail(breaker, 4)
    assert breaker.state == "closed"

    await fail(breaker, 1)

    assert breaker.state == "open"
    assert not breaker.lets_through()


@in_virtual_time
async def test_limits_are_no_failures_and_refusals_are_answers(breaker):
    for error in [LIMIT] * 9:
        with suppress(ExchangeLimitError):
            await call(breaker, error)
    await fail(breaker, 4)
    with suppress(ExchangeLimitError):
        await call(breaker, LIMIT)
    assert breaker.state == "closed"

    with suppress(ExchangeRefusalError):
        await call(breaker, REFUSAL)
    await fail(breaker, 4)

    assert breaker.state == "closed"


@in_virtual_time
async def test_a_call_waits_for_the_probe_and_the_probe_for_its_time(breaker):
    await fail(breaker, 5)

    assert await call(breaker) == pytest.approx(15, abs=0.01)
    assert breaker.state == "closed"


@in_virtual_time
async def test_it_stays_open_for_longer_each_time_up_to_a_minute(breaker):
    await fail(breaker, 5)
    times = [0.0] + [await probe(breaker, DOWN) for _ in range(7)]

    spans = [later - sooner for sooner, later in pairwise(times)]
    assert spans == pytest.approx([15, 22.5, 33.75, 50.6, 60, 60, 60], abs=0.5)


@in_virtual_time
async def test_one_call_probes_and_the_others_go_when_it_has_come_through(breaker):
    await fail(breaker, 5)
    calls = [asyncio.create_task(call(breaker, lasts_secs=3)) for _ in range(5)]
    await asyncio.sleep(16)
    assert breaker.state == "half-open"

    began = await asyncio.gather(*calls)

    assert began == pytest.approx([15] + [18] * 4, abs=0.01)


@in_virtual_time
async def test_a_probe_that_fails_is_the_answer_to_all_who_waited_for_it(breaker):
    await fail(breaker, 5)
    waiting = [asyncio.create_task(call(breaker, ExchangeUnavailableError("binance", "still"), 3)) for _ in range(5)]

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert [outcome.reason for outcome in outcomes] == ["still"] * 5
    assert now_secs() == pytest.approx(18, abs=0.01)
    assert breaker.state == "open"


@in_virtual_time
async def test_a_probe_that_is_cancelled_says_nothing_and_the_next_one_probes(breaker):
    await fail(breaker, 5)
    first = asyncio.create_task(call(breaker, lasts_secs=100))
    await asyncio.sleep(15.1)
    second = asyncio.create_task(call(breaker, lasts_secs=1))
    await settled()
    assert breaker.state == "half-open"

    first.cancel()
    await settled()
    assert breaker.state == "half-open", "the second one probes"
    await second

    assert breaker.state == "closed"


@in_virtual_time
async def test_a_probe_that_meets_a_limit_or_a_defect_leaves_it_to_the_next_one(breaker):
    await fail(breaker, 5)
    await probe(breaker, LIMIT)
    assert (breaker.state, breaker.lets_through()) == ("open", True)
    with pytest.raises(ZeroDivisionError):
        await call(breaker, ZeroDivisionError())
    assert (breaker.state, breaker.lets_through()) == ("open", True)

    await call(breaker)

    assert breaker.state == "closed"


@in_virtual_time
async def test_failures_of_calls_that_were_on_their_way_keep_it_open_no_longer(breaker):
    calls = [asyncio.create_task(call(breaker, DOWN, number)) for number in range(10)]
    await asyncio.gather(*calls, return_exceptions=True)

    assert await call(breaker) == pytest.approx(4 + 15, abs=0.01)


@in_virtual_time
async def test_a_success_of_a_call_that_was_on_its_way_closes_it(breaker):
    late = asyncio.create_task(call(breaker, lasts_secs=5))
    await settled()
    await fail(breaker, 5)
    waiting = asyncio.create_task(call(breaker))
    await late

    assert await waiting == pytest.approx(5, abs=0.01)


@in_virtual_time
async def test_an_outage_is_conclusive_after_five_tries_over_a_minute(breaker):
    await fail(breaker, 5)
    while not breaker.is_conclusive:
        await probe(breaker, DOWN)

    assert 60 <= now_secs() < 90
    with pytest.raises(ExchangeUnavailableError, match="503"):
        await call(breaker)


@in_virtual_time
async def test_four_tries_are_not_conclusive_however_long_they_take(breaker):
    for _ in range(4):
        await fail(breaker, 1)
        await asyncio.sleep(100)

    assert not breaker.is_conclusive


@in_virtual_time
async def test_in_a_conclusive_outage_a_probe_under_way_is_waited_for(breaker):
    """It may be over: who asks for ten pages at that moment is not to lose nine of them."""
    await fail(breaker, 5)
    while not breaker.is_conclusive:
        await probe(breaker, DOWN)
    await asyncio.sleep(70)
    calls = [asyncio.create_task(call(breaker, lasts_secs=2)) for _ in range(10)]

    await asyncio.gather(*calls)

    assert breaker.state == "closed"


@in_virtual_time
async def test_an_outage_of_long_ago_says_nothing_about_now(breaker):
    await fail(breaker, 4)
    await asyncio.sleep(400)
    await fail(breaker, 4)
    assert breaker.state == "closed"

    await fail(breaker, 1)
    await asyncio.sleep(400)
    await fail(breaker, 1)
    assert breaker.state == "closed"


@in_virtual_time
async def test_what_it_is_not_to_blame_for_is_no_failure_and_no_success(breaker):
    async def others_failure() -> None:
        with pytest.raises(ExchangeUnavailableError), breaker.watching(lambda error: None):
            raise DOWN

    await fail(breaker, 4)
    for _ in range(9):
        await others_failure()
    assert breaker.state == "closed"

    await fail(breaker, 1)
    await asyncio.sleep(16)
    await others_failure()

    assert (breaker.state, breaker.lets_through()) == ("open", True)


@in_virtual_time
async def test_the_reason_is_what_it_is_blamed_for(breaker):
    with pytest.raises(ExchangeUnavailableError, match="503"), breaker.watching(lambda error: f"again {error.reason}"):
        raise DOWN

    assert breaker.reason == "again 503"


@in_virtual_time
async def test_who_may_probe_later_only_does_so_where_nobody_else_comes(breaker):
    async def later() -> float:
        await breaker.passage(lambda: 5.0)
        return now_secs()

    await fail(breaker, 5)
    assert await later() == pytest.approx(20, abs=0.01)
    with suppress(ExchangeLimitError):
        await call(breaker, LIMIT)
    second = asyncio.create_task(later())
    await asyncio.sleep(1)
    assert (breaker.lets_through(), breaker.lets_through(5.0)) == (True, False)

    assert await second == pytest.approx(25, abs=0.01)
    assert breaker.lets_through(5.0)


# --- The end ---------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_shutting_down_sends_everybody_home(breaker):
    await fail(breaker, 5)
    waiting = asyncio.create_task(call(breaker))
    await settled()

    breaker.shut_down()

    for each in (waiting, call(breaker)):
        with pytest.raises(ExchangeUnavailableError, match="stopping"):
            await each
    assert now_secs() == 0
