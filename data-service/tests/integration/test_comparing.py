"""Bars of an exchange beside those that its trades make: equal, or told where they differ; nobody is asked for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
from service_harness import RunningService, at, ms, running_service, token

from cb_trade_simulator.faults.events import Restating

MINUTE_MS = 60_000
# A market in which two of five minutes are quiet.
QUIET = "ADA/BTC"
START, END = at("2024-03-04"), at("2024-03-05")

Compare = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def compare(service: RunningService, session: aiohttp.ClientSession) -> Compare:
    """Ask `/v1/comparison` with a good token; return the status and the answer."""
    return comparing(service, session)


def comparing(service: RunningService, session: aiohttp.ClientSession) -> Compare:
    headers = {"Authorization": f"Bearer {token(scopes=['data:read'])}"}

    async def compare(start: datetime, end: datetime, timeframe: str = "1m", **query: Any) -> tuple[int, Any]:
        asked = {"exchange": "binance", "symbol": QUIET, "timeframe": timeframe}
        times = {"start_time": ms(start), "end_time": ms(end)}
        async with session.get(
            f"{service.http_url}/v1/comparison", params=asked | times | query, headers=headers
        ) as response:
            return response.status, await response.json()

    return compare


async def fetch_trades(client, start: datetime, end: datetime, symbol: str = QUIET) -> None:
    reply = await client.history(start, end, kind="trades", timeframe=None, symbol=symbol)
    assert reply.last["gaps"] == []


async def fetch_bars(client, start: datetime, end: datetime, timeframe: str = "1m", symbol: str = QUIET) -> None:
    reply = await client.history(start, end, timeframe=timeframe, symbol=symbol)
    assert reply.last["gaps"] == []


async def test_minutes_that_the_exchange_made_of_its_trades_do_not_differ_also_the_quiet_ones(compare, client):
    await fetch_trades(client, START, END)
    await fetch_bars(client, START, END)

    status, answer = await compare(START, END)

    assert status == 200
    assert answer == {
        "exchange": "binance",
        "symbol": QUIET,
        "timeframe": "1m",
        "start_time": ms(START),
        "end_time": ms(END),
        "bars_compared": 1440,
        "bars_that_differ": 0,
        "differences": [],
        "without_trades_ms": 0,
        "without_bars_ms": 0,
        "next_start_time": None,
    }


@pytest.mark.parametrize(
    ("timeframe", "start", "end", "bars"),
    [
        ("3m", "2024-03-04", "2024-03-05", 480),
        ("1h", "2024-03-04", "2024-03-06", 48),
        ("2h", "2024-03-04", "2024-03-06", 24),
        ("1d", "2024-03-04", "2024-03-06", 2),
        ("1w", "2024-03-04", "2024-03-11", 1),
    ],
)
async def test_longer_bars_do_not_differ_either(compare, client, timeframe, start, end, bars):
    await fetch_trades(client, at(start), at(end))
    await fetch_bars(client, at(start), at(end), timeframe)

    _, answer = await compare(at(start), at(end), timeframe)

    assert (answer["bars_compared"], answer["differences"]) == (bars, [])
    assert (answer["without_trades_ms"], answer["without_bars_ms"]) == (0, 0)


async def test_nothing_differs_where_several_hundred_trades_a_minute_share_their_milliseconds(compare, client):
    start, end = at("2024-03-05T23:50"), at("2024-03-06T00:10")
    await fetch_trades(client, start, end, "BTC/USDT")
    await fetch_bars(client, start, end, symbol="BTC/USDT")

    _, answer = await compare(start, end, symbol="BTC/USDT")

    assert (answer["bars_compared"], answer["differences"]) == (20, [])


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
async def test_nothing_differs_around_a_listing(compare, client, simulator, timeframe):
    listed = simulator.listed_at(QUIET)
    start, end = at("2017-11-29"), at("2017-12-02")
    await fetch_trades(client, start, end)
    await fetch_bars(client, start, end, timeframe)

    _, answer = await compare(start, end, timeframe)

    bars = {"1m": (end - listed) // timedelta(minutes=1), "1h": (end - listed) // timedelta(hours=1), "1d": 2}
    assert (answer["bars_compared"], answer["differences"]) == (bars[timeframe], [])
    assert (answer["without_trades_ms"], answer["without_bars_ms"]) == (0, 0)


@pytest.mark.parametrize("timeframe", ["1m", "1h"])
async def test_nothing_differs_around_an_outage(compare, client, timeframe):
    """From 12:40 to 14:00 nothing was traded."""
    start, end = at("2023-03-24T11:00"), at("2023-03-24T16:00")
    await fetch_trades(client, start, end)
    await fetch_bars(client, start, end, timeframe)

    _, answer = await compare(start, end, timeframe)

    assert (answer["bars_compared"], answer["differences"]) == ({"1m": 220, "1h": 4}[timeframe], [])
    assert (answer["without_trades_ms"], answer["without_bars_ms"]) == (0, 0)


async def test_bars_that_the_exchange_corrected_afterwards_are_told_with_what_their_trades_make(
    compare, client, simulator
):
    restated = (START + timedelta(hours=10), START + timedelta(hours=10, minutes=9))
    await fetch_trades(client, START, END)
    made = simulator.candles(QUIET, "1m", *restated)
    simulator.inject(Restating(QUIET, *restated, at("2024-03-06")))
    await fetch_bars(client, START, END)

    _, answer = await compare(START, END)

    told = simulator.candles(QUIET, "1m", *restated)
    corrected = made != told
    assert (answer["bars_compared"], answer["bars_that_differ"]) == (1440, corrected.sum())
    assert 0 < corrected.sum() < 9
    for difference, by_trades, by_exchange in zip(answer["differences"], made[corrected], told[corrected], strict=True):
        assert difference["timestamp"] == by_trades["timestamp"]
        assert difference["columns"] == ["high", "volume"]
        assert difference["told"] == {name: by_exchange[name] for name in difference["told"]}
        assert difference["rebuilt"] == pytest.approx({name: by_trades[name] for name in difference["told"]}, rel=1e-12)


async def test_what_is_not_stored_of_either_is_not_compared_and_told(compare, client):
    noon, evening = START + timedelta(hours=12), START + timedelta(hours=18)
    await fetch_trades(client, START, evening)
    await fetch_bars(client, noon, END)

    _, answer = await compare(START, END)

    hour_ms = 60 * MINUTE_MS
    assert (answer["bars_compared"], answer["bars_that_differ"]) == (360, 0)
    assert answer["without_trades_ms"] == 6 * hour_ms
    assert answer["without_bars_ms"] == 12 * hour_ms
    assert (answer["end_time"], answer["next_start_time"]) == (ms(END), None)


async def test_a_bar_of_which_some_trades_are_not_stored_is_not_compared(compare, client):
    await fetch_trades(client, START + timedelta(minutes=1), END)
    await fetch_bars(client, START, END, "1h")

    _, answer = await compare(START, END, "1h")

    assert (answer["bars_compared"], answer["bars_that_differ"]) == (23, 0)
    assert answer["without_trades_ms"] == 60 * MINUTE_MS


async def test_where_nothing_is_stored_nothing_is_compared_in_one_page_however_long_it_is(compare, client):
    await fetch_bars(client, START, END)

    _, answer = await compare(at("2018-01-01"), END)

    assert (answer["bars_compared"], answer["next_start_time"]) == (0, None)
    assert answer["without_trades_ms"] == ms(END) - ms(at("2018-01-01"))
    assert answer["without_bars_ms"] == 0


async def test_pages_of_31_days_follow_each_other_to_the_end(compare, client):
    for start in (at("2024-01-10"), at("2024-02-09"), at("2024-02-28")):
        await fetch_trades(client, start, start + timedelta(days=2))
        await fetch_bars(client, start, start + timedelta(days=2))

    pages, start = [], at("2024-01-01")
    while start is not None:
        _, page = await compare(start, at("2024-03-05"))
        pages.append(page)
        next_ms = page["next_start_time"]
        start = None if next_ms is None else at("1970-01-01") + timedelta(milliseconds=next_ms)

    assert [page["start_time"] for page in pages] == [ms(at("2024-01-01")), ms(at("2024-02-10"))]
    assert [page["end_time"] for page in pages] == [ms(at("2024-02-10")), ms(at("2024-03-05"))]
    assert [page["bars_compared"] for page in pages] == [3 * 1440, 3 * 1440]
    missing_ms = sum(page["without_trades_ms"] for page in pages)
    assert missing_ms == ms(at("2024-03-05")) - ms(at("2024-01-01")) - 6 * 1440 * MINUTE_MS


async def test_no_exchange_is_called_also_after_a_restart(client, compare, simulator, tmp_path, session):
    await fetch_trades(client, START, END)
    await fetch_bars(client, START, END)
    _, before = await compare(START, END)
    simulator.calls.reset()

    async with running_service(tmp_path / "data", simulator.base_url) as service:
        _, after = await comparing(service, session)(START, END)

    assert after == before
    assert simulator.calls.total == 0


async def test_an_end_in_the_future_is_clipped_to_the_newest_closed_bar(compare, simulator):
    now = simulator.clock.now()

    _, answer = await compare(now - timedelta(hours=5), now + timedelta(hours=5), "1h")

    assert answer["end_time"] <= ms(now)


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ({"timeframe": "7m"}, "unknown_timeframe", None),
        ({"kind": "ohlcv"}, "unknown_field", "kind"),
        ({"exchange": "binnance"}, "unknown_exchange", None),
        ({"exchange": "any"}, "unknown_exchange", None),
        ({"symbol": ""}, "invalid_value", "symbol"),
        ({"end_time": ms(START)}, "empty_range", None),
        ({"start_time": "yesterday"}, "invalid_value", "start_time"),
        ({"start_time": "2190-01-01T00:00:00Z", "end_time": "2191-01-01T00:00:00Z"}, "range_in_future", None),
    ],
)
async def test_a_bad_question_is_refused_with_a_code(compare, query, code, field):
    status, refusal = await compare(START, END, **query)

    assert (status, refusal["code"]) == (400, code)
    assert refusal["details"].get("field") == field


async def test_an_exchange_without_trades_of_the_past_is_refused(tmp_path, simulator, session):
    async with running_service(tmp_path, {"bybit": simulator.base_url}) as service:
        status, refusal = await comparing(service, session)(START, END, exchange="bybit", symbol="BTC/USDT")

    assert (status, refusal["code"]) == (400, "unsupported_kind")


async def test_the_documentation_names_the_question(service, session):
    async with session.get(f"{service.http_url}/openapi.json") as response:
        described = (await response.json())["paths"]["/v1/comparison"]["get"]

    assert {"exchange", "symbol", "timeframe", "start_time", "end_time"} == {
        parameter["name"] for parameter in described["parameters"]
    }
    assert described["security"] == [{"HTTPBearer": []}]
