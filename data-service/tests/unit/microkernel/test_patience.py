"""The connector is polite to exchanges that answer, and patient with those that do not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from scripted_client import (
    FACTS,
    NOON,
    SERIES,
    SLOW,
    WINDOW,
    ScriptedClient,
    failed,
    page,
    settled,
    source_of,
    statuses,
)
from unit_builders import series
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
    UnknownSymbolError,
)
from cb_trade_data.exchange_source.facts import ExchangeFacts

CALLS = {"fetch_page": page, "fetch_first_open": lambda source: source.fetch_first_open(SERIES)}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


# --- Trying again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [0, 1, 4])
@in_virtual_time
async def test_failed_tries_are_made_again_and_counted(source, client, failures):
    client.failures_left = failures

    fetched = await page(source)

    assert fetched.calls == client.calls == failures + 1


@every_call
@in_virtual_time
async def test_after_five_tries_over_a_minute_the_exchange_is_unavailable(source, client, call):
    """Less than that is a hiccup, and no reason to report a gap."""
    client.failures_left = 99

    error = await failed(call(source))

    assert error.reason == "503"
    assert error.tries == client.calls == 5
    assert 60 <= client.times[-1] - client.times[0] <= 70


@pytest.mark.parametrize(
    "failure",
    [
        UnknownSymbolError("binance", "FOO/BAR"),
        ExchangeRefusalError("binance", "no such interval"),
        RuntimeError("a defect"),
    ],
)
@every_call
@in_virtual_time
async def test_what_trying_again_cannot_mend_is_not_tried_again(source, client, call, failure):
    client.failure, client.failures_left = failure, 1

    with pytest.raises(type(failure)):
        await call(source)

    assert client.calls == 1
    assert source.conditions()["binance"].status == "ok", "it did answer"


@in_virtual_time
async def test_a_call_that_waits_for_its_next_try_holds_no_place(client):
    source = source_of(ScriptedClient(replace(FACTS, concurrent_calls=1)))
    client = source._registry.make_client("binance")
    client.failures_left = 3
    failing = asyncio.create_task(page(source))
    await settled()

    client.failures_left = 0
    await page(source)

    assert now_secs() == 0
    assert (await failing).calls == 2


@in_virtual_time
async def test_health_is_what_was_seen_last(source, client):
    await page(source)
    assert statuses(source) == {"binance": "ok", "okx": "unused"}

    client.failures_left = 5
    await failed(page(source))
    assert statuses(source) == {"binance": "503", "okx": "unused"}

    await asyncio.sleep(60)
    await page(source)
    assert statuses(source) == {"binance": "ok", "okx": "unused"}


@in_virtual_time
async def test_a_page_that_nobody_wants_any_more_when_it_is_to_be_tried_again_says_nothing_of_health(source, client):
    client.failures_left = 2
    await source.now("binance")
    assert statuses(source)["binance"] == "503"
    windows = iter([WINDOW, None])

    assert await source.fetch_page(SERIES, lambda: next(windows), int) is None

    assert client.failures_left == 0
    assert statuses(source)["binance"] == "503"


# --- An exchange that is down -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_after_a_conclusive_outage_pages_fail_at_once_but_for_the_one_that_probes(source, client):
    client.failures_left = 6
    await failed(page(source))
    ended = now_secs()

    errors = [await failed(page(source)) for _ in range(50)]
    assert (client.calls, now_secs()) == (5, ended)
    assert {(error.reason, error.tries) for error in errors} == {("503", 0)}

    await asyncio.sleep(16)
    assert (await failed(page(source))).tries == 1
    assert (await failed(page(source))).tries == 0
    assert client.calls == 6

    await asyncio.sleep(23)
    assert [each.calls for each in await asyncio.gather(*(page(source) for _ in range(9)))] == [1] * 9


@in_virtual_time
async def test_before_an_outage_is_conclusive_pages_wait_for_the_probe(source, client):
    client.failures_left = 8
    pages = await asyncio.gather(*(page(source) for _ in range(30)))

    assert sum(each.calls for each in pages) == client.calls == 30 + 8
    # Those under way when it opened, a probe at 15 s, a probe at 37 s: no more than that finds out.
    assert len([at for at in client.times if at < 37]) <= 7


@in_virtual_time
async def test_a_hundred_pages_of_an_exchange_that_is_down_cost_few_calls(source, client):
    client.failures_left = 10_000

    errors = await asyncio.gather(*(failed(page(source)) for _ in range(100)))

    assert {error.reason for error in errors} == {"503"}
    assert sum(error.tries for error in errors) == client.calls <= 5 + 2 + 4
    assert 60 <= now_secs() <= 80


@in_virtual_time
async def test_one_exchange_that_is_down_costs_the_others_no_tries():
    binance, okx = ScriptedClient(), ScriptedClient(replace(FACTS, id="okx"))
    source = source_of(binance, okx)
    binance.failures_left = 99
    await failed(page(source))

    okx.failures_left = 4
    await page(source, "okx")

    assert okx.calls == 5
    assert statuses(source) == {"binance": "503", "okx": "ok"}
    assert {name: each.breaker for name, each in source.conditions().items()} == {"binance": "open", "okx": "closed"}


@in_virtual_time
async def test_nobody_waits_for_a_clock_that_cannot_be_read(source, client):
    client.failures_left = 6
    await failed(page(source))
    before = now_secs()

    assert await source.now("binance") == NOON
    assert (now_secs(), client.calls) == (before, 5)


# --- A market whose answers are nonsense -----------------------------------------------------------------------------


@in_virtual_time
async def test_one_market_of_nonsense_holds_up_no_other(source, client):
    client.nonsense = {"FOO/BAR"}
    bad = [asyncio.create_task(page(source, symbol="FOO/BAR")) for _ in range(30)]

    for _ in range(100):
        before = now_secs()
        assert (await page(source)).calls == 1
        assert now_secs() == before
        await asyncio.sleep(1)

    assert source.conditions()["binance"].markets_held_up == 1
    assert {(await failed(each)).reason for each in bad} == {"no candles"}
    assert source.conditions()["binance"].breaker == "closed"


@in_virtual_time
async def test_a_market_of_nonsense_costs_few_calls_although_nothing_else_is_asked_for(source, client):
    client.nonsense = {SERIES.symbol}

    errors = await asyncio.gather(*(failed(page(source)) for _ in range(100)))
    ended, calls = now_secs(), client.calls
    errors += [await failed(page(source)) for _ in range(100)]

    assert {error.reason for error in errors} == {"no candles"}
    assert sum(error.tries for error in errors) == client.calls == calls <= 5 + 2 + 4
    assert now_secs() == ended


@in_virtual_time
async def test_a_market_is_found_again_when_its_answers_make_sense(source, client):
    client.nonsense = {SERIES.symbol}
    await failed(page(source))
    client.nonsense = set()
    assert (await failed(page(source))).tries == 0
    await asyncio.sleep(60)

    assert (await page(source)).calls == 1


@in_virtual_time
async def test_an_exchange_of_nonsense_is_left_alone_like_one_that_is_down(source, client):
    client.nonsense = symbols = {f"{name}/USDT" for name in "ABCDEFGHIJ"}

    errors = await asyncio.gather(*(failed(page(source, symbol=symbol)) for symbol in [*symbols] * 10))

    assert all(error.reason.endswith("no candles") for error in errors)
    assert source.conditions()["binance"].breaker == "open"
    assert client.calls <= 5 + 2 + 4


async def asked_again_every_second(source, symbol: str) -> None:
    while True:
        with suppress(ExchangeUnavailableError):
            await page(source, urgency=lambda: 1, symbol=symbol)
        await asyncio.sleep(1)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=[FACTS, SLOW], ids=["fast", "slow"])
def facts(request) -> ExchangeFacts:
    return request.param


@in_virtual_time
async def test_after_an_outage_a_market_of_nonsense_takes_no_probe_from_the_others(facts):
    source = source_of(client := ScriptedClient(facts))
    client.failures_left, client.nonsense = 5, {"FOO/BAR"}
    bad = [asyncio.create_task(page(source, urgency=lambda: 1, symbol="FOO/BAR")) for _ in range(30)]
    good = await asyncio.gather(*(page(source, urgency=lambda: 1000) for _ in range(5)))

    assert now_secs() < 30, "the first probe finds out, or the next one"
    assert sum(each.calls for each in good) <= 5 + 5, "five of them failed while it was down"
    assert {(await failed(each)).reason for each in bad} == {"no candles"}


@pytest.mark.parametrize("markets", [1, 4])
@in_virtual_time
async def test_however_often_bad_markets_are_asked_for_a_good_one_gets_its_page(facts, markets):
    source = source_of(client := ScriptedClient(facts))
    client.failures_left, client.nonsense = 5, {f"{name}/BAD" for name in "ABCDEFG"[:markets]}
    asking = [asyncio.create_task(asked_again_every_second(source, each)) for each in [*client.nonsense] * 10]
    await asyncio.sleep(5)

    for _ in range(10):
        before = now_secs()
        await page(source, urgency=lambda: 1000)
        assert now_secs() - before < 60
        await asyncio.sleep(20)

    await ended(asking)


@in_virtual_time
async def test_among_so_many_bad_markets_that_the_exchange_is_blamed_a_good_one_is_found_again(facts):
    source = source_of(client := ScriptedClient(facts))
    client.failures_left, client.nonsense = 5, {f"{name}/BAD" for name in "ABCDEFG"}
    asking = [asyncio.create_task(asked_again_every_second(source, each)) for each in [*client.nonsense] * 10]
    await asyncio.sleep(5)

    is_found = False
    while not is_found:
        assert now_secs() < 300
        with suppress(ExchangeUnavailableError):
            is_found = (await page(source, urgency=lambda: 1000)) is not None
        await asyncio.sleep(1)

    await ended(asking)


@pytest.mark.parametrize(("markets", "calls"), [(1, 20), (4, 60), (20, 25)])
@in_virtual_time
async def test_an_outage_that_turns_into_nonsense_costs_few_calls_however_many_markets_are_asked_for(
    source, client, markets, calls
):
    client.failures_left, client.nonsense = 5, {f"{number}/BAD" for number in range(markets)}
    asking = [asyncio.create_task(asked_again_every_second(source, each)) for each in [*client.nonsense] * 3]
    await asyncio.sleep(300)

    assert client.calls <= calls
    await ended(asking)


# --- Politeness -------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_no_more_calls_are_under_way_than_the_exchange_allows(source, client):
    client.hold = asyncio.Event()
    calls = [asyncio.create_task(page(source)) for _ in range(8)]
    calls += [asyncio.create_task(source.now("binance")), asyncio.create_task(source.fetch_first_open(SERIES))]
    await settled()
    condition = source.conditions()["binance"]
    assert (condition.under_way, condition.waiting) == (client.under_way, 7) == (3, 7)

    client.hold.set()
    await asyncio.gather(*calls)

    assert client.most_at_once == 3
    assert client.calls == 10


@in_virtual_time
async def test_a_page_costs_what_the_exchange_takes_for_it():
    source = source_of(client := ScriptedClient(replace(SLOW, perpetual_page_cost=6.25)))

    for symbol in ("BTC/USDT:USDT", "BTC/USDT", "BTC/USDT"):
        await source.fetch_page(series(symbol=symbol), lambda: WINDOW, int)

    assert client.times == pytest.approx([0, 6.25, 7.25], abs=0.01)


@in_virtual_time
async def test_a_call_that_is_cancelled_gives_its_place_back(source, client):
    client.hold = asyncio.Event()
    calls = [asyncio.create_task(page(source)) for _ in range(4)]
    await settled()
    assert client.calls == 3

    calls[0].cancel()
    await settled()
    assert (client.calls, client.under_way) == (4, 3)

    client.hold.set()
    await asyncio.gather(*calls, return_exceptions=True)


@in_virtual_time
async def test_after_a_limit_nobody_calls_before_the_time_it_named(source, client):
    client.failure, client.failures_left = ExchangeLimitError("binance", "429", timedelta(seconds=30)), 1
    client.lasts_secs = 0.1
    first = asyncio.create_task(page(source))
    await asyncio.sleep(0.2)
    condition = source.conditions()["binance"]

    await asyncio.gather(first, page(source), page(source))

    assert min(client.times[1:]) == pytest.approx(30.1, abs=0.01)
    assert (condition.calls_per_sec, condition.full_calls_per_sec) == (50, 100)
    assert condition.paused_secs == pytest.approx(29.9)
    assert condition.breaker == "closed"


@in_virtual_time
async def test_an_outage_that_names_its_end_is_not_called_before_it(source, client):
    client.failure, client.failures_left = ExchangeUnavailableError("binance", "503", timedelta(seconds=30)), 1

    await page(source)

    assert client.times == pytest.approx([0, 30], abs=0.01)
    assert source.conditions()["binance"].calls_per_sec == 100, "it was not we who asked too much"


@in_virtual_time
async def test_a_ban_is_told_and_not_waited_for(source, client):
    client.failure, client.failures_left = ExchangeLimitError("binance", "418", timedelta(seconds=600)), 1

    first = await failed(page(source))
    await asyncio.sleep(100)
    second = await failed(page(source))

    assert (first.reason, first.retry_after, first.tries) == ("418", timedelta(seconds=600), 1)
    assert (second.retry_after, second.tries) == (timedelta(seconds=500), 0)
    assert client.calls == 1
    assert source.conditions()["binance"].paused_secs == 500
    await asyncio.sleep(400)
    assert (await page(source)).calls == 1


@in_virtual_time
async def test_limits_however_many_never_open_the_breaker(source, client):
    client.failure, client.failures_left = ExchangeLimitError("binance", "429", timedelta(seconds=5)), 40

    await asyncio.gather(*(page(source) for _ in range(20)), return_exceptions=True)

    assert source.conditions()["binance"].breaker == "closed"
