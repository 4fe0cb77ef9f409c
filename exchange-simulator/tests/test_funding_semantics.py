"""What each venue's address of past funding promises and refuses, asked without CCXT in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import HOUR_MS, to_milliseconds
from cb_trade_simulator.venues import VENUES
from cb_trade_simulator.venues.venue import Question

from .conftest import NOW, Reply

NOW_MS = to_milliseconds(NOW)
EVER = (datetime(2010, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
FUNDING = {
    "binance": ("fapi.binance.com/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}, "BTC/USDT:USDT"),
}

Ask = Callable[..., Awaitable[Reply]]


@pytest.fixture
def venue() -> str:
    raise NotImplementedError("parametrize it")


@pytest.fixture
async def ask(venue: str, simulator: ExchangeSimulator) -> AsyncIterator[Ask]:
    """Ask for the funding of bitcoin, with these changes to the query; None takes a parameter out."""
    address, query, _ = FUNDING[venue]
    async with aiohttp.ClientSession() as session:

        async def send(path: str = address, **changes: object) -> Reply:
            sent = {name: str(value) for name, value in (query | changes).items() if value is not None}
            async with session.get(f"{simulator.base_url}/{path}", params=sent) as response:
                return Reply(response.status, response.headers, await response.text())

        yield send


@pytest.fixture
def times(venue: str, simulator: ExchangeSimulator) -> list[int]:
    """When bitcoin's funding was paid so far."""
    return simulator.funding(FUNDING[venue][2], *EVER)["timestamp"].tolist()


def told(venue: str, reply: Reply) -> list[int]:
    """Return the times in the order of the wire."""
    shape = VENUES[venue].row_shapes["fundingRate"]
    assert reply.status == 200, reply.text
    return [int(row[shape.time]) for row in shape.find(reply.json) or []]


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("venue", names)


@only("binance")
async def test_binance_tells_the_oldest_from_a_start_and_else_the_newest_always_ascending(venue, ask, times):
    assert told(venue, await ask()) == times[-100:]
    assert told(venue, await ask(limit=1000)) == times[-1000:]
    assert told(venue, await ask(limit=1001)) == times[-1000:]
    assert told(venue, await ask(startTime=0, limit=3)) == times[:3]
    assert told(venue, await ask(endTime=times[10], limit=3)) == times[8:11]
    assert told(venue, await ask(startTime=NOW_MS)) == []


@only("binance")
async def test_binances_bounds_are_inclusive(venue, ask, times):
    assert told(venue, await ask(startTime=times[5], endTime=times[7])) == times[5:8]
    assert told(venue, await ask(startTime=times[5] + 1, endTime=times[7] - 1)) == times[6:7]
    assert told(venue, await ask(startTime=times[5], endTime=times[5])) == times[5:6]


@only("binance")
async def test_binance_writes_eight_places_and_the_mark_price(venue, ask, simulator):
    (row,) = (await ask(limit=1)).json

    time_ms, rate, mark = simulator.funding("BTC/USDT:USDT", *EVER)[-1].tolist()
    assert row == {
        "symbol": "BTCUSDT",
        "fundingTime": time_ms,
        "fundingRate": f"{rate:.8f}",
        "markPrice": f"{mark:.8f}",
    }


@only("binance")
async def test_binance_tells_all_perpetuals_if_none_is_named(venue, ask, simulator):
    rows = (await ask(symbol=None, startTime=times_ms(2024, 1, 1), endTime=times_ms(2024, 1, 2) - 1)).json

    assert [(row["fundingTime"] // HOUR_MS % 24, row["symbol"]) for row in rows if row["symbol"] == "BTCUSDT"] == [
        (hour, "BTCUSDT") for hour in (0, 8, 16)
    ]
    assert {row["symbol"] for row in rows} == {"BTCUSDT", "SOLUSDT"}
    assert len(rows) == 3 + 6
    assert [row["fundingTime"] for row in rows] == sorted(row["fundingTime"] for row in rows)


@only("binance")
async def test_binance_names_the_perpetuals_that_are_not_paid_every_eight_hours(venue, ask, clock):
    address = "fapi.binance.com/fapi/v1/fundingInfo"

    (row,) = (await ask(address, symbol=None)).json
    assert (row["symbol"], row["fundingIntervalHours"]) == ("SOLUSDT", 4)
    clock.set(datetime(2023, 3, 1, tzinfo=UTC))
    assert (await ask(address, symbol=None)).json == []


@only("binance")
async def test_binance_tells_no_mark_price_that_was_not_recorded(venue, ask, simulator):
    simulator.replay_funding("BTC/USDT:USDT", [NOW_MS - 1, NOW_MS], [1.5e-05, -0.1], [10.5, float("nan")])

    assert [(row["fundingRate"], row["markPrice"]) for row in (await ask()).json] == [
        ("0.00001500", "10.50000000"),
        ("-0.10000000", ""),
    ]


@only("binance")
async def test_binance_counts_funding_apart_from_the_weight_of_candles(venue, ask):
    reply = await ask()

    assert reply.headers["x-mbx-used-weight-1m"] == "0"
    cost = VENUES[venue]([]).cost(Question("fapi.binance.com", "/fapi/v1/fundingRate", {"limit": "1000"}))
    assert cost == ("funding", 1)
    assert VENUES[venue].allowances["funding"].per_second == 500 / 300


REFUSALS: list[tuple[str, dict[str, object], int, dict[str, Any]]] = [
    ("binance", {"symbol": "NOPE"}, 400, {"code": -1121, "msg": "Invalid symbol."}),
    ("binance", {"symbol": "ETHUSDT"}, 400, {"code": -1121}),  # no perpetual
    ("binance", {"startTime": 2, "endTime": 1}, 400, {"code": -1023, "msg": "Start time is greater than end time."}),
    ("binance", {"startTime": "now"}, 400, {"code": -1100}),
    ("binance", {"limit": 0}, 400, {"code": -1130}),
    ("binance", {"interval": "1m"}, 400, {"code": -1104}),
]


@pytest.mark.parametrize(("venue", "changes", "status", "document"), REFUSALS)
async def test_a_bad_request_is_refused_in_the_venues_own_words(venue, changes, status, document, ask, simulator):
    reply = await ask(**changes)

    assert reply.status == status
    assert reply.json.items() >= document.items()
    assert simulator.calls.by_endpoint == {"fundingRate": 1}


@pytest.mark.parametrize("venue", FUNDING)
async def test_a_page_can_be_spoilt_like_one_of_candles(venue, ask, simulator):
    honest = told(venue, await ask())
    middle = len(honest) // 2

    simulator.inject("duplicate@fundingRate")
    assert told(venue, await ask()) == [*honest[: middle + 1], *honest[middle:]]
    simulator.inject("missing@fundingRate")
    assert told(venue, await ask()) == [*honest[:middle], *honest[middle + 1 :]]
    simulator.inject("empty@fundingRate")
    assert told(venue, await ask()) == []
    simulator.inject("stray@fundingRate")
    assert len(set(told(venue, await ask())) - set(honest)) == 2
    simulator.inject("conflict@fundingRate")
    shape = VENUES[venue].row_shapes["fundingRate"]
    rows = shape.find((await ask()).json) or []
    rates = [float(row[shape.prices[0]]) for row in rows if int(row[shape.time]) == honest[middle]]
    assert rates == pytest.approx([rates[0], rates[0] * 1.5])
    simulator.inject("429@fundingRate")
    assert (await ask()).status == 429


def times_ms(*date: int) -> int:
    return to_milliseconds(datetime(*date, tzinfo=UTC))
