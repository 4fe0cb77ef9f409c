"""Exchanges that fail, stall and lie: the same rows all the same, and an honest word about what could not be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from service_harness import Client, Reply, RunningService, at, ms, running_service
from venues import PAGING, VENUES, Venue, opens, pages_for, some

from cb_trade_data.exchange_source import discovery
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.plugin import ExchangeAccess
from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient
from cb_trade_simulator import ExchangeSimulator, RunningClock
from cb_trade_simulator.faults import RowsFault

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Nothing that can be believed comes: the call is made again.
REFUSALS = (
    "429", "too-many", "418", "403", "500", "503", "reset", "truncated", "cut-json", "html", "hang",
)  # fmt: skip
# Something comes that cannot be quite true.
LIES = ("duplicate", "conflict", "stray", "null", "unsorted")
SHARE = 0.2
TIMEOUT = timedelta(seconds=2.5)  # of real ones: how long an answer that never comes is waited for

SYMBOLS = ("BTC/USDT", "ETH/USDT")
TIMEFRAMES = ("1m", "5m", "15m", "30m", "1h")


@pytest_asyncio.fixture(loop_scope="module")
async def simulator(venue: Venue) -> AsyncIterator[ExchangeSimulator]:
    """One of its own for each test: the chance by which a call fails does not depend on what was asked before."""
    async with venue.simulator().serve() as simulator:
        yield simulator


@pytest_asyncio.fixture(loop_scope="module")
async def service(simulator: ExchangeSimulator, venue: Venue, tmp_path) -> AsyncIterator[RunningService]:
    """One of its own, too: a fault may have left anything behind."""
    async with running_service(tmp_path, {venue.name: simulator.base_url}) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(service: RunningService) -> AsyncIterator[Client]:
    async with service.client() as connected:
        yield connected


@pytest.fixture
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients wait for an answer a quarter as long as in earnest; to be asked for where calls hang."""

    def make_client(facts: ExchangeFacts, access: ExchangeAccess) -> CCXTExchangeClient:
        return CCXTExchangeClient(facts, base_url=access.base_url, options=access.options, timeout=TIMEOUT)

    monkeypatch.setattr(discovery, "ccxt_client", make_client)


def questions(venue: Venue) -> list[dict[str, Any]]:
    """Return what takes about a dozen pages: of one series, or of many where each has only one."""
    if venue.keeps_newest_only:
        start, end = venue.now - timedelta(hours=8), venue.now - timedelta(hours=2)
        return [
            {"symbol": symbol, "timeframe": timeframe, "start": start, "end": end}
            for symbol in SYMBOLS
            for timeframe in TIMEFRAMES
        ]
    start = at("2023-03-05")
    end = start + timedelta(minutes=11 * venue.page_bars + 100)
    return [{"symbol": "BTC/USDT", "timeframe": "1m", "start": start, "end": end}]


async def answers(client: Client, venue: Venue) -> list[Reply]:
    return [await client.history(exchange=venue.name, **question) for question in questions(venue)]


def fewest(venue: Venue) -> int:
    return sum(pages_for(venue, each["timeframe"], each["start"], each["end"]) for each in questions(venue))


def assert_all_is_there(replies: list[Reply], simulator: ExchangeSimulator, venue: Venue) -> None:
    for reply, question in zip(replies, questions(venue), strict=True):
        assert reply.last["gaps"] == []
        np.testing.assert_array_equal(reply.rows, simulator.candles(*question_of(question)))


def assert_nothing_is_invented(replies: list[Reply], simulator: ExchangeSimulator, venue: Venue) -> None:
    """What came is the truth, once, in time order; what did not come is told as a failure with its reason."""
    for reply, question in zip(replies, questions(venue), strict=True):
        truth = simulator.candles(*question_of(question))
        came = np.isin(truth["timestamp"], reply.rows["timestamp"])
        np.testing.assert_array_equal(reply.rows, truth[came])
        for time in truth["timestamp"][~came]:
            [gap] = [gap for gap in reply.last["gaps"] if gap["start_time"] <= time < gap["end_time"]]
            assert gap["state"] == "failed"
            assert gap["reason"]


