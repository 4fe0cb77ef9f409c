from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import stamina
from unit_builders import minute, minute_bars, minutes, series, utc

from cb_trade_data.errors import ExchangeUnavailableError, UnknownExchangeError, UnknownSymbolError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

FACTS = ExchangeFacts("binance", ("1m", "1h"), 1000, jumps_to_first=True, concurrent_calls=3)
SERIES = series()
WINDOW = minutes(0, 10)
NOON = utc("2024-02-29T12:00")


class ScriptedClient(IExchangeAPIClient):
    """Fails as often as it is told to, holds calls while it is told to, and counts."""

    def __init__(self, facts: ExchangeFacts = FACTS) -> None:
        self.facts = facts
        self.failures_left = 0
        self.failure: Exception = ExchangeUnavailableError("binance", "503")
        self.hold: asyncio.Event | None = None
        self.calls = 0
        self.under_way = 0
        self.most_at_once = 0
        self.closed = 0

    async def _call(self) -> None:
        self.calls += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            if self.hold is not None:
                await self.hold.wait()
            if self.failures_left:
                self.failures_left -= 1
                raise self.failure
        finally:
            self.under_way -= 1

    async def market(self, symbol: str) -> Market:
        await self._call()
        return Market(symbol.replace("/", ""))

    async def symbol_of(self, market_id: str) -> str | None:
        await self._call()
        return "BTC/USDT" if market_id == "BTCUSDT" else None

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        await self._call()
        return Page(minute_bars(range(10)))

    async def fetch_first_open(self, series: Series) -> datetime | None:
        await self._call()
        return minute(0)

    async def fetch_time(self) -> datetime | None:
        return NOON + timedelta(seconds=10)

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def _retries_do_not_wait() -> Iterator[None]:
    stamina.set_testing(True, attempts=5, cap=True)
    yield
    stamina.set_testing(False)


pytestmark = pytest.mark.usefixtures("_retries_do_not_wait")


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient()


@pytest.fixture
def source(client) -> DataSourceConnectorImpl:
    registry = PluginRegistry()
    registry.register(FACTS, lambda: client)
    registry.register(replace(FACTS, id="okx"), ScriptedClient)
    return DataSourceConnectorImpl(registry, local_now=lambda: NOON)


def statuses(source: DataSourceConnectorImpl) -> dict[str, str]:
    return {name: condition.status for name, condition in source.conditions().items()}


async def settled() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


CALLS = {
    "fetch_page": lambda source: source.fetch_page(SERIES, lambda: WINDOW, lambda: 0),
    "fetch_first_open": lambda source: source.fetch_first_open(SERIES),
    "market": lambda source: source.market(SERIES),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


# --- The registry ----------------------------------------------------------------------------------------------------


def test_exchanges_are_known_by_name_and_sorted():
    registry = PluginRegistry()
    for name in ("okx", "binance", "kraken"):
        registry.register(replace(FACTS, id=name), ScriptedClient)

    assert registry.names == ["binance", "kraken", "okx"]
    assert registry.facts("kraken").id == "kraken"


def test_a_name_is_registered_once():
    registry = PluginRegistry()
    registry.register(FACTS, ScriptedClient)

    with pytest.raises(ValueError, match="'binance' is registered already"):
        registry.register(replace(FACTS, page_limit_bars=5), ScriptedClient)

    assert registry.facts("binance") is FACTS


def test_replacing_an_exchange_is_said_aloud():
    registry = PluginRegistry()
    registry.register(FACTS, ScriptedClient)

    registry.register(replace(FACTS, page_limit_bars=5), ScriptedClient, override=True)

    assert registry.facts("binance").page_limit_bars == 5
    assert registry.names == ["binance"]


def test_a_name_nobody_registered_is_unknown_and_the_known_ones_are_told():
    registry = PluginRegistry()
    registry.register(FACTS, ScriptedClient)

    for use in (registry.facts, registry.make_client):
        with pytest.raises(UnknownExchangeError) as caught:
            use("binnance")
        assert caught.value.details == {"exchange": "binnance", "known": ["binance"]}


def test_registering_makes_no_client():
    made = []
    registry = PluginRegistry()

    registry.register(FACTS, lambda: made.append(1) or ScriptedClient())
    assert made == []
    registry.make_client("binance")
    assert made == [1]


# --- One client per exchange -----------------------------------------------------------------------------------------


async def test_facts_and_health_touch_no_client(source, client):
    assert source.facts("binance") is FACTS
    assert source.known_now("binance") is None
    assert statuses(source) == {"binance": "unused", "okx": "unused"}
    assert client.calls == 0
    with pytest.raises(UnknownExchangeError):
        source.facts("binnance")


async def test_an_exchange_has_one_client_however_many_ask():
    made = []

    def make() -> ScriptedClient:
        made.append(ScriptedClient())
        return made[-1]

    registry = PluginRegistry()
    registry.register(FACTS, make)
    source = DataSourceConnectorImpl(registry)

    await asyncio.gather(
        source.fetch_page(SERIES, lambda: WINDOW, lambda: 0), source.market(SERIES), source.now("binance")
    )

    assert len(made) == 1


async def test_answers_come_as_the_client_gave_them(source):
    page = await source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)

    assert (page.rows.num_rows, page.calls) == (10, 1)
    assert await source.fetch_first_open(SERIES) == minute(0)
    assert await source.market(SERIES) == Market("BTCUSDT")


