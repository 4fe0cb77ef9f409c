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
from cb_trade_simulator.faults import Delisting
from cb_trade_simulator.venues import VENUES
from cb_trade_simulator.venues.venue import Question

from .conftest import NOW, Reply

NOW_MS = to_milliseconds(NOW)
START = datetime(2024, 4, 3, 10, 0, tzinfo=UTC)
START_MS = to_milliseconds(START)
FUTURES = "fapi.binance.com/fapi/v1/aggTrades"
TRADES = {
    "binance": ("api.binance.com/api/v3/aggTrades", {"symbol": "BTCUSDT"}),
    "bybit": ("api.bybit.com/v5/market/recent-trade", {"category": "spot", "symbol": "BTCUSDT"}),
    "coinbase": ("api.coinbase.com/api/v3/brokerage/market/products/BTC-USDT/ticker", {}),
    "coinbaseexchange": ("api.exchange.coinbase.com/products/BTC-USDT/trades", {}),
    "cryptocom": ("api.crypto.com/exchange/v1/public/get-trades", {"instrument_name": "BTC_USDT"}),
    "kraken": ("api.kraken.com/0/public/Trades", {"pair": "XBTUSDT"}),
    "okx": ("www.okx.com/api/v5/market/history-trades", {"instId": "BTC-USDT"}),
}
ENDPOINTS = {"binance": "aggTrades"}
ID: dict[str, Any] = {
    "binance": "a",
    "bybit": "execId",
    "coinbase": "trade_id",
    "coinbaseexchange": "trade_id",
    "cryptocom": "d",
    "kraken": 6,
    "okx": "tradeId",
}
LIMIT = {"cryptocom": "count", "kraken": "count"}

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


PAGES = [
    ("bybit", 60, 60),
    ("coinbase", 100, 1000),
    ("coinbaseexchange", 1000, 1000),
    ("cryptocom", 25, 150),
    ("kraken", 1000, 1000),
    ("okx", 100, 100),
]


@pytest.mark.parametrize(("venue", "default", "most"), PAGES)
async def test_without_bounds_the_newest_come_newest_first_but_on_kraken(venue, default, most, ask, newest):
    limit = LIMIT.get(venue, "limit")

    async def oldest_first(**changes: object) -> list[int]:
        found = told(venue, await ask(**changes))
        return found if venue == "kraken" else found[::-1]

    assert await oldest_first() == newest[-default:]
    assert await oldest_first(**{limit: most}) == newest[-most:]
    assert await oldest_first(**{limit: 3}) == newest[-3:]
    if venue in ("bybit", "coinbase", "cryptocom"):
        assert await oldest_first(**{limit: most + 1}) == newest[-most:]
    else:
        assert most in (100, 1000)
        refused = await ask(**{limit: most + 1})
        assert refused.status == (200 if venue == "kraken" else 400)
        assert "data" not in refused.json or refused.json["data"] == []