def question_of(question: dict[str, Any]) -> tuple[Any, ...]:
    return question["symbol"], question["timeframe"], question["start"], question["end"]


def in_turn(faults: tuple[str, ...]) -> list[Any]:
    """Return each fault with one of the venues, so that every venue has its turn."""
    venues = [VENUES[number % len(VENUES)] for number in range(len(faults))]
    return [pytest.param(venue, fault, id=f"{venue}-{fault}") for venue, fault in zip(venues, faults, strict=True)]


@pytest.mark.usefixtures("_short_timeout")
@pytest.mark.parametrize(("venue", "fault"), in_turn(REFUSALS))
async def test_where_a_fifth_of_all_calls_fail_the_rows_are_the_same(client, simulator, venue, fault):
    """Each failure costs one call more, and nothing else does: what the breaker lets through is one of the pages."""
    simulator.inject(f"{fault}:{SHARE}", times=None)

    replies = await answers(client, venue)
    met = simulator.faults.met
    simulator.clear_faults()

    assert met > 0
    assert_all_is_there(replies, simulator, venue)
    assert simulator.calls.by_endpoint["klines"] == fewest(venue) + met


@pytest.mark.usefixtures("_short_timeout")
async def test_where_calls_fail_in_every_way_at_once_the_rows_are_the_same(client, simulator, venue):
    for fault in REFUSALS:
        simulator.inject(f"{fault}:{SHARE / len(REFUSALS)}", times=None)

    replies = await answers(client, venue)
    met = simulator.faults.met
    simulator.clear_faults()
    calls = simulator.calls.by_endpoint["klines"]
    simulator.calls.reset()
    again = await answers(client, venue)

    assert_all_is_there(replies, simulator, venue)
    assert met > 0
    assert calls == fewest(venue) + met
    assert_all_is_there(again, simulator, venue)
    assert simulator.calls.total == 0


@pytest.mark.parametrize(("venue", "fault"), in_turn(LIES))
async def test_where_a_fifth_of_all_pages_lie_the_rows_are_the_same(client, simulator, venue, fault):
    simulator.inject(f"{fault}:{SHARE}", times=None)

    assert_all_is_there(await lied_to_and_asked_again(client, simulator, venue), simulator, venue)


async def test_where_pages_lie_in_every_way_at_once_the_rows_are_the_same(client, simulator, venue):
    for fault in LIES:
        simulator.inject(f"{fault}:{SHARE / len(LIES)}", times=None)

    assert_all_is_there(await lied_to_and_asked_again(client, simulator, venue), simulator, venue)


async def lied_to_and_asked_again(client: Client, simulator: ExchangeSimulator, venue: Venue) -> list[Reply]:
    """Return what came while pages lied, once it is known that it is true and costs no more than it must."""
    replies = await answers(client, venue)
    met = simulator.faults.met
    simulator.clear_faults()
    calls = simulator.calls.by_endpoint["klines"]
    again = await answers(client, venue)

    assert met > 0
    assert_nothing_is_invented(replies, simulator, venue)
    assert calls <= fewest(venue) + met
    assert_all_is_there(again, simulator, venue)
    # What failed is asked for again, and no more than that.
    assert simulator.calls.by_endpoint["klines"] - calls <= len(failed(replies))
    return replies


def failed(replies: list[Reply]) -> list[dict[str, Any]]:
    return [gap for reply in replies for gap in reply.last["gaps"] if gap["state"] == "failed"]


