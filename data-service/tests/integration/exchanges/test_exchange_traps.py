"""What exchanges and CCXT do to the unwary, each trap by its name; `docs/topics/exchanges.md` lists them.

Here through the whole service; what a client alone can show is in `test_venue_traps.py` and `test_exchange_errors.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from service_harness import at, ms, running_service
from venues import PAGING, Venue, ask, opens, pages_for, some, states

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINUTE = timedelta(minutes=1)


def half_hour(venue: Venue, number: int) -> tuple[datetime, datetime]:
    """Return one of fourteen half hours that the venue serves, and in which it does not stand still."""
    first = at("2023-04-03") if venue.now is None else venue.now.replace(hour=9, minute=0, second=0)
    return first + 30 * number * MINUTE, first + 30 * (number + 1) * MINUTE


# --- How a page is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", PAGING, ids=str)
async def test_page_borders_lose_and_double_no_bar(client, simulator, venue):
    """4,320 minutes are three days: not the first page of them, and none twice where an end is inclusive."""
    start = at("2023-04-10")

    reply = await ask(client, venue, start, start + timedelta(minutes=4320), timeframe="1m")

    assert reply.rows["timestamp"].tolist() == opens("1m", start, start + timedelta(minutes=4320)).tolist()


# The parameters of a window's start, its end and the number of its bars; Coinbase's window is its count.
BOUNDS = {
    "binance": ("startTime", "endTime", "limit"),
    "bybit": ("start", "end", "limit"),
    "coinbase": ("start", "end", None),
    "coinbaseexchange": ("start", "end", None),
    "cryptocom": ("start_ts", "end_ts", "count"),
    "okx": ("before", "after", "limit"),
}


def written(text: str) -> int:
    """Return the epoch milliseconds of a time as it stands in an address."""
    if not text.isdecimal():
        return ms(datetime.fromisoformat(text))
    return int(text) * (1000 if len(text) == 10 else 1)


@pytest.mark.parametrize("venue", PAGING, ids=str)
async def test_every_page_says_both_its_bounds_and_no_more_bars_than_the_venue_serves(client, simulator, venue):
    """Never CCXT's `paginate`; never the newest 25 of Crypto.com, a 400 of Coinbase's, OKX's default of 100."""
    start = at("2023-04-20")
    await ask(client, venue, start, start + timedelta(minutes=2 * venue.page_bars + 7), timeframe="1m")

    queries = simulator.calls.queries("klines")
    low, high, count = BOUNDS[venue.name]
    windows = sorted((written(query[low]), written(query[high])) for query in queries)
    assert len(windows) == 3
    for (first, last), bars in zip(windows, (venue.page_bars, venue.page_bars, 7), strict=True):
        assert (bars - 1) * 60_000 <= last - first <= (bars + 1) * 60_000
    if count:
        assert all(0 < int(query[count]) <= venue.page_bars for query in queries)


@pytest.mark.parametrize("venue", some("coinbaseexchange"), ids=str)
async def test_rows_from_before_the_start_are_left_out_and_cost_no_other_page(client, simulator, venue):
    """One always comes along, so that an answer has as many rows as bars were asked for, and the last is missing."""
    truth = simulator.candles("ADA/BTC", "1m", at("2023-04-05"), at("2023-04-06"))["timestamp"]
    minutes = opens("1m", at("2023-04-05"), at("2023-04-06"))
    traded = np.isin(minutes, truth)
    # Traded, traded, traded, quiet.
    [index, *_] = np.flatnonzero(traded[:-3] & traded[1:-2] & traded[2:-1] & ~traded[3:]).tolist()
    start = datetime.fromtimestamp(int(minutes[index + 1]) / 1000, UTC)

    reply = await ask(client, venue, start, start + 3 * MINUTE, symbol="ADA/BTC", timeframe="1m")

    assert reply.rows["timestamp"].tolist() == minutes[index + 1 : index + 3].tolist()
    assert simulator.calls.by_endpoint["klines"] == 1
    assert states(reply) == ["held"]


@pytest.mark.parametrize("venue", some("okx"), ids=str)
async def test_okx_loses_no_bar_where_its_two_addresses_meet(client, simulator, venue):
    """One knows the newest 1,440 candles only, and CCXT chooses between them by the machine's clock."""
    border = datetime.now(UTC).replace(second=0, microsecond=0) - 1440 * MINUTE
    start, end = border - 40 * MINUTE, border + 40 * MINUTE

    reply = await ask(client, venue, start, end, timeframe="1m")

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", start, end))
    assert simulator.calls.by_endpoint["klines"] == pages_for(venue, "1m", start, end)


# --- What is asked besides --------------------------------------------------------------------------------------------


async def test_markets_and_clock_are_asked_for_once_for_all(simulator, venue, tmp_path):
    """Five calls for Coinbase's markets, one for most others' clock: by whoever comes first, for everybody."""
    start, end = half_hour(venue, 0)
    async with (
        running_service(tmp_path, {venue.name: simulator.base_url}) as service,
        service.client() as one,
        service.client() as other,
    ):
        await asyncio.gather(
            ask(one, venue, start, end, symbol="BTC/USDT", timeframe="1m"),
            ask(other, venue, start, end, symbol="ETH/USDT", timeframe="5m"),
        )

    asked = Counter(
        (path, *sorted(query.items()))
        for endpoint in simulator.calls.by_endpoint
        if endpoint != "klines"
        for path, query in zip(simulator.calls.paths(endpoint), simulator.calls.queries(endpoint), strict=True)
    )
    assert set(asked.values()) == {1}
    assert simulator.calls.by_endpoint["time"] == (venue.name != "cryptocom")
    assert simulator.calls.by_endpoint["unknown"] == 0


