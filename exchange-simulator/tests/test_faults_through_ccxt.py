"""What the unmodified CCXT class makes of each fault, venue by venue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import ccxt.async_support as ccxt
import pytest

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import DAY_MS, MINUTE_MS, to_milliseconds
from cb_trade_simulator.venues import VENUES

from .ccxt_classes import make_exchange

# Kraken has only the newest; five minutes later these are among them.
START = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
START_MS = to_milliseconds(START)
ROWS = 20


@pytest.fixture(params=VENUES)
def venue(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def exchange(venue: str, simulator: ExchangeSimulator) -> AsyncIterator[Any]:
    exchange = make_exchange(simulator, venue)
    await exchange.load_markets()
    yield exchange
    await exchange.close()


async def page(exchange: Any, limit: int = ROWS) -> list[list[Any]]:
    return await exchange.fetch_ohlcv("BTC/USDT", "1m", since=START_MS, limit=limit)


def opens(rows: list[list[Any]]) -> list[int]:
    return [row[0] for row in rows]


HONEST = [START_MS + number * MINUTE_MS for number in range(ROWS)]


async def test_429_is_one_of_two_sibling_errors(venue, exchange, simulator):
    simulator.inject("429")
    expected = ccxt.DDoSProtection if venue == "binance" else ccxt.RateLimitExceeded

    with pytest.raises(expected):
        await page(exchange)
    assert "Retry-After" not in exchange.last_response_headers

    assert opens(await page(exchange)) == HONEST


async def test_429_can_say_how_long_to_wait(venue, exchange, simulator):
    simulator.inject("429=7")

    with pytest.raises((ccxt.DDoSProtection, ccxt.RateLimitExceeded)):
        await page(exchange)
    assert exchange.last_response_headers["Retry-After"] == "7"


@pytest.mark.parametrize("venue", ["kraken"])
async def test_kraken_also_says_200_and_too_many_requests(venue, exchange, simulator):
    simulator.inject("too-many")

    with pytest.raises(ccxt.DDoSProtection, match="EGeneral:Too many requests"):
        await page(exchange)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (418, ccxt.DDoSProtection),
        (403, ccxt.ExchangeNotAvailable),
        (500, ccxt.ExchangeNotAvailable),
        (503, ccxt.ExchangeNotAvailable),
        (504, ccxt.RequestTimeout),
    ],
)
async def test_other_statuses_are_network_errors_except_for_crypto_com(status, error, venue, exchange, simulator):
    simulator.inject(str(status))
    expected = ccxt.ExchangeError if venue == "cryptocom" else error
    if (venue, status) == ("bybit", 403):  # how the real one answers an address that asks too much
        expected = ccxt.RateLimitExceeded

    with pytest.raises(expected) as caught:
        await page(exchange)
    assert isinstance(caught.value, ccxt.NetworkError) == (venue != "cryptocom")


async def test_a_call_that_hangs_is_a_timeout(venue, exchange, simulator):
    exchange.timeout = 200
    simulator.inject("hang")

    with pytest.raises(ccxt.RequestTimeout):
        await page(exchange)


async def test_a_reset_connection_is_a_network_error(venue, exchange, simulator):
    """aiohttp asks once more on a fresh connection when a kept one is reset, so the fault stays."""
    simulator.inject("reset", times=None)

    with pytest.raises(ccxt.NetworkError):
        await page(exchange)


async def test_a_body_cut_short_is_no_network_error(venue, exchange, simulator):
    simulator.inject("truncated")

    with pytest.raises(ccxt.ExchangeError) as caught:
        await page(exchange)
    assert not isinstance(caught.value, ccxt.NetworkError)


@pytest.mark.parametrize("fault", ["html", "cut-json"])
async def test_200_with_html_or_cut_json_is_told_as_no_rows_except_by_crypto_com(fault, venue, exchange, simulator):
    simulator.inject(fault)

    if venue == "cryptocom":
        with pytest.raises(ccxt.ExchangeError):
            await page(exchange)
    else:
        assert await page(exchange) == []


async def test_an_empty_answer_is_told_as_no_rows(venue, exchange, simulator):
    simulator.inject("empty")

    assert await page(exchange) == []
    assert opens(await page(exchange)) == HONEST


async def test_a_duplicate_pushes_the_newest_row_off_a_full_page(venue, exchange, simulator):
    simulator.inject("duplicate")

    found = opens(await page(exchange))

    assert len(found) == ROWS
    assert len(set(found)) == ROWS - 1
    if venue not in ("bybit", "kraken"):
        assert HONEST[-1] not in found


async def test_conflicting_duplicates_come_through(venue, exchange, simulator):
    honest = await page(exchange)
    simulator.inject("conflict")

    found = await page(exchange)

    twice = [row for row in found if opens(found).count(row[0]) == 2]
    assert len(twice) == 2
    assert sorted([twice[0] in honest, twice[1] in honest]) == [False, True]


async def test_rows_outside_the_window_come_through_where_they_are_later(venue, exchange, simulator):
    """CCXT itself filters what is earlier than it asked for."""
    simulator.inject("stray")

    found = opens(await page(exchange, limit=300))

    assert found[-1] - found[-2] == DAY_MS
    assert found[0] >= START_MS


async def test_null_prices_come_through(venue, exchange, simulator):
    simulator.inject("null")

    found = await page(exchange)

    assert [row[1:5] for row in found if None in row] == [[None] * 4]


async def test_unsorted_rows_are_sorted_by_ccxt(venue, exchange, simulator):
    simulator.inject("unsorted")

    assert opens(await page(exchange)) == HONEST
    assert simulator.faults.met == 1


@pytest.mark.parametrize(("fault", "time_of"), [("off-grid", lambda ms: ms + 30_000), ("unit", lambda ms: ms * 1000)])
async def test_times_can_be_other_than_they_should(venue, exchange, simulator, fault, time_of):
    simulator.inject(fault)

    found = opens(await page(exchange))

    assert found
    assert set(found) <= {time_of(time) for time in (HONEST[0] - 60_000, *HONEST)}  # one of before may come along


async def test_a_fault_can_be_a_matter_of_chance_that_follows_the_seed(venue, clock):
    async def fate() -> list[bool]:
        async with ExchangeSimulator(venue, seed=5, clock=clock).serve() as simulator:
            exchange = make_exchange(simulator, venue)
            try:
                await exchange.load_markets()
                simulator.inject("empty:0.5", times=None)
                return [await page(exchange) == [] for _ in range(12)]
            finally:
                await exchange.close()

    first, second = await asyncio.gather(fate(), fate())

    assert first == second
    assert 0 < sum(first) < 12
