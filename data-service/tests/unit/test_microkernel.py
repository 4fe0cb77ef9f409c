"""The connector: one client per exchange, polite to those that answer and patient with those that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from unit_builders import minute, minute_bars, minutes, series, utc
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
    UnknownExchangeError,
    UnknownSymbolError,
)
from cb_trade_data.exchange_source.facts import ExchangeFacts, Pace
from cb_trade_data.exchange_source.interfaces import ExchangeCondition, IExchangeAPIClient, Market, Page
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

SECOND = timedelta(seconds=1)
FACTS = ExchangeFacts(
    "binance", ("1m", "1h"), 1000, jumps_to_first=True, concurrent_calls=3, pace=Pace(100, SECOND, 100), markets_cost=10
)
SLOW = replace(FACTS, pace=Pace(1, SECOND), concurrent_calls=1)
SERIES = series()
WINDOW = minutes(0, 10)
NOON = utc("2024-02-29T12:00")
DOWN = ExchangeUnavailableError("binance", "503")


class ScriptedClient(IExchangeAPIClient):
    """Fails as often as it is told to, holds calls while it is told to, and counts."""

    def __init__(self, facts: ExchangeFacts = FACTS) -> None:
        self.facts = facts
        self.failures_left = 0
        self.failure: Exception = DOWN
        self.hold: asyncio.Event | None = None
        self.lasts_secs = 0.0
        self.times: list[float] = []
        self.windows: list[TimeRange] = []
        self.under_way = 0
        self.most_at_once = 0
        self.closed = 0
        self.has_markets = True
        self.are_markets_old = False

    @property
    def calls(self) -> int:
        return len(self.times)

    async def _call(self) -> None:
        self.times.append(now_secs())
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(self.lasts_secs)
            if self.hold is not None:
                await self.hold.wait()
            if self.failures_left:
                self.failures_left -= 1
                raise self.failure
        finally:
            self.under_way -= 1

    def markets_due(self, name: str, *, anew: bool) -> str | None:
        return None if self.has_markets and not (anew and self.are_markets_old) else "all"

    async def load_markets(self, part: str) -> None:
        await self._call()
        self.has_markets = True
        self.are_markets_old = False

    async def market(self, symbol: str) -> Market:
        if symbol == "FOO/BAR":
            raise UnknownSymbolError("binance", symbol)
        return Market(symbol.replace("/", ""))

    async def symbol_of(self, market_id: str) -> str | None:
        return "BTC/USDT" if market_id == "BTCUSDT" else None

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        self.windows.append(window)
        await self._call()
        return Page(minute_bars(range(10)))

    async def fetch_first_open(self, series: Series) -> datetime | None:
        await self._call()
        return minute(0)

    async def fetch_time(self) -> datetime | None:
        await self._call()
        return NOON + timedelta(seconds=10)

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient()


def source_of(*clients: ScriptedClient) -> DataSourceConnectorImpl:
    registry = PluginRegistry()
    for each in clients:
        registry.register(each.facts, lambda each=each: each)
    return DataSourceConnectorImpl(registry, local_now=lambda: NOON, stopwatch=Stopwatch(now_secs))


@pytest.fixture
def source(client) -> DataSourceConnectorImpl:
    return source_of(client, ScriptedClient(replace(FACTS, id="okx")))


def statuses(source: DataSourceConnectorImpl) -> dict[str, str]:
    return {name: condition.status for name, condition in source.conditions().items()}


async def settled() -> None:
    """Let every task run as far as it can without time passing."""
    for _ in range(40):
        await asyncio.sleep(0)


async def page(source: DataSourceConnectorImpl, exchange: str = "binance", urgency: Callable[[], int] = int) -> Page:
    """Fetch one page."""
    fetched = await source.fetch_page(series(exchange=exchange), lambda: WINDOW, urgency)
    assert fetched is not None
    return fetched


async def failed(call) -> ExchangeUnavailableError:
    with pytest.raises(ExchangeUnavailableError) as caught:
        await call
    return caught.value


CALLS = {"fetch_page": page, "fetch_first_open": lambda source: source.fetch_first_open(SERIES)}
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


# --- The window is chosen when the turn has come ---------------------------------------------------------------------


@in_virtual_time
async def test_the_window_is_chosen_once_and_when_there_is_a_place_for_it():
    client = ScriptedClient(SLOW)
    source, asked = source_of(client), []

    def next_window() -> TimeRange:
        asked.append(now_secs())
        return minutes(len(asked), 10)

    client.lasts_secs, client.failures_left = 5, 2
    first = asyncio.create_task(source.fetch_page(SERIES, lambda: WINDOW, int))
    await settled()
    client.failures_left = 3
    await asyncio.gather(first, source.fetch_page(SERIES, next_window, int))

    assert len(asked) == 1
    assert asked[0] >= 5
    assert set(client.windows) == {WINDOW, minutes(1, 10)}


@in_virtual_time
async def test_a_page_that_is_tried_again_keeps_its_window(source, client):
    windows = iter([minutes(0, 5), minutes(5, 10)])
    client.failures_left = 3

    await source.fetch_page(SERIES, lambda: next(windows), int)

    assert client.windows == [minutes(0, 5)] * 4


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


# --- Markets ---------------------------------------------------------------------------------------------------------


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


# --- Trying again ----------------------------------------------------------------------------------------------------


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


# --- An exchange that is down ----------------------------------------------------------------------------------------


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


# --- Politeness ------------------------------------------------------------------------------------------------------


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


# --- The end ---------------------------------------------------------------------------------------------------------


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
