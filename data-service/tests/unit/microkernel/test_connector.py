"""The connector: one client per exchange, asked for what is wanted when its turn has come."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from scripted_client import (
    FACTS,
    NOON,
    SECOND,
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
from unit_builders import minute, minutes, series
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeNonsenseError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
    UnknownExchangeError,
    UnknownSymbolError,
)
from cb_trade_data.exchange_source.facts import Pace
from cb_trade_data.exchange_source.interfaces import ExchangeCondition, Market
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.models.time_range import TimeRange

# --- One client per exchange ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_facts_and_health_touch_no_client(source, client):
    assert source.facts("binance") is FACTS
    assert source.known_now("binance") is None
    assert source.conditions() == {
        name: ExchangeCondition("unused", calls_per_sec=100.0, full_calls_per_sec=100.0) for name in ("binance", "okx")
    }
    assert client.calls == 0
    with pytest.raises(UnknownExchangeError):
        source.facts("binnance")


@in_virtual_time
async def test_an_exchange_has_one_client_however_many_ask():
    made = []

    def make() -> ScriptedClient:
        made.append(ScriptedClient())
        return made[-1]

    registry = PluginRegistry()
    registry.register(FACTS, make)
    source = DataSourceConnectorImpl(registry, stopwatch=Stopwatch(now_secs))

    await asyncio.gather(page(source), source.market(SERIES), source.now("binance"))

    assert len(made) == 1


@in_virtual_time
async def test_answers_come_as_the_client_gave_them(source):
    fetched = await page(source)

    assert (fetched.rows.num_rows, fetched.calls) == (10, 1)
    assert await source.fetch_first_open(SERIES) == minute(0)
    assert await source.market(SERIES) == Market("BTCUSDT")
    assert await source.symbol_of("binance", "BTCUSDT") == "BTC/USDT"
    assert await source.symbol_of("binance", "LUNA") is None


@in_virtual_time
async def test_the_present_is_the_exchanges_once_its_clock_was_read(source):
    assert await source.now("binance") == NOON + timedelta(seconds=10)
    assert source.known_now("binance") == NOON + timedelta(seconds=10)
    assert source.known_now("okx") is None


# --- The window is chosen when the turn has come ----------------------------------------------------------------------


@in_virtual_time
async def test_the_window_is_chosen_when_there_is_a_place_for_it():
    client = ScriptedClient(SLOW)
    source, asked = source_of(client), []

    def next_window() -> TimeRange:
        asked.append(now_secs())
        return minutes(1, 10)

    client.lasts_secs = 5
    await asyncio.gather(page(source), source.fetch_page(SERIES, next_window, int))

    assert asked == [5]
    assert client.windows == [WINDOW, minutes(1, 10)]


@in_virtual_time
async def test_a_page_that_nobody_wants_any_more_is_not_tried_again(source, client):
    windows = iter([WINDOW, WINDOW, None])
    client.failures_left = 9

    assert await source.fetch_page(SERIES, lambda: next(windows), int) is None

    assert client.windows == [WINDOW] * 2


@in_virtual_time
async def test_where_nothing_is_wanted_any_more_no_call_is_made_and_none_is_paid_for():
    client = ScriptedClient(SLOW)
    source = source_of(client)

    assert [await source.fetch_page(SERIES, lambda: None, int) for _ in range(9)] == [None] * 9
    await page(source)

    assert client.times == [0]
    assert statuses(source) == {"binance": "ok"}


@in_virtual_time
async def test_the_neediest_goes_first():
    client = ScriptedClient(SLOW)
    source = source_of(client)
    backfill = [asyncio.create_task(page(source, urgency=lambda: 1_000_000)) for _ in range(20)]
    await asyncio.sleep(3.5)

    await page(source, urgency=lambda: 1440)

    assert now_secs() == pytest.approx(4, abs=0.01)
    for each in backfill:
        each.cancel()


# --- Markets ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_in_memory_waits_for_no_turn():
    client = ScriptedClient(SLOW)
    source = source_of(client)
    backfill = [asyncio.create_task(page(source)) for _ in range(20)]
    await settled()

    for _ in range(50):
        await source.market(SERIES)
        await source.symbol_of("binance", "BTCUSDT")

    assert now_secs() == 0
    for each in backfill:
        each.cancel()


@in_virtual_time
async def test_markets_are_loaded_once_for_all_who_need_them_and_paid_for():
    client = ScriptedClient(replace(FACTS, pace=Pace(1, SECOND)))
    client.has_markets = False
    source = source_of(client)

    await asyncio.gather(source.market(SERIES), page(source), source.fetch_first_open(SERIES), source.market(SERIES))

    assert client.times == pytest.approx([0, 10, 11], abs=0.01)


@in_virtual_time
async def test_markets_are_loaded_once_even_if_the_first_who_asks_goes_away(source, client):
    client.has_markets, client.hold = False, asyncio.Event()
    first = asyncio.create_task(source.market(SERIES))
    others = [asyncio.create_task(source.market(SERIES)) for _ in range(3)]
    await settled()
    first.cancel()
    await settled()
    client.hold.set()

    assert await asyncio.gather(*others) == [Market("BTCUSDT")] * 3
    assert client.calls == 1


@in_virtual_time
async def test_markets_are_loaded_before_any_page():
    client = ScriptedClient(SLOW)
    client.has_markets = False
    source = source_of(client)
    first = asyncio.create_task(page(source, urgency=lambda: -1))
    await settled()

    assert client.windows == []
    await first
    assert client.windows == [WINDOW]


@in_virtual_time
async def test_loading_markets_is_tried_again(source, client):
    client.has_markets, client.failures_left = False, 4

    assert await source.market(SERIES) == Market("BTCUSDT")
    assert client.calls == 5


@in_virtual_time
async def test_markets_that_cannot_be_loaded_again_are_taken_as_they_are_and_asked_for_the_next_time(source, client):
    client.are_markets_old, client.failures_left = True, 1
    client.failure = ExchangeRefusalError("binance", "not today")

    assert await source.market(SERIES) == Market("BTCUSDT")
    assert client.are_markets_old
    assert await source.market(SERIES) == Market("BTCUSDT")
    assert not client.are_markets_old


@in_virtual_time
async def test_markets_that_cannot_be_loaded_are_an_error_to_each_who_needs_them(source, client):
    client.has_markets, client.failures_left = False, 99

    errors = await asyncio.gather(*(failed(page(source)) for _ in range(4)), failed(source.market(SERIES)))

    assert {(error.reason, error.tries) for error in errors} == {("503", 0)}
    assert len({id(error) for error in errors}) == 5
    assert client.calls == 5


@in_virtual_time
async def test_a_symbol_that_the_exchange_does_not_have_is_no_failure_of_it(source, client):
    with pytest.raises(UnknownSymbolError):
        await source.market(series(symbol="FOO/BAR"))

    assert source.conditions()["binance"].status == "ok"


# --- The end ----------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_closing_closes_every_client_that_was_made_and_makes_none(source, client):
    await source.market(SERIES)

    await source.close()

    assert client.closed == 1
    assert statuses(source) == {"binance": "unused", "okx": "unused"}


@in_virtual_time
async def test_closing_twice_closes_once(source, client):
    await source.market(SERIES)

    await source.close()
    await source.close()

    assert client.closed == 1


@in_virtual_time
async def test_closing_what_was_never_used_closes_nothing(source, client):
    await source.close()

    assert client.closed == 0


@in_virtual_time
async def test_closing_ends_all_waiting(source, client):
    client.hold = asyncio.Event()
    under_way = [asyncio.create_task(page(source)) for _ in range(3)]
    queued = asyncio.create_task(page(source))
    await settled()

    await source.close()

    assert (await failed(queued)).reason == "the service is stopping"
    for each in under_way:
        each.cancel()


@in_virtual_time
async def test_closing_ends_waiting_for_a_probe(source, client):
    client.failures_left = 99
    waiting = [asyncio.create_task(page(source)) for _ in range(9)]
    await asyncio.sleep(5)

    await source.close()

    assert {(await failed(each)).reason for each in waiting} == {"the service is stopping"}


# --- What is counted --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_calls_are_counted_and_those_that_failed_by_what_was_wrong(source, client):
    errors = {
        "limit": ExchangeLimitError("binance", "429", SECOND),
        "refusal": ExchangeRefusalError("binance", "no such market"),
        "nonsense": ExchangeNonsenseError("binance", "no candles"),
        "unavailable": ExchangeUnavailableError("binance", "503"),
    }
    for error in errors.values():
        client.failures_left, client.failure = 1, error
        if isinstance(error, ExchangeRefusalError):
            await failed(page(source))
        else:
            await page(source)

    condition = source.conditions()["binance"]
    assert condition.calls == client.calls == 7
    assert condition.errors == dict.fromkeys(errors, 1)
    assert source.conditions()["okx"].calls == 0


@in_virtual_time
async def test_the_last_error_stays_on_record_and_a_refusal_is_none(source, client):
    await page(source)
    assert source.conditions()["binance"].last_error is None
    client.failures_left = 1
    await page(source)
    client.failures_left, client.failure = 1, ExchangeRefusalError("binance", "no such market")
    await failed(page(source))

    condition = source.conditions()["binance"]
    assert (condition.status, condition.last_error.reason) == ("ok", "503")