@pytest.mark.parametrize("venue", PAGING, ids=str)
async def test_an_empty_answer_where_there_are_bars_is_dated_doubt_and_hides_nothing_for_good(client, simulator, venue):
    """The one lie that cannot be told from the truth: it is neither held nor an absence, and asking again ends it."""
    start, end = at("2023-03-05"), at("2023-03-05") + timedelta(minutes=2 * venue.page_bars)
    await client.history(start - timedelta(minutes=5), start, exchange=venue.name, timeframe="1m")
    simulator.inject("empty", times=1)

    doubted = await client.history(start, end, exchange=venue.name, timeframe="1m")
    again = await client.history(start, end, exchange=venue.name, timeframe="1m", refresh=True)

    [gap] = doubted.last["gaps"]
    assert (gap["state"], gap["asks"]) == ("empty", 1)
    assert len(doubted.rows) == venue.page_bars
    np.testing.assert_array_equal(again.rows, simulator.candles("BTC/USDT", "1m", start, end))
    assert again.last["gaps"] == []


@pytest.mark.parametrize("venue", PAGING, ids=str)
async def test_a_page_that_always_fails_is_a_gap_with_its_reason_and_all_else_is_delivered(client, simulator, venue):
    start, end = at("2023-03-05"), at("2023-03-05") + timedelta(minutes=5 * venue.page_bars)
    bad = (start + timedelta(minutes=2 * venue.page_bars), start + timedelta(minutes=3 * venue.page_bars))

    def poison(document: Any) -> Any:
        """Answer with nonsense whenever the page is asked for that holds the middle of the range."""
        return "maintenance" if str(ms(bad[0]) // 1000 + 60 * 7) in repr(document) else document

    simulator.inject(RowsFault(poison), times=None)
    reply = await client.history(start, end, exchange=venue.name, timeframe="1m")
    simulator.clear_faults()
    repaired = await client.history_when_back(start, end, exchange=venue.name, timeframe="1m")

    [gap] = reply.last["gaps"]
    assert (gap["state"], gap["start_time"], gap["end_time"]) == ("failed", ms(bad[0]), ms(bad[1]))
    assert gap["reason"]
    truth = simulator.candles("BTC/USDT", "1m", start, end)
    outside = (truth["timestamp"] < ms(bad[0])) | (truth["timestamp"] >= ms(bad[1]))
    np.testing.assert_array_equal(reply.rows, truth[outside])
    np.testing.assert_array_equal(repaired.rows, truth)
    assert repaired.last["gaps"] == []
    assert repaired.last["exchange_calls"] == 1


@pytest.mark.parametrize("venue", some("binance", "coinbase"), ids=str)
async def test_an_exchange_that_is_down_costs_few_calls_and_is_found_again(client, simulator, venue):
    """The breaker: a long range is not asked for page by page, and nobody has to restart anything."""
    start, end = at("2023-03-05"), at("2023-03-05") + timedelta(minutes=20 * venue.page_bars)
    simulator.inject("503", times=None)
    down = await client.history(start, end, exchange=venue.name, timeframe="1m")
    calls = simulator.calls.by_endpoint["klines"]
    simulator.clear_faults()
    up = await client.history_when_back(start, end, exchange=venue.name, timeframe="1m")

    assert down.last["rows"] == 0
    assert {gap["state"] for gap in down.last["gaps"]} == {"failed"}
    assert calls <= 20
    np.testing.assert_array_equal(up.rows, simulator.candles("BTC/USDT", "1m", start, end))


class TestEvents:
    """What befalls a market as a whole. Each has an exchange of its own, for it cannot be undone."""

    NOW = datetime(2024, 5, 1, 12, 0, 10, tzinfo=UTC)

    @pytest.fixture
    def venue(self) -> Venue:
        return some("binance")[0]

    @pytest_asyncio.fixture(loop_scope="module")
    async def simulator(self, venue) -> AsyncIterator[ExchangeSimulator]:
        async with ExchangeSimulator(venue.name, clock=RunningClock(self.NOW)).serve() as serving:
            yield serving

    @pytest_asyncio.fixture(loop_scope="module")
    async def services(self, simulator, venue, tmp_path):
        """Services one after the other over one storage: each reads the exchange's clock anew."""

        def start():
            return running_service(tmp_path, {venue.name: simulator.base_url})

        return start

    async def test_a_quiet_minute_that_is_published_late_is_asked_for_again_and_found(self, simulator, services):
        simulator.inject("late=30")
        start, end = at("2024-05-01T10:30"), at("2024-05-01T12:00")
        async with services() as service, service.client() as client:
            early = await client.history(start, end, symbol="ADA/BTC")
        simulator.advance_clock(timedelta(hours=2))
        async with services() as service, service.client() as client:
            late = await client.history(start, end, symbol="ADA/BTC")

        truth = simulator.candles("ADA/BTC", "1m", start, end)
        holes = set(truth["timestamp"].tolist()) - set(early.rows["timestamp"].tolist())
        assert holes
        assert {gap["state"] for gap in early.last["gaps"]} == {"empty"}
        np.testing.assert_array_equal(late.rows, truth)

    async def test_restated_candles_are_picked_up_by_a_refresh(self, simulator, services):
        start, end = at("2024-04-01"), at("2024-04-01T06:00")
        simulator.inject("restate=BTC/USDT,2024-04-01T01:00,2024-04-01T02:00,2024-05-02")
        async with services() as service, service.client() as client:
            first = await client.history(start, end)
        before = simulator.candles("BTC/USDT", "1m", start, end)
        simulator.advance_clock(timedelta(days=2))
        async with services() as service, service.client() as client:
            kept = await client.history(start, end)
            refreshed = await client.history(start, end, refresh=True)
            again = await client.history(start, end)

        after = simulator.candles("BTC/USDT", "1m", start, end)
        assert (before != after).sum() == 60
        np.testing.assert_array_equal(first.rows, before)
        np.testing.assert_array_equal(kept.rows, before)
        np.testing.assert_array_equal(refreshed.rows, after)
        np.testing.assert_array_equal(again.rows, after)

    async def test_a_symbol_that_was_relisted_is_both_markets_with_a_hole_between(self, simulator, services):
        simulator.inject("relist=SOL/USDT,2023-01-10,2023-01-20")
        start, end = at("2023-01-01"), at("2023-02-01")
        async with services() as service, service.client() as client:
            reply = await client.history(start, end, symbol="SOL/USDT", timeframe="5m")
            again = await client.history(start, end, symbol="SOL/USDT", timeframe="5m")

        truth = simulator.candles("SOL/USDT", "5m", start, end)
        times = opens("5m", start, end)
        hole = times[(times >= ms(at("2023-01-10"))) & (times < ms(at("2023-01-20")))]
        assert not np.isin(hole, truth["timestamp"]).any()
        np.testing.assert_array_equal(reply.rows, truth)
        np.testing.assert_array_equal(again.rows, truth)
        assert {gap["state"] for gap in reply.last["gaps"]} <= {"empty"}

    @pytest.mark.parametrize("how", ["", ",vanishes"], ids=["inactive", "unknown"])
    async def test_a_delisted_market_is_delisted_after_its_last_bar(self, simulator, services, how):
        gone = at("2024-05-02")
        simulator.inject(f"delist=SOL/USDT,2024-05-02{how}")
        start = at("2024-04-29")
        async with services() as service, service.client() as client:
            await client.history(start, self.NOW, symbol="SOL/USDT", timeframe="5m")
        simulator.advance_clock(timedelta(days=19))
        async with services() as service, service.client() as client:
            reply = await client.history(start, at("2024-05-08"), symbol="SOL/USDT", timeframe="5m")
            simulator.calls.reset()
            again = await client.history(start, at("2024-05-09"), symbol="SOL/USDT", timeframe="5m")

        known = self.NOW.replace(second=0) if how else gone
        truth = simulator.candles("SOL/USDT", "5m", start, known)
        for answer in (reply, again):
            assert answer.last["type"] == "historical_data_complete", answer.last
            np.testing.assert_array_equal(answer.rows, truth)
            end = "failed" if how else "delisted"  # of what is unknown, nobody knows where it ended
            assert [segment["state"] for segment in answer.last["coverage"]] == ["held", end]
        assert simulator.calls.total == 0