async def test_the_present_is_the_exchanges_once_its_clock_was_read(source):
    assert await source.now("binance") == NOON + timedelta(seconds=10)
    assert source.known_now("binance") == NOON + timedelta(seconds=10)
    assert source.known_now("okx") is None


# --- Trying again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", [0, 1, 4])
async def test_failed_tries_are_made_again_and_counted(source, client, failures):
    client.failures_left = failures

    page = await source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)

    assert page.calls == client.calls == failures + 1


@every_call
async def test_after_five_tries_the_exchange_is_unavailable(source, client, call):
    client.failures_left = 5

    with pytest.raises(ExchangeUnavailableError) as caught:
        await call(source)

    assert caught.value.reason == "503"
    assert caught.value.tries == client.calls == 5


async def test_five_tries_take_a_minute_at_least(source, client, monkeypatch):
    """Less than that is a hiccup, and no reason to report a gap."""
    waits: list[float] = []
    really_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await really_sleep(0)

    stamina.set_testing(False)
    monkeypatch.setattr(random, "uniform", lambda least, most: least)  # no jitter, which only ever adds
    monkeypatch.setattr(asyncio, "sleep", sleep)
    client.failures_left = 99

    with pytest.raises(ExchangeUnavailableError):
        await source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)

    assert client.calls == 5
    assert len(waits) == 4
    assert 60 <= sum(waits) <= 120


@every_call
async def test_an_exchange_that_is_down_gets_one_try_per_call_until_it_answers(source, client, call):
    """Otherwise every page of a long range would wait for its own minute."""
    client.failures_left = 5 + 2
    for _ in range(3):
        with pytest.raises(ExchangeUnavailableError):
            await call(source)
    assert client.calls == 5 + 1 + 1

    await call(source)
    client.failures_left, client.calls = 4, 0
    await call(source)

    assert client.calls == 5


async def test_one_exchange_that_is_down_costs_the_others_no_tries():
    clients = {"binance": ScriptedClient(), "okx": ScriptedClient()}
    registry = PluginRegistry()
    for name, one in clients.items():
        registry.register(replace(FACTS, id=name), lambda one=one: one)
    source = DataSourceConnectorImpl(registry)
    clients["binance"].failures_left = 5
    with pytest.raises(ExchangeUnavailableError):
        await source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)

    clients["okx"].failures_left = 4
    await source.fetch_page(series(exchange="okx"), lambda: WINDOW, lambda: 0)

    assert clients["okx"].calls == 5
    assert statuses(source) == {"binance": "503", "okx": "ok"}


@every_call
@pytest.mark.parametrize("failure", [UnknownSymbolError("binance", "FOO/BAR"), RuntimeError("a defect")])
async def test_what_trying_again_cannot_mend_is_not_tried_again(source, client, call, failure):
    client.failure, client.failures_left = failure, 1

    with pytest.raises(type(failure)):
        await call(source)

    assert client.calls == 1


async def test_health_is_what_was_seen_last(source, client):
    await source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)
    assert statuses(source) == {"binance": "ok", "okx": "unused"}

    client.failures_left = 5
    with pytest.raises(ExchangeUnavailableError):
        await source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)
    assert statuses(source) == {"binance": "503", "okx": "unused"}

    await source.market(SERIES)
    assert statuses(source) == {"binance": "ok", "okx": "unused"}


# --- Politeness ------------------------------------------------------------------------------------------------------


async def test_no_more_calls_are_under_way_than_the_exchange_allows(source, client):
    client.hold = asyncio.Event()
    calls = [asyncio.create_task(source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)) for _ in range(8)]
    calls += [asyncio.create_task(source.market(SERIES)), asyncio.create_task(source.fetch_first_open(SERIES))]
    await settled()
    assert client.under_way == 3

    client.hold.set()
    await asyncio.gather(*calls)

    assert client.most_at_once == 3
    assert client.calls == 10


async def test_a_call_that_is_cancelled_gives_its_place_back(source, client):
    client.hold = asyncio.Event()
    calls = [asyncio.create_task(source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)) for _ in range(4)]
    await settled()
    assert client.calls == 3

    calls[0].cancel()
    await settled()
    assert (client.calls, client.under_way) == (4, 3)

    client.hold.set()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_call_that_waits_for_its_next_try_holds_no_place(source, client, monkeypatch):
    waiting, go_on = asyncio.Event(), asyncio.Event()
    really_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            waiting.set()
            await go_on.wait()
        await really_sleep(0)

    stamina.set_testing(False)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    client.failures_left = 3
    failing = [asyncio.create_task(source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)) for _ in range(3)]
    await waiting.wait()

    async with asyncio.timeout(10):
        assert (await source.fetch_page(SERIES, lambda: WINDOW, lambda: 0)).calls == 1

    go_on.set()
    assert [page.calls for page in await asyncio.gather(*failing)] == [2, 2, 2]


# --- The end ---------------------------------------------------------------------------------------------------------


async def test_closing_closes_every_client_that_was_made_and_makes_none(source, client):
    await source.market(SERIES)

    await source.close()

    assert client.closed == 1
    assert statuses(source) == {"binance": "unused", "okx": "unused"}


async def test_closing_twice_closes_once(source, client):
    await source.market(SERIES)

    await source.close()
    await source.close()

    assert client.closed == 1


async def test_closing_what_was_never_used_closes_nothing(source, client):
    await source.close()

    assert client.closed == 0