@only("kraken")
async def test_kraken_goes_on_from_a_time_in_seconds_or_nanoseconds_that_is_exclusive(venue, ask, minute):
    ids = minute["id"].tolist()

    reply = await ask(since=START_MS // 1000, count=5)
    assert told(venue, reply) == ids[:5]
    last = reply.json["result"]["last"]
    assert told(venue, await ask(since=last, count=5)) == ids[5:10]
    assert told(venue, await ask(since=int(last) - 1, count=5)) == ids[4:9]
    assert int(last) // 1_000_000 == minute["timestamp"][4]
    later = NOW_MS // 1000 + 5
    assert (await ask(since=later)).json["result"] == {"XBTUSDT": [], "last": str(later * 10**9)}


@only("kraken")
async def test_kraken_tells_seven_columns(venue, ask, minute):
    (row,) = (await ask(since=START_MS // 1000, count=1)).json["result"]["XBTUSDT"]

    first = minute[0]
    assert row[:2] == [f"{first['price']:.2f}", f"{first['amount']:.8f}"]
    assert int(row[2] * 1000) == first["timestamp"]
    assert row[3:] == ["s" if first["buyer_is_maker"] else "b", "m", "", first["id"]]


@only("coinbase")
async def test_coinbases_bounds_are_whole_seconds_the_start_inclusive_and_the_end_not(venue, ask, minute):
    start = START_MS // 1000
    inside = minute[(minute["timestamp"] >= START_MS + 3000) & (minute["timestamp"] < START_MS + 9000)]

    reply = await ask(start=start + 3, end=start + 9, limit=1000)
    assert told(venue, reply) == inside["id"].tolist()[::-1]
    assert told(venue, await ask(start=start + 3, end=start + 9, limit=2)) == inside["id"].tolist()[:-3:-1]
    assert told(venue, await ask(start=start + 3, end=start + 3)) == []
    row = reply.json["trades"][-1]
    assert (row["product_id"], row["side"]) == (
        "BTC-USDT",
        "BUY" if inside["buyer_is_maker"][0] else "SELL",
    )  # the maker's
    assert to_milliseconds(datetime.fromisoformat(row["time"])) == inside["timestamp"][0]


@only("coinbaseexchange")
async def test_coinbase_exchange_pages_by_ids_that_are_exclusive_and_names_the_next_ones(venue, ask, minute, newest):
    ids = minute["id"].tolist()

    reply = await ask(after=ids[20], limit=5)
    assert told(venue, reply) == ids[19:14:-1]
    assert (reply.headers["CB-BEFORE"], reply.headers["CB-AFTER"]) == (str(ids[19]), str(ids[15]))
    assert told(venue, await ask(after=ids[20], before=ids[15])) == ids[19:15:-1]
    assert told(venue, await ask(before=ids[15], limit=2)) == newest[:-3:-1]  # the newest of those that are newer
    assert told(venue, await ask(before=newest[-3])) == newest[:-3:-1]
    nothing = await ask(after=1)
    assert told(venue, nothing) == []
    assert "CB-AFTER" not in nothing.headers


@only("coinbaseexchange")
async def test_coinbase_exchange_names_the_makers_side(venue, ask, minute):
    (row,) = (await ask(after=int(minute["id"][1]), limit=1)).json

    assert row["side"] == ("buy" if minute["buyer_is_maker"][0] else "sell")
    assert to_milliseconds(datetime.fromisoformat(row["time"])) == minute["timestamp"][0]


@only("cryptocom")
async def test_crypto_coms_start_is_inclusive_and_its_end_not_in_milliseconds_or_nanoseconds(venue, ask, minute):
    first, last = minute["timestamp"][[20, 60]].tolist()
    inside = minute[(first <= minute["timestamp"]) & (minute["timestamp"] < last)]["id"].tolist()

    assert told(venue, await ask(start_ts=first, end_ts=last, count=150)) == inside[::-1]
    reply = await ask(start_ts=first * 10**6, end_ts=last * 10**6, count=3)
    assert told(venue, reply) == inside[:-4:-1]
    exact = [int(row["tn"]) for row in reply.json["result"]["data"]]
    assert told(venue, await ask(start_ts=exact[2], end_ts=exact[0], count=150)) == inside[-3:-1][::-1]


@only("cryptocom")
async def test_crypto_com_looks_back_a_day_without_a_start(venue, ask, simulator):
    end = NOW.replace(hour=0, minute=0, second=0) - timedelta(days=3)
    end_ms = to_milliseconds(end)
    simulator.inject(Delisting("SOL/USDT", end))
    sol = {"instrument_name": "SOL_USDT", "count": 3}
    last = simulator.trades("SOL/USDT", end - timedelta(minutes=5), end)["id"].tolist()[:-4:-1]

    assert told(venue, await ask(**sol)) == []
    assert told(venue, await ask(**sol, end_ts=end_ms + DAY_MS)) == []
    assert told(venue, await ask(**sol, end_ts=end_ms + DAY_MS - HOUR_MS)) == last
    assert told(venue, await ask(**sol, start_ts=0)) == last


@only("okx")
async def test_okx_pages_by_id_or_by_time_and_both_are_exclusive(venue, ask, minute, newest):
    ids, times = minute["id"].tolist(), minute["timestamp"].tolist()

    assert told(venue, await ask(after=ids[20], limit=5)) == ids[19:14:-1]
    assert told(venue, await ask(after=ids[20], before=ids[15])) == ids[19:15:-1]
    assert told(venue, await ask(before=ids[15], limit=2)) == newest[:-3:-1]
    older = [trade_id for trade_id, at in zip(ids, times, strict=True) if at < times[60]]
    assert told(venue, await ask(type=2, after=times[60], limit=5)) == older[:-6:-1]
    assert (await ask(type=2, before=times[20])).json["code"] == "51000"


@only("okx")
async def test_okx_has_the_newest_five_hundred_at_one_address_and_three_months_at_the_other(venue, ask, newest):
    recent = "www.okx.com/api/v5/market/trades"

    assert told(venue, await ask(recent, limit=500)) == newest[:-501:-1]
    assert told(venue, await ask(recent, limit=2, after=newest[-100])) == newest[:-3:-1]  # not to be paged
    assert (await ask(recent, limit=501)).json["code"] == "51000"
    kept = NOW_MS - 92 * DAY_MS
    assert told(venue, await ask(type=2, after=kept)) == []
    assert len(told(venue, await ask(type=2, after=kept + HOUR_MS))) == 100


@only("okx")
async def test_okx_counts_the_contracts_of_a_perpetual(venue, ask, simulator):
    (row,) = (await ask(instId="BTC-USDT-SWAP", limit=1)).json["data"]

    last = simulator.trades("BTC/USDT:USDT", NOW - timedelta(minutes=5), NOW)[-1]
    assert float(row["sz"]) == pytest.approx(last["amount"] * 100)  # a contract is a hundredth of a bitcoin
    assert (row["side"], row["px"]) == ("sell" if last["buyer_is_maker"] else "buy", f"{last['price']:.1f}")


@only("bybit")
async def test_bybit_tells_more_of_a_perpetual(venue, ask):
    linear = {"category": "linear"}

    assert len(told(venue, await ask(**linear))) == 500
    assert len(told(venue, await ask(**linear, limit=1001))) == 1000


REFUSALS: list[tuple[str, dict[str, object], int, dict[str, Any]]] = [
    ("binance", {"symbol": "NOPE"}, 400, {"code": -1121, "msg": "Invalid symbol."}),
    ("binance", {"symbol": None}, 400, {"code": -1102}),
    ("binance", {"fromId": 1, "startTime": 1}, 400, {"code": -1128}),
    ("binance", {"fromId": 1, "endTime": 1}, 400, {"code": -1128}),
    ("binance", {"fromId": "first"}, 400, {"code": -1100}),
    ("binance", {"startTime": 2, "endTime": 1}, 400, {"code": -1023}),
    ("binance", {"limit": 0}, 400, {"code": -1130}),
    ("binance", {"side": "buy"}, 400, {"code": -1104}),
    ("bybit", {"symbol": "NOPE"}, 200, {"retCode": 10001, "retMsg": "params error: symbol invalid"}),
    ("bybit", {"category": None}, 200, {"retCode": 10001, "retMsg": "params error: Category is invalid"}),
    ("bybit", {"limit": "many"}, 200, {"retCode": 10001}),
    ("coinbase", {"start": "now"}, 400, {"error": "INVALID_ARGUMENT"}),
    ("coinbase", {"limit": "many"}, 400, {"error": "INVALID_ARGUMENT"}),
    ("coinbaseexchange", {"after": "now"}, 400, {"message": "Invalid after"}),
    ("coinbaseexchange", {"before": "now"}, 400, {"message": "Invalid before"}),
    ("coinbaseexchange", {"limit": 0}, 400, {"message": "Invalid limit"}),
    ("cryptocom", {"instrument_name": "NOPE"}, 400, {"code": 40004, "message": "Invalid instrument_name"}),
    ("cryptocom", {"count": "many"}, 400, {"code": 40004, "method": "public/get-trades"}),
    ("cryptocom", {"end_ts": "now"}, 400, {"code": 40004, "message": "Invalid end_ts"}),
    ("kraken", {"pair": "NOPE"}, 200, {"error": ["EQuery:Unknown asset pair"]}),
    ("kraken", {"since": "now"}, 200, {"error": ["EGeneral:Invalid arguments:since"]}),
    ("kraken", {"count": 0}, 200, {"error": ["EGeneral:Invalid arguments:count"]}),
    ("okx", {"instId": "NOPE"}, 400, {"code": "51001"}),
    ("okx", {"type": 3}, 400, {"code": "51000", "msg": "Parameter type error"}),
    ("okx", {"after": "now"}, 400, {"code": "51000", "msg": "Parameter after error"}),
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
