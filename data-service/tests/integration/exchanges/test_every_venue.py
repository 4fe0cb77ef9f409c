"""Every proven exchange, through CCXT's own class and over HTTP: exact, with the fewest pages, never asked twice.

As processes: `test_service_processes.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from service_harness import Client, Reply, RunningService, at, historical, ms, running_service, token
from venues import PAGING, VENUES, Venue, ask, fewest_pages, oldest_kept, opens, pages_for, some, states

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Across a month's, a year's and no border at all; the last three hold more than one page of the venues of 300 days.
SPANS = {
    "1m": ("2023-02-27T18:07", "2023-03-01T05:13"),
    "1h": ("2022-12-15T07:00", "2023-01-20T13:00"),
    "1d": ("2022-03-28", "2023-02-04"),
    "1w": ("2022-03-28", "2023-02-04"),
    "1M": ("2022-03-28", "2023-02-04"),
}
NEWEST_ONLY = ("1m", "30m", "1d", "1w")


def everything() -> Iterator[Any]:
    for venue in VENUES:
        for timeframe in NEWEST_ONLY if venue.keeps_newest_only else SPANS:
            if (timeframe == "1w" and not venue.has_weeks) or (timeframe == "1M" and not venue.has_months):
                continue
            yield pytest.param(venue, "BTC/USDT", timeframe, id=f"{venue}-spot-{timeframe}")
        for timeframe in ("1m", "1h") if venue.perpetual else ():
            yield pytest.param(venue, venue.perpetual, timeframe, id=f"{venue}-perpetual-{timeframe}")


def span(venue: Venue, timeframe: str) -> tuple[datetime, datetime]:
    """Return a range that the venue serves; all that it keeps, less the newest hour, where that is not everything."""
    if venue.now is None:
        start, end = SPANS[timeframe]
        return at(start), at(end)
    # A few bars less: it forgets while the test runs.
    start_ms = opens(timeframe, oldest_kept(venue, timeframe, venue.now), venue.now)[3]
    return datetime.fromtimestamp(int(start_ms) / 1000, UTC), venue.now - timedelta(hours=1)


@pytest.mark.parametrize(("venue", "symbol", "timeframe"), list(everything()))
async def test_a_range_is_the_truth_for_the_fewest_pages_and_costs_nothing_again(
    client, simulator, venue, symbol, timeframe
):
    start, end = span(venue, timeframe)
    asked = historical(start, end, exchange=venue.name, symbol=symbol, timeframe=timeframe)

    plan = await client.ask(asked | {"type": "plan_historical"})
    cold = await ask(client, venue, start, end, symbol=symbol, timeframe=timeframe)
    calls = simulator.calls.by_endpoint["klines"]
    simulator.calls.reset()
    warm = await ask(client, venue, start, end, symbol=symbol, timeframe=timeframe)

    np.testing.assert_array_equal(cold.rows, simulator.candles(symbol, timeframe, start, end))
    np.testing.assert_array_equal(warm.rows, cold.rows)
    # Kraken keeps more weeks than there were, so that its first page leaves some out; nobody else looks for a listing.
    begins_before_listing = start < simulator.listed_at(symbol)
    probes = calls - cold.last["exchange_calls"]
    assert cold.last["exchange_calls"] == pages_for(venue, timeframe, start, end)
    assert 1 <= probes <= venue.listing_calls if begins_before_listing else probes == 0
    if not venue.keeps_newest_only:  # whose clock a plan, which calls nobody, may not know yet
        assert plan["exchange_calls"] == cold.last["exchange_calls"]
    assert simulator.calls.total == 0
    for reply in (cold, warm):
        assert states(reply) == (["unlisted", "held"] if begins_before_listing else ["held"])
        assert reply.last["gaps"] == []


@pytest.mark.parametrize("seed", range(3))
async def test_random_ranges_around_outages_and_borders_are_the_truth_for_the_fewest_pages(
    client, simulator, venue, seed
):
    """Three that overlap, in a row: each costs what is still missing, and its holes are the exchange's own."""
    chance = random.Random(f"{venue} {seed}")
    symbol = ("ADA/BTC", "ETH/USDT", "ADA/BTC")[seed]  # the first is quiet: some venues have no bar for its minutes
    timeframe = ("1m", "5m", "15m")[seed]
    step = timedelta(minutes=int(timeframe[:-1]))
    border = venue.outage[0].replace(day=1, hour=0, minute=0)
    settled: set[int] = set()
    is_listing_known = False
    for number in range(3):
        bars = chance.randint(1, 5 * venue.page_bars // 2)
        if venue.keeps_newest_only:
            # Not the oldest of them, which the present leaves behind.
            start = venue.now - step * chance.randint(2, venue.page_bars - 5)
        else:
            start = (border if number == 1 else venue.outage[0]) - step * chance.randint(0, bars)
        start = start.replace(second=0)
        end = min(start + step * bars, (venue.now or datetime.now(UTC)) - 2 * step)
        simulator.calls.reset()

        reply = await ask(client, venue, start, end, symbol=symbol, timeframe=timeframe)

        truth = simulator.candles(symbol, timeframe, start, end)
        np.testing.assert_array_equal(reply.rows, truth)
        missing = np.array([time for time in opens(timeframe, start, end).tolist() if time not in settled], np.int64)
        assert reply.last["exchange_calls"] == fewest_pages(timeframe, missing, venue.page_bars)
        probes = simulator.calls.by_endpoint["klines"] - reply.last["exchange_calls"]
        # A page may lie in an outage as a whole, or begin in one. Only then the listing is looked for, and only once.
        is_telling = "empty" not in states(reply) and bool(np.isin(missing[:1], truth["timestamp"]).all())
        assert 0 <= probes <= (0 if is_listing_known or is_telling else venue.listing_calls)
        assert {gap["state"] for gap in reply.last["gaps"]} <= {"empty"}
        is_listing_known |= probes > 0
        settled |= set(missing.tolist())


@pytest.mark.parametrize("venue", PAGING, ids=str)
async def test_before_a_listing_one_page_and_a_short_search_find_everything_out(client, simulator, venue):
    listed = simulator.listed_at("SOL/USDT")
    start, end = listed - timedelta(days=40), listed + timedelta(days=2)

    cold = await ask(client, venue, start, end, symbol="SOL/USDT", timeframe="5m")
    calls = simulator.calls.by_endpoint["klines"]
    simulator.calls.reset()
    warm = await ask(client, venue, start - timedelta(days=400), end, symbol="SOL/USDT", timeframe="5m")

    assert cold.last["exchange_calls"] == 1 + pages_for(venue, "5m", listed, end)
    assert calls - cold.last["exchange_calls"] <= venue.listing_calls
    assert simulator.calls.total == 0
    for reply, first in ((cold, start), (warm, start - timedelta(days=400))):
        np.testing.assert_array_equal(reply.rows, simulator.candles("SOL/USDT", "5m", start, end))
        assert reply.last["coverage"] == [
            {"start_time": ms(first), "end_time": ms(listed), "state": "unlisted"},
            {"start_time": ms(listed), "end_time": ms(end), "state": "held"},
        ]


@pytest.mark.parametrize("venue", PAGING, ids=str)
async def test_the_newest_bars_end_with_the_last_that_is_closed(client, simulator, venue):
    """Also where CCXT asks for the newest at another address, and where the last row of a page is not the newest."""
    start = datetime.now(UTC) - timedelta(hours=3)

    reply = await ask(client, venue, start, datetime.now(UTC) + timedelta(days=1), symbol="ETH/USDT", timeframe="1m")

    closed_until = datetime.fromtimestamp(reply.start["end_time"] / 1000, UTC)
    np.testing.assert_array_equal(reply.rows, simulator.candles("ETH/USDT", "1m", start, closed_until))
    assert datetime.now(UTC) - closed_until < timedelta(minutes=2)
    assert simulator.calls.by_endpoint["klines"] == pages_for(venue, "1m", start, closed_until)


async def test_a_hundred_who_ask_at_once_cost_as_much_as_one(service, simulator, venue):
    start, end = span(venue, "30m") if venue.keeps_newest_only else (at("2024-01-30T20:00"), at("2024-02-01T03:00"))
    timeframe = "30m" if venue.keeps_newest_only else "5m"
    message = historical(start, end, exchange=venue.name, symbol="ETH/USDT", timeframe=timeframe)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(service.client()) for _ in range(4)]
        answers = await asyncio.gather(*(several(client, 25, message) for client in clients))

    truth = simulator.candles("ETH/USDT", timeframe, start, end)
    replies = [reply for replies in answers for reply in replies]
    assert len(replies) == 100
    for reply in replies:
        np.testing.assert_array_equal(reply.rows, truth)
    assert simulator.calls.by_endpoint["klines"] == pages_for(venue, timeframe, start, end)


