"""What each venue's addresses of trades promise and refuse, asked without CCXT in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import numpy as np
import pytest

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import DAY_MS, HOUR_MS, to_milliseconds
from cb_trade_simulator.venues import VENUES
from cb_trade_simulator.venues.venue import Question

from .conftest import NOW, Reply

NOW_MS = to_milliseconds(NOW)
START = datetime(2024, 4, 3, 10, 0, tzinfo=UTC)
START_MS = to_milliseconds(START)
FUTURES = "fapi.binance.com/fapi/v1/aggTrades"
TRADES = {
    "binance": ("api.binance.com/api/v3/aggTrades", {"symbol": "BTCUSDT"}),
}
ENDPOINTS = {"binance": "aggTrades"}
ID = {"binance": "a"}

Ask = Callable[..., Awaitable[Reply]]


@pytest.fixture
def venue() -> str:
    raise NotImplementedError("parametrize it")


@pytest.fixture
async def ask(venue: str, simulator: ExchangeSimulator) -> AsyncIterator[Ask]:
    """Ask for trades of BTC/USDT, with these changes to the query; None takes a parameter out."""
    address, query = TRADES[venue]
    async with aiohttp.ClientSession() as session:

        async def send(path: str = address, **changes: object) -> Reply:
            sent = {name: str(value) for name, value in (query | changes).items() if value is not None}
            async with session.get(f"{simulator.base_url}/{path}", params=sent) as response:
                return Reply(response.status, response.headers, await response.text())

        yield send


@pytest.fixture
def minute(simulator: ExchangeSimulator) -> np.ndarray:
    """The trades of one minute of the past."""
    return simulator.trades("BTC/USDT", START, START + timedelta(minutes=1))


@pytest.fixture
def newest(simulator: ExchangeSimulator) -> list[int]:
    """The ids of the newest trades, oldest first."""
    return simulator.trades("BTC/USDT", NOW - timedelta(minutes=10), NOW + timedelta(minutes=1))["id"].tolist()


def told(venue: str, reply: Reply) -> list[int]:
    """Return the ids in the order of the wire."""
    assert reply.status == 200, reply.text
    shape = VENUES[venue].row_shapes[ENDPOINTS.get(venue, "trades")]
    return [int(row[ID[venue]]) for row in shape.find(reply.json) or []]


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("venue", names)


@only("binance")
@pytest.mark.parametrize("address", [TRADES["binance"][0], FUTURES])
async def test_binance_tells_the_oldest_from_a_start_or_an_id_and_else_the_newest(venue, address, ask, simulator):
    symbol = "BTC/USDT:USDT" if address == FUTURES else "BTC/USDT"
    trades = simulator.trades(symbol, START, START + timedelta(minutes=30))
    ids, times = trades["id"].tolist(), trades["timestamp"].tolist()
    newest = simulator.trades(symbol, NOW - timedelta(hours=2), NOW)["id"].tolist()

    assert told(venue, await ask(address)) == newest[-500:]
    assert told(venue, await ask(address, limit=1001)) == newest[-1000:]
    assert told(venue, await ask(address, startTime=START_MS, limit=3)) == ids[:3]
    assert (
        told(venue, await ask(address, endTime=times[50] - 1, limit=1))
        == [trade_id for trade_id, at in zip(ids, times, strict=True) if at < times[50]][-1:]
    )
    assert told(venue, await ask(address, fromId=ids[7], limit=1000)) == ids[7:1007]
    assert told(venue, await ask(address, fromId=ids[0] - 1, limit=2)) == ids[:2]
    assert told(venue, await ask(address, fromId="9" * 20)) == []
    assert told(venue, await ask(address, startTime=NOW_MS + 1)) == []


@only("binance")
async def test_binances_bounds_are_inclusive(venue, ask, minute):
    first, last = minute["timestamp"][[20, 60]].tolist()
    inside = minute[(first <= minute["timestamp"]) & (minute["timestamp"] <= last)]

    assert told(venue, await ask(startTime=first, endTime=last)) == inside["id"].tolist()
    (row,) = (await ask(startTime=first, limit=1)).json
    assert row == {
        "a": int(inside["id"][0]),
        "p": f"{inside['price'][0]:.8f}",
        "q": f"{inside['amount'][0]:.8f}",
        "f": int(inside["id"][0]),
        "l": int(inside["id"][0]),
        "T": first,
        "m": bool(inside["buyer_is_maker"][0]),
        "M": True,
    }


@only("binance")
async def test_binances_futures_take_an_hour_keep_a_year_and_weigh_more(venue, ask):
    assert (await ask(FUTURES, startTime=START_MS, endTime=START_MS + HOUR_MS, limit=1)).status == 200
    refused = await ask(FUTURES, startTime=START_MS, endTime=START_MS + HOUR_MS + 1)
    assert refused.json == {"code": -1127, "msg": "More than 1 hours between startTime and endTime."}
    assert (await ask(startTime=START_MS, endTime=START_MS + DAY_MS, limit=1)).status == 200

    year_ago = NOW_MS - 365 * DAY_MS
    (row,) = (await ask(FUTURES, startTime=0, limit=1)).json
    assert 0 <= row["T"] - year_ago < HOUR_MS
    assert (await ask(FUTURES, startTime=0, endTime=HOUR_MS)).json == []
    (row,) = (await ask(FUTURES, fromId=1, limit=1)).json
    assert 0 <= row["T"] - year_ago < HOUR_MS
    assert set(row) == {"a", "p", "q", "f", "l", "T", "m"}

    for host, path, weight in [("api", "api/v3", ("spot", 4)), ("fapi", "fapi/v1", ("futures", 20))]:
        assert VENUES[venue]([]).cost(Question(f"{host}.binance.com", f"/{path}/aggTrades", {})) == weight


REFUSALS: list[tuple[str, dict[str, object], int, dict[str, Any]]] = [
    ("binance", {"symbol": "NOPE"}, 400, {"code": -1121, "msg": "Invalid symbol."}),
    ("binance", {"symbol": None}, 400, {"code": -1102}),
    ("binance", {"fromId": 1, "startTime": 1}, 400, {"code": -1128}),
    ("binance", {"fromId": 1, "endTime": 1}, 400, {"code": -1128}),
    ("binance", {"fromId": "first"}, 400, {"code": -1100}),
    ("binance", {"startTime": 2, "endTime": 1}, 400, {"code": -1023}),
    ("binance", {"limit": 0}, 400, {"code": -1130}),
    ("binance", {"side": "buy"}, 400, {"code": -1104}),
]


@pytest.mark.parametrize(("venue", "changes", "status", "document"), REFUSALS)
async def test_a_bad_request_is_refused_in_the_venues_own_words(venue, changes, status, document, ask, simulator):
    reply = await ask(**changes)

    assert reply.status == status
    assert reply.json.items() >= document.items()
    assert simulator.calls.by_endpoint == {ENDPOINTS.get(venue, "trades"): 1}


@pytest.mark.parametrize("venue", TRADES)
async def test_a_page_can_be_spoilt_like_one_of_candles(venue, ask, simulator):
    endpoint = ENDPOINTS.get(venue, "trades")
    shape = VENUES[venue].row_shapes[endpoint]
    honest = told(venue, await ask())
    middle = len(honest) // 2

    simulator.inject(f"duplicate@{endpoint}")
    assert told(venue, await ask()) == [*honest[: middle + 1], *honest[middle:]]
    simulator.inject(f"missing@{endpoint}")
    assert told(venue, await ask()) == [*honest[:middle], *honest[middle + 1 :]]
    simulator.inject(f"unsorted@{endpoint}")
    assert told(venue, await ask()) == honest[::2] + honest[1::2]
    simulator.inject(f"conflict@{endpoint}")
    rows = shape.find((await ask()).json) or []
    prices = [float(row[shape.prices[0]]) for row in rows if int(row[ID[venue]]) == honest[middle]]
    assert prices == pytest.approx([prices[0], prices[0] * 1.5], rel=1e-3)
    simulator.inject(f"stray@{endpoint}")
    assert len(told(venue, await ask())) == len(honest) + 2