async def test_a_symbol_the_venue_does_not_have_is_refused_without_asking_for_candles(client, simulator, venue):
    reply = await client.history(*half_hour(venue, 1), exchange=venue.name, symbol="NO/SUCH", timeframe="1m")

    assert (reply.last["type"], reply.last["code"]) == ("error_response", "unknown_symbol")
    assert simulator.calls.by_endpoint["klines"] == 0


# --- What comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["429", "too-many", "403", "500", "503", "reset", "truncated", "html", "cut-json"])
async def test_an_error_that_ccxt_mislabels_or_hides_costs_one_call_more_and_no_bar(client, simulator, venue, fault):
    """Two siblings for too many requests, a plain error for Crypto.com's 5xx and every cut body, `[]` for HTML."""
    number = ("429", "too-many", "403", "500", "503", "reset", "truncated", "html", "cut-json").index(fault)
    start, end = half_hour(venue, number)
    simulator.inject(fault, times=1)

    reply = await ask(client, venue, start, end, symbol="SOL/USDT", timeframe="1m")

    np.testing.assert_array_equal(reply.rows, simulator.candles("SOL/USDT", "1m", start, end))
    assert reply.last["gaps"] == []
    assert simulator.calls.by_endpoint["klines"] == 2
    if fault != "reset":  # which the HTTP client may put right by itself, on a connection that was kept open
        assert reply.last["exchange_calls"] == 2


@pytest.mark.parametrize("venue", PAGING, ids=str)
async def test_a_duplicate_in_a_full_page_loses_no_bar(client, simulator, venue):
    """CCXT cuts a page to its limit after sorting: the newest candle, or the oldest, falls off."""
    start, end = at("2023-05-01"), at("2023-05-01") + timedelta(minutes=venue.page_bars)
    simulator.inject("duplicate", times=1)

    reply = await ask(client, venue, start, end, timeframe="1m")

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", start, end))
    assert reply.last["gaps"] == []
    assert simulator.calls.by_endpoint["klines"] <= 2


async def test_rows_outside_the_window_are_neither_stored_nor_sent(client, simulator, venue):
    start, end = half_hour(venue, 3)
    simulator.inject("stray", times=1)

    reply = await ask(client, venue, start, end, symbol="ADA/BTC", timeframe="1m")

    np.testing.assert_array_equal(reply.rows, simulator.candles("ADA/BTC", "1m", start, end))


async def test_a_row_without_prices_is_a_failure_never_a_bar_nor_an_absence(client, simulator, venue):
    start, end = half_hour(venue, 13)  # the newest: Kraken answers up to the present, and the middle row is spoilt
    simulator.inject("null", times=None)
    reply = await ask(client, venue, start, end, symbol="ETH/USDT", timeframe="1m")
    calls = simulator.calls.by_endpoint["klines"]
    simulator.clear_faults()
    again = await ask(client, venue, start, end, symbol="ETH/USDT", timeframe="1m")

    truth = simulator.candles("ETH/USDT", "1m", start, end)
    assert {gap["state"] for gap in reply.last["gaps"]} <= {"failed"}
    held = [segment for segment in reply.last["coverage"] if segment["state"] == "held"]
    there = [any(each["start_time"] <= time < each["end_time"] for each in held) for time in truth["timestamp"]]
    np.testing.assert_array_equal(reply.rows, truth[there])
    assert 1 < calls <= 10  # each answer may have spoilt another row
    np.testing.assert_array_equal(again.rows, truth)


async def test_a_row_without_prices_that_comes_once_costs_one_call_more(client, simulator, venue):
    start, end = half_hour(venue, 13)
    simulator.inject("null", times=1)

    reply = await ask(client, venue, start, end, symbol="SOL/USDT", timeframe="1m")

    np.testing.assert_array_equal(reply.rows, simulator.candles("SOL/USDT", "1m", start, end))
    assert reply.last["gaps"] == []
    assert simulator.calls.by_endpoint["klines"] == 2


# --- What the world is like -------------------------------------------------------------------------------------------


async def test_a_quiet_minute_is_a_flat_bar_or_none_as_the_venue_has_it(client, simulator, venue):
    start, end = half_hour(venue, 5)

    reply = await ask(client, venue, start, end, symbol="ADA/BTC", timeframe="1m")

    omits = venue.name.startswith("coinbase")
    quiet = reply.rows[reply.rows["volume"] == 0]
    assert (len(reply.rows) < 30) == omits
    assert (len(quiet) == 0) == omits
    assert (quiet["open"] == quiet["close"]).all()
    assert states(reply) == ["held"]
    assert reply.last["gaps"] == []


async def test_an_outage_is_a_genuine_hole_and_no_bar_is_put_there(client, simulator, venue):
    first, last = venue.outage
    start, end = first - 10 * MINUTE, last + 10 * MINUTE

    reply = await ask(client, venue, start, end, symbol="ETH/USDT", timeframe="5m")

    hole = opens("5m", first, last)
    assert sorted({*opens("5m", start, end).tolist()} - {*reply.rows["timestamp"].tolist()}) == hole.tolist()
    assert states(reply) == ["held"]