async def several(client: Client, number: int, message: dict[str, Any]) -> list[Reply]:
    """Ask the same so many times over one connection, and read the answers as they come, mixed."""
    for name in range(number):
        await client.send(message | {"request_id": str(name)})
    replies: defaultdict[str, Reply] = defaultdict(Reply)
    while sum(bool(reply.last) for reply in replies.values()) < number:
        answer = await client.receive()
        reply = replies[answer["request_id"]]
        if answer["type"] == "historical_data_chunk":
            reply.chunks.append(answer)
        elif answer["type"] != "historical_data_start":
            reply.last = answer
    return list(replies.values())


@pytest.mark.parametrize("venue", some("coinbaseexchange", "kraken", "okx"), ids=str)
async def test_two_services_over_one_storage_ask_for_each_page_once(simulator, venue, tmp_path):
    start, end = span(venue, "30m") if venue.keeps_newest_only else (at("2024-01-29"), at("2024-02-02"))
    timeframe = "30m" if venue.keeps_newest_only else "5m"
    exchanges = {venue.name: simulator.base_url}
    async with (
        running_service(tmp_path, exchanges) as one,
        running_service(tmp_path, exchanges) as other,
        one.client() as first,
        other.client() as second,
    ):
        replies = await asyncio.gather(
            *(ask(client, venue, start, end, timeframe=timeframe) for client in (first, second))
        )

    truth = simulator.candles("BTC/USDT", timeframe, start, end)
    for reply in replies:
        np.testing.assert_array_equal(reply.rows, truth)
    assert simulator.calls.by_endpoint["klines"] == pages_for(venue, timeframe, start, end)


