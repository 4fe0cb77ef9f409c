"""Which exchange answers: situations, with a real storage and exchanges in memory that count what they are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fake_exchange import Anchoring, FakeExchange
from unit_builders import utc

from cb_trade_data.errors import (
    ErrorCode,
    ExchangesForbiddenError,
    ExchangeUnavailableError,
    NoExchangeError,
    NoExchangeNowError,
    StorageUnavailableError,
    UnknownExchangeError,
)
from cb_trade_data.exchange_source.facts import EventPaging
from cb_trade_data.exchange_source.interfaces import Market, Page
from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl, PluginRegistry
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.historical.choice import ExchangeChooser, OpenQuestion, in_order
from cb_trade_data.historical.current_fetcher import CurrentDataFetcher
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.manager import HistoricalDataManagerImpl
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl

SYMBOL = "BTC/USDT"
NOW = utc("2024-01-10T12:00:30")
DAY = TimeRange(utc("2024-01-08"), utc("2024-01-09"))
HOURS = TimeRange(utc("2024-01-10T09:00"), utc("2024-01-10T11:00"))
_SPEED = 100_000.0


class Venue(FakeExchange):
    """An exchange that tells its markets only when it is asked for them, and counts all that it is asked.

    Attributes:
        calls: Everything it was asked, whether it answered or not.
        is_down: Whether it fails to answer.
        tells_markets: Set while it tells its markets as soon as it is asked for them.
    """

    def __init__(
        self, name: str, symbols: Iterable[str] = (SYMBOL,), *, timeframes: Sequence[str] = ("1m",), keeps_bars: int = 0
    ) -> None:
        opens = [HOURS.end - timedelta(minutes=back) for back in range(1, 4 * 24 * 60)]
        anchoring = Anchoring.NEWEST_ONLY if keeps_bars else Anchoring.START
        super().__init__(opens, keeps_bars or 5000, anchoring, timeframes=timeframes, now=lambda: NOW)
        self.facts = replace(self.facts, id=name)
        self.markets = {symbol: Market(symbol) for symbol in symbols}
        self.calls: list[str] = []
        self.is_down = False
        self.tells_markets = asyncio.Event()
        self.tells_markets.set()
        self._is_loaded = False

    def markets_due(self, name: str, *, anew: bool) -> str | None:
        return None if self._is_loaded else "all"

    async def load_markets(self, part: str) -> None:
        self._asked("markets")
        await self.tells_markets.wait()
        self._is_loaded = True

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        self._asked("page")
        return await super().fetch_ohlcv(series, window)

    async def fetch_first_open(self, series: Series) -> datetime | None:
        self._asked("listing")
        return await super().fetch_first_open(series)

    async def fetch_time(self) -> datetime | None:
        self._asked("clock")
        return await super().fetch_time()

    def forget(self) -> None:
        """Be as a new process finds it."""
        self._is_loaded = False
        self.calls.clear()

    def _asked(self, what: str) -> None:
        self.calls.append(what)
        if self.is_down:
            raise ExchangeUnavailableError(self.facts.id, "503")


class House:
    """The historical side with several exchanges.

    Attributes:
        secs: The time by which breakers count; stands still unless a test moves it.
    """

    def __init__(self, root: Path, *venues: Venue, preference: Sequence[str] = ()) -> None:
        self.secs = 0.0
        self.venues = {venue.facts.id: venue for venue in venues}
        self.storage = StorageManagerImpl(LocalFileStorage(root, ParquetLayout()))
        self._preference = preference
        self.restart()

    def restart(self) -> None:
        """Go on as a new process does, which knows what is stored and nothing else."""
        registry = PluginRegistry()
        for venue in self.venues.values():
            venue.forget()
            registry.register(venue.facts, lambda venue=venue: venue)
        # Waits between tries take no time worth mentioning, and a breaker that opened stays open.
        stopwatch = Stopwatch(lambda: self.secs / _SPEED, speed=_SPEED)
        self.source = DataSourceConnectorImpl(registry, lambda: NOW, stopwatch)
        register = SeriesRegister(self.storage, self.source)
        fetcher = HistoricalFetcher(self.storage, self.source, register)
        current = CurrentDataFetcher(self.storage, self.source, register)
        self.manager = HistoricalDataManagerImpl(
            self.storage, self.source, register, fetcher, current, lambda: NOW, self._preference
        )

    async def choose(self, exchanges: str | None, wanted: TimeRange | None = DAY, *, may_ask: bool = True, **fields):
        """Return the name of the exchange that answers; *exchanges*: names with blanks between them, None for any."""
        return (await self.choice(exchanges, wanted, may_ask=may_ask, **fields)).series.exchange

    async def choice(self, exchanges: str | None, wanted: TimeRange | None = DAY, *, may_ask: bool = True, **fields):
        asked = {"symbol": SYMBOL, "kind": "ohlcv", "timeframe": "1m", "may_use": lambda name: True} | fields
        names = None if exchanges is None else exchanges.split()
        return await self.manager.choose(OpenQuestion(names, wanted=wanted, **asked), may_ask=may_ask)

    def hasty(self) -> ExchangeChooser:
        """Return one that chooses in the same way, with next to no patience."""
        return ExchangeChooser(
            self.storage,
            self.source,
            (),
            name_series=self.manager.series_or_derived,
            closed_bars=self.manager._closed_bars,
            present=self.manager._now,
            patience_secs=0.01,
        )

    async def store(self, exchange: str, wanted: TimeRange = DAY) -> None:
        """Have *wanted* in storage, and nobody remember what it took."""
        answer = await self.manager.open(self.manager.series(exchange, SYMBOL, "ohlcv", "1m"), wanted, refresh=False)
        async for _ in answer.stretches():
            pass
        self.restart()

    async def bring_down(self, exchange: str) -> None:
        """Have an exchange fail until it is left alone."""
        self.venues[exchange].is_down = True
        with pytest.raises(ExchangeUnavailableError):
            await self.source.fetch_first_open(self.manager.series(exchange, SYMBOL, "ohlcv", "1m"))
        assert self.source.conditions()[exchange].breaker == "open"
        self.venues[exchange].calls.clear()

    @property
    def asked(self) -> dict[str, list[str]]:
        return {name: venue.calls for name, venue in self.venues.items() if venue.calls}


@pytest.fixture
def house(tmp_path):
    def build(*venues: Venue, preference: Sequence[str] = ()) -> House:
        return House(tmp_path, *venues, preference=preference)

    return build


# --- The order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchanges", "preference", "expected"),
    [
        (["c", "a", "b"], (), ["c", "a", "b"]),
        (["c", "a", "b"], ("b",), ["b", "c", "a"]),
        (["c", "a", "b"], ("x", "a", "c"), ["a", "c", "b"]),
        ([], ("a",), []),
    ],
)
def test_what_is_preferred_comes_first_and_the_rest_as_it_was_asked_for(exchanges, preference, expected):
    assert in_order(exchanges, preference) == expected


async def test_the_first_of_the_list_answers_and_no_other_is_asked(house):
    both = house(Venue("alpha"), Venue("beta"))

    assert await both.choose("beta alpha") == "beta"
    assert both.asked == {"beta": ["markets"]}


async def test_the_preference_of_the_settings_goes_before_the_order_of_the_list(house):
    assert await house(Venue("alpha"), Venue("beta"), preference=["beta"]).choose("alpha beta") == "beta"


@pytest.mark.parametrize(("preference", "expected"), [([], "alpha"), (["gamma"], "gamma")])
async def test_of_any_the_first_by_name_answers_after_those_that_are_preferred(house, preference, expected):
    some = house(Venue("gamma"), Venue("beta"), Venue("alpha"), preference=preference)

    assert await some.choose(None) == expected


# --- What it can be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (Venue("alpha", ["ETH/USDT"]), "unknown_symbol"),
        (Venue("alpha", keeps_bars=720), "unavailable"),
    ],
    ids=["it lacks the symbol", "the range begins out of its reach"],
)
async def test_an_exchange_that_cannot_answer_is_passed_over(house, first, why):
    choice = await house(first, Venue("beta")).choice("alpha beta")

    assert (choice.series.exchange, choice.passed_over) == ("beta", {"alpha": why})


async def test_one_that_lacks_the_timeframe_is_passed_over_without_a_call(house):
    both = house(Venue("alpha", timeframes=["1h"]), Venue("beta"))

    assert await both.choose("alpha beta") == "beta"
    assert set(both.asked) == {"beta"}


async def test_one_that_serves_the_kind_of_other_markets_only_is_passed_over_without_a_call(house):
    alpha, beta = Venue("alpha"), Venue("beta")
    alpha.facts = replace(alpha.facts, spot_events={Kind.TRADES: EventPaging(1000, alpha.facts.bounds)})
    beta.facts = replace(beta.facts, perpetual_events={Kind.TRADES: EventPaging(1000, beta.facts.bounds)})
    beta.markets = {"BTC/USDT:USDT": Market("BTC")}
    both = house(alpha, beta)

    assert await both.choose("alpha beta", kind="trades", timeframe=None, symbol="BTC/USDT:USDT") == "beta"
    assert set(both.asked) == {"beta"}


async def test_one_that_cannot_be_asked_is_passed_over(house):
    both = house(Venue("alpha"), Venue("beta"))
    both.venues["alpha"].is_down = True

    choice = await both.choice("alpha beta")

    assert (choice.series.exchange, choice.passed_over) == ("beta", {"alpha": "exchange_unavailable"})


async def test_one_that_is_left_alone_is_not_even_asked(house):
    both = house(Venue("alpha"), Venue("beta"))
    await both.bring_down("alpha")

    assert await both.choose("alpha beta") == "beta"
    assert set(both.asked) == {"beta"}

    both.venues["beta"].markets.clear()
    with pytest.raises(NoExchangeNowError, match="left alone for now"):
        await both.choose("alpha beta")


async def test_one_that_is_known_and_down_is_passed_over_until_a_probe_is_due(house):
    both = house(Venue("alpha"), Venue("beta"))
    await both.store("alpha")
    await both.bring_down("alpha")

    assert await both.choose("alpha beta", HOURS) == "beta"
    both.secs += 60
    assert await both.choose("alpha beta", HOURS) == "alpha"


async def test_one_that_does_not_tell_its_markets_in_time_is_passed_over_and_goes_on_telling_them(house):
    both = house(Venue("alpha"), Venue("beta"))
    both.venues["alpha"].tells_markets.clear()
    hasty, manager = both.hasty(), both.manager
    question = OpenQuestion(["alpha", "beta"], SYMBOL, "ohlcv", "1m", lambda name: True, DAY)
    await both.source.market(manager.series("beta", SYMBOL, "ohlcv", "1m"))

    first = await hasty.choose(question, may_ask=True)
    both.venues["alpha"].tells_markets.set()
    await both.source.market(manager.series("alpha", SYMBOL, "ohlcv", "1m"))
    later = await hasty.choose(question, may_ask=True)

    assert (first.series.exchange, first.passed_over) == ("beta", {"alpha": "exchange_unavailable"})
    assert later.series.exchange == "alpha"
    assert both.venues["alpha"].calls == ["markets"]


async def test_the_error_names_all_that_did_not_tell_their_markets_in_time(house):
    three = house(Venue("alpha"), Venue("beta", []), Venue("gamma"))
    for name in ("alpha", "gamma"):
        three.venues[name].tells_markets.clear()
    with pytest.raises(NoExchangeError):
        await three.choose("beta")

    with pytest.raises(NoExchangeNowError) as caught:
        await three.hasty().choose(
            OpenQuestion(["alpha", "beta", "gamma"], SYMBOL, "ohlcv", "1m", lambda name: True, DAY), may_ask=True
        )

    assert {problem["exchange"]: problem["code"] for problem in caught.value.details["problems"]} == {
        "alpha": "exchange_unavailable",
        "beta": "unknown_symbol",
        "gamma": "exchange_unavailable",
    }
    assert str(caught.value).count("has not told its markets within") == 2


async def test_the_clock_of_an_exchange_is_not_waited_for_longer_than_its_markets(house):
    both = house(Venue("alpha", keeps_bars=720), Venue("beta", []))
    await both.store("alpha", HOURS)
    clock = asyncio.Event()
    both.venues["alpha"].fetch_time = clock.wait

    choice = await both.hasty().choose(
        OpenQuestion(["alpha", "beta"], SYMBOL, "ohlcv", "1m", lambda name: True, DAY), may_ask=True
    )
    await both.source.close()

    assert choice.series.exchange == "alpha"


# --- What storage settles ---------------------------------------------------------------------------------------------


async def test_a_series_that_storage_knows_needs_no_call(house):
    both = house(Venue("alpha"), Venue("beta"))
    await both.store("alpha")

    assert await both.choose("alpha beta", HOURS) == "alpha"
    assert both.asked == {}


async def test_a_range_that_one_of_the_next_holds_needs_no_call_though_the_first_was_never_asked(house):
    """As after a restart: the first has not got the symbol, and nobody remembers."""
    three = house(Venue("alpha", []), Venue("beta", []), Venue("gamma"))
    await three.store("gamma")
    for venue in three.venues.values():
        venue.is_down = True

    assert await three.choose("alpha beta gamma") == "gamma"
    assert three.asked == {}


async def test_the_same_request_is_answered_by_the_same_exchange_before_and_after_it_is_stored(house):
    three = house(Venue("alpha", []), Venue("beta"), Venue("gamma"))
    first = await three.choose("alpha beta gamma")
    await three.store(first)

    assert [first, await three.choose("alpha beta gamma")] == ["beta", "beta"]


@pytest.mark.parametrize("fields", [{"wanted": TimeRange(DAY.start, HOURS.end)}, {"refresh": True}, {"wanted": None}])
async def test_whoever_comes_first_is_asked_where_storage_does_not_settle_all_of_it(house, fields):
    both = house(Venue("alpha"), Venue("beta"))
    await both.store("beta")

    assert await both.choose("alpha beta", **fields) == "alpha"
    assert both.asked == {"alpha": ["markets"]}


async def test_what_lies_before_a_listing_is_held_by_nobody(house):
    both = house(Venue("alpha"), Venue("beta"))
    listed_at = min(both.venues["beta"].opens)
    before = TimeRange(listed_at - timedelta(days=2), listed_at + timedelta(hours=1))
    await both.store("beta", before)

    assert await both.choose("alpha beta", before) == "alpha"


async def test_an_exchange_that_is_down_answers_what_it_has_stored(house):
    both = house(Venue("alpha"), Venue("beta"))
    await both.store("alpha")
    await both.bring_down("alpha")

    assert await both.choose("alpha beta") == "alpha"
    assert await both.choose("alpha beta", refresh=True) == "beta"
    assert await both.choose("alpha beta", None) == "beta"


async def test_what_is_out_of_reach_and_stored_is_answered_by_who_stored_it(house):
    both = house(Venue("alpha", keeps_bars=5000), Venue("beta"))
    await both.store("alpha")
    alpha = both.venues["alpha"]
    alpha.facts = replace(alpha.facts, history_bars=720)
    both.restart()

    assert await both.choose("alpha beta") == "alpha"
    assert await both.choose("alpha beta", TimeRange(DAY.start - timedelta(hours=1), DAY.end)) == "beta"
    assert await both.choose("alpha beta", HOURS) == "alpha"
    assert both.asked == {"alpha": ["clock"], "beta": ["markets"]}


async def test_how_far_back_an_exchange_answers_is_counted_by_its_own_clock(house):
    both = house(Venue("alpha", keeps_bars=720), Venue("beta"))
    just_out_of_reach = TimeRange(NOW - timedelta(minutes=720, seconds=30), HOURS.end)

    assert await both.choose("alpha beta", just_out_of_reach) == "beta"
    both.venues["alpha"]._now = lambda: NOW - timedelta(hours=1)
    both.restart()
    assert await both.choose("alpha beta", just_out_of_reach) == "alpha"


async def test_storage_that_cannot_be_read_leaves_the_choice_to_what_exchanges_say(house, monkeypatch):
    both = house(Venue("alpha", []), Venue("beta", keeps_bars=720), Venue("gamma"))
    await both.store("beta", HOURS)

    async def fail(*_, **__):
        raise StorageUnavailableError("", "Input/output error")

    for verb in ("read_facts", "read_partition"):
        monkeypatch.setattr(both.storage._storage, verb, fail)

    assert await both.choose("alpha beta gamma") == "gamma"


# --- When none can ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("venues", "expected"),
    [
        ([Venue("alpha", keeps_bars=720), Venue("beta", [])], "alpha"),
        ([Venue("alpha", keeps_bars=720), Venue("beta", keeps_bars=720)], "alpha"),
        ([Venue("alpha", []), Venue("beta", keeps_bars=720)], "beta"),
    ],
)
async def test_the_first_that_has_the_symbol_answers_with_gaps_if_none_reaches_back_far_enough(house, venues, expected):
    assert await house(*venues).choose("alpha beta") == expected


async def test_an_exchange_that_is_down_and_has_the_symbol_answers_with_gaps_if_no_other_can(house):
    both = house(Venue("alpha", []), Venue("beta"))
    await both.store("beta")
    await both.bring_down("beta")

    choice = await both.choice("alpha beta", HOURS)

    assert (choice.series.exchange, choice.passed_over) == ("beta", {"alpha": "unknown_symbol"})


@pytest.mark.parametrize(
    ("venues", "fields", "code"),
    [
        ([Venue("alpha", []), Venue("beta", [])], {}, "unknown_symbol"),
        ([Venue("alpha", timeframes=["1h"]), Venue("beta", [])], {}, "unknown_symbol"),
        ([Venue("alpha", timeframes=["1h"]), Venue("beta", timeframes=["1h"])], {}, "unknown_timeframe"),
        ([Venue("alpha"), Venue("beta")], {"kind": "trades", "timeframe": None}, "unsupported_kind"),
    ],
)
async def test_the_error_has_the_code_of_who_came_closest_and_tells_of_each(house, venues, fields, code):
    with pytest.raises(NoExchangeError) as caught:
        await house(*venues).choose("alpha beta", **fields)

    assert caught.value.code == code
    assert caught.value.details["exchanges"] == ["alpha", "beta"]
    assert code in [problem["code"] for problem in caught.value.details["problems"]]


async def test_it_may_be_tried_again_where_one_that_may_have_the_symbol_could_not_be_asked(house):
    both = house(Venue("alpha"), Venue("beta", []))
    both.venues["alpha"].is_down = True

    with pytest.raises(NoExchangeNowError) as caught:
        await both.choose("alpha beta")

    assert (caught.value.code, caught.value.retryable) == (ErrorCode.EXCHANGE_UNAVAILABLE, True)
    assert [problem["code"] for problem in caught.value.details["problems"]] == [
        "exchange_unavailable",
        "unknown_symbol",
    ]


async def test_of_any_a_bounded_number_is_asked_and_the_error_tells_how_many_were_not(house):
    crowd = house(*(Venue(f"venue_{number:02}", []) for number in range(30)))

    with pytest.raises(NoExchangeError) as caught:
        await crowd.choose(None)

    assert list(crowd.asked) == [f"venue_{number:02}" for number in range(16)]
    assert caught.value.details["not_looked_at"] == 14
    assert "14 more were not looked at" in str(caught.value)


async def test_those_that_do_not_serve_such_a_series_do_not_count_towards_that_number(house):
    crowd = house(*(Venue(f"a{number:02}", timeframes=["1h"]) for number in range(20)), Venue("zulu"))

    assert await crowd.choose(None) == "zulu"
    assert set(crowd.asked) == {"zulu"}


# --- Who asks ---------------------------------------------------------------------------------------------------------


async def test_an_exchange_that_the_token_is_not_for_is_passed_over_without_a_word(house):
    both = house(Venue("alpha"), Venue("beta", []))

    with pytest.raises(NoExchangeError) as caught:
        await both.choose("alpha beta", may_use={"beta"}.__contains__)

    assert "alpha" not in f"{caught.value} {caught.value.details}"
    assert set(both.asked) == {"beta"}


@pytest.mark.parametrize("exchanges", ["alpha nobody", None])
async def test_a_token_that_is_for_none_of_them_is_told_so_before_anything_is_looked_up(house, exchanges):
    both = house(Venue("alpha"), Venue("beta"))

    with pytest.raises(ExchangesForbiddenError):
        await both.choose(exchanges, may_use=lambda name: False)

    assert both.asked == {}


async def test_a_name_that_nobody_knows_is_told_though_others_could_answer(house):
    with pytest.raises(UnknownExchangeError):
        await house(Venue("alpha"), Venue("beta")).choose("alpha betta")


# --- A plan -----------------------------------------------------------------------------------------------------------


async def test_a_plan_asks_nobody_and_is_of_the_first_that_may_be_able(house):
    three = house(Venue("alpha", keeps_bars=720), Venue("beta"), Venue("gamma"))
    await three.store("alpha", HOURS)

    assert await three.choose("alpha beta gamma", may_ask=False) == "beta"
    assert three.asked == {}


async def test_a_plan_knows_what_this_process_was_told(house):
    both = house(Venue("alpha", []), Venue("beta"))
    assert await both.choose("alpha beta", may_ask=False) == "alpha"

    await both.choose("alpha beta")

    assert await both.choose("alpha beta", may_ask=False) == "beta"
