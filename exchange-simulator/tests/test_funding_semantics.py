"""What each venue's address of past funding promises and refuses, asked without CCXT in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import DAY_MS, HOUR_MS, to_milliseconds
from cb_trade_simulator.venues import VENUES
from cb_trade_simulator.venues.venue import Question

from .conftest import NOW, Reply

NOW_MS = to_milliseconds(NOW)
EVER = (datetime(2010, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
FUNDING = {
    "binance": ("fapi.binance.com/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}, "BTC/USDT:USDT"),
    "bybit": ("api.bybit.com/v5/market/funding/history", {"category": "linear", "symbol": "BTCUSDT"}, "BTC/USDT:USDT"),
    "cryptocom": (
        "api.crypto.com/exchange/v1/public/get-valuations",
        {"instrument_name": "BTCUSD-PERP", "valuation_type": "funding_hist"},
        "BTC/USD:USD",
    ),
    "okx": ("www.okx.com/api/v5/public/funding-rate-history", {"instId": "BTC-USDT-SWAP"}, "BTC/USDT:USDT"),
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


@pytest.mark.parametrize(("venue", "default", "most"), [("bybit", 200, 200), ("cryptocom", 25, 300), ("okx", 276, 276)])
async def test_the_others_tell_the_newest_first(venue, default, most, ask, times):
    """OKX's three months hold less than one of its pages."""
    name = "count" if venue == "cryptocom" else "limit"

    assert told(venue, await ask()) == times[: -default - 1 : -1]
    assert told(venue, await ask(**{name: 300})) == times[: -most - 1 : -1]
    assert told(venue, await ask(**{name: 3})) == times[:-4:-1]


@only("bybit")
async def test_bybits_bounds_are_inclusive_and_a_start_needs_an_end(venue, ask, times):
    assert told(venue, await ask(startTime=times[5], endTime=times[7])) == times[7:4:-1]
    assert told(venue, await ask(startTime=times[5] + 1, endTime=times[7] - 1)) == [times[6]]
    assert told(venue, await ask(startTime=times[5], endTime=times[50], limit=2)) == times[50:48:-1]
    assert told(venue, await ask(endTime=times[7], limit=2)) == times[7:5:-1]

    refused = (await ask(startTime=times[5])).json
    assert (refused["retCode"], refused["result"]) == (10001, {})
    assert "endTime" in refused["retMsg"]


@only("bybit")
async def test_bybit_names_the_interval_of_the_day_among_its_instruments(venue, ask, clock):
    async def minutes(symbol: str) -> int:
        reply = await ask("api.bybit.com/v5/market/instruments-info", symbol=None)
        return next(entry["fundingInterval"] for entry in reply.json["result"]["list"] if entry["symbol"] == symbol)

    assert (await minutes("BTCUSDT"), await minutes("SOLUSDT")) == (480, 240)
    clock.set(datetime(2023, 3, 31, 23, 59, tzinfo=UTC))
    assert await minutes("SOLUSDT") == 480


@only("cryptocom")
async def test_crypto_coms_bounds_are_exclusive_and_it_pays_every_hour(venue, ask, times):
    assert told(venue, await ask(start_ts=times[5], end_ts=times[8])) == [times[7], times[6]]
    assert told(venue, await ask(start_ts=times[5] - 1, end_ts=times[8] + 1)) == times[8:4:-1]
    assert told(venue, await ask(end_ts=times[8], count=2)) == [times[7], times[6]]
    assert told(venue, await ask(start_ts=-5, end_ts=times[2])) == [times[1], times[0]]
    assert {later - sooner for sooner, later in pairwise(times)} == {HOUR_MS}


@only("okx")
async def test_okxs_bounds_are_exclusive_and_before_alone_tells_the_newest(venue, ask, times):
    recent = times[-200:]

    assert told(venue, await ask(before=recent[5], after=recent[8])) == [recent[7], recent[6]]
    assert told(venue, await ask(after=recent[8], limit=2)) == [recent[7], recent[6]]
    assert told(venue, await ask(before=recent[5], limit=2)) == [recent[-1], recent[-2]]


@only("okx")
async def test_okx_has_three_months_only_unless_they_are_recorded_ones(venue, ask, times, simulator):
    kept = NOW_MS - 92 * DAY_MS

    assert told(venue, await ask())[-1] == next(time for time in times if time >= kept)
    assert told(venue, await ask(after=kept)) == []
    simulator.replay_funding("BTC/USDT:USDT", [1000, 2000], [7.52886032957e-05, -0.1])
    rows = (await ask()).json["data"]
    assert [(row["fundingTime"], row["realizedRate"]) for row in rows] == [
        ("2000", "-0.1"),
        ("1000", "0.0000752886032957"),
    ]


REFUSALS: list[tuple[str, dict[str, object], int, dict[str, Any]]] = [
    ("binance", {"symbol": "NOPE"}, 400, {"code": -1121, "msg": "Invalid symbol."}),
    ("binance", {"symbol": "ETHUSDT"}, 400, {"code": -1121}),  # no perpetual
    ("binance", {"startTime": 2, "endTime": 1}, 400, {"code": -1023, "msg": "Start time is greater than end time."}),
    ("binance", {"startTime": "now"}, 400, {"code": -1100}),
    ("binance", {"limit": 0}, 400, {"code": -1130}),
    ("binance", {"interval": "1m"}, 400, {"code": -1104}),
    ("bybit", {"symbol": "NOPE"}, 200, {"retCode": 10001, "retMsg": "params error: symbol invalid"}),
    ("bybit", {"category": "spot"}, 200, {"retCode": 10001, "retMsg": "params error: Category is invalid"}),
    ("bybit", {"category": None}, 200, {"retCode": 10001, "retMsg": "params error: Category is invalid"}),
    ("bybit", {"limit": "many"}, 200, {"retCode": 10001}),
    ("cryptocom", {"instrument_name": None}, 400, {"code": 40004, "message": "Missing instrument_name param"}),
    ("cryptocom", {"instrument_name": "NOPE"}, 400, {"code": 40004, "message": "Invalid instrument_name"}),
    ("cryptocom", {"instrument_name": "BTC_USD"}, 400, {"code": 40004, "message": "Invalid instrument_name"}),
    ("cryptocom", {"valuation_type": "nope"}, 400, {"code": 40004, "message": "Invalid valuation_type"}),
    ("cryptocom", {"count": "many"}, 400, {"code": 40004, "method": "public/get-valuations"}),
    ("okx", {"instId": "NOPE"}, 400, {"code": "51001"}),
    ("okx", {"instId": "BTC-USDT"}, 400, {"code": "51001"}),
    ("okx", {"limit": 401}, 400, {"code": "51000", "msg": "Parameter limit error"}),
    ("okx", {"before": "-1"}, 400, {"code": "51000", "msg": "Parameter before error"}),
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