async def coverage_over_http(service: RunningService, start: datetime, end: datetime, **series: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token()}"}
    query = series | {"start_time": str(ms(start)), "end_time": str(ms(end))}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{service.http_url}/v1/coverage", params=query) as answer,
    ):
        return await answer.json()


class TestWhatKrakenKeeps:
    """Its newest 720 bars, whatever is asked for: what lies before is nobody's absence."""

    @pytest.fixture
    def venue(self) -> Venue:
        return some("kraken")[0]

    @pytest_asyncio.fixture(loop_scope="module")
    async def kraken(self, venue) -> AsyncIterator[Any]:
        """One whose clock nobody else moves."""
        async with venue.simulator().serve() as simulator:
            yield simulator

    async def test_what_lies_before_is_unavailable_and_no_hole(self, service, client, simulator, venue):
        end = venue.now.replace(minute=0, second=0)
        start = end - timedelta(days=40)
        series = {"exchange": venue.name, "symbol": "SOL/USDT", "timeframe": "5m"}
        await ask(client, venue, start, end, timeframe="4h")  # so that the clock is known to the plan
        simulator.calls.reset()
        before = oldest_kept(venue, "5m", simulator.clock.now())

        plan = await client.ask(historical(start, end, **series) | {"type": "plan_historical"})
        reply = await ask(client, venue, start, end, symbol="SOL/USDT", timeframe="5m")
        ledger = await coverage_over_http(service, start, end, **series)

        after = oldest_kept(venue, "5m", simulator.clock.now())
        [gap] = reply.last["gaps"]
        assert (gap["state"], gap["start_time"]) == ("unavailable", ms(start))
        assert gap["end_time"] in (ms(before), ms(after))
        assert gap["reason"] == "kraken serves only its newest 720 bars"
        assert plan["exchange_calls"] == 1
        assert [part["end_time"] for part in plan["missing"]] == [ms(end)]
        assert plan["missing"][0]["start_time"] in (ms(before), ms(after))
        assert [segment["state"] for segment in ledger["segments"]] == ["unavailable", "held"]
        kept = datetime.fromtimestamp(gap["end_time"] / 1000, UTC)
        np.testing.assert_array_equal(reply.rows, simulator.candles("SOL/USDT", "5m", kept, end))
        assert states(reply) == ["unavailable", "held"]
        assert simulator.calls.by_endpoint["klines"] == 1

    async def test_a_range_before_that_costs_no_page(self, client, simulator, venue):
        start, end = at("2022-01-01"), at("2022-03-01")

        reply = await ask(client, venue, start, end, symbol="SOL/USDT", timeframe="1h")

        assert states(reply) == ["unavailable"]
        assert (reply.last["rows"], reply.last["exchange_calls"]) == (0, 0)
        assert simulator.calls.by_endpoint["klines"] == 0

    async def test_what_was_fetched_in_time_stays(self, kraken, venue, tmp_path):
        start, end = venue.now - timedelta(hours=6), venue.now - timedelta(hours=3)
        exchanges = {venue.name: kraken.base_url}
        async with running_service(tmp_path, exchanges) as service, service.client() as client:
            first = await ask(client, venue, start, end, timeframe="1m")
        kraken.advance_clock(timedelta(days=3))
        kraken.calls.reset()

        async with running_service(tmp_path, exchanges) as service, service.client() as client:
            again = await ask(client, venue, start, end, timeframe="1m")
            more = await ask(client, venue, start - timedelta(hours=1), end + timedelta(hours=1), timeframe="1m")

        np.testing.assert_array_equal(again.rows, first.rows)
        np.testing.assert_array_equal(more.rows, first.rows)
        assert states(more) == ["unavailable", "held", "unavailable"]
        assert kraken.calls.by_endpoint["klines"] == 0
