"""What each venue's candle address promises and refuses, asked without CCXT in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import DAY_MS, HOUR_MS, MINUTE_MS, from_milliseconds, to_milliseconds
from cb_trade_simulator.venues import VENUES

from .conftest import NOW, Reply

NOW_MS = to_milliseconds(NOW)
OPEN_MS = NOW_MS - NOW_MS % MINUTE_MS  # the candle that holds now opened here
START_MS = to_milliseconds(datetime(2023, 2, 1, tzinfo=UTC))

CANDLES = {
    "binance": ("api.binance.com/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m"}),
    "bybit": ("api.bybit.com/v5/market/kline", {"category": "spot", "symbol": "BTCUSDT", "interval": "1"}),
    "coinbase": (
        "api.coinbase.com/api/v3/brokerage/market/products/BTC-USDT/candles",
        {"granularity": "ONE_MINUTE"},
    ),
    "coinbaseexchange": ("api.exchange.coinbase.com/products/BTC-USDT/candles", {"granularity": "60"}),
    "cryptocom": (
        "api.crypto.com/exchange/v1/public/get-candlestick",
        {"instrument_name": "BTC_USDT", "timeframe": "1m"},
    ),
    "kraken": ("api.kraken.com/0/public/OHLC", {"pair": "XBTUSDT", "interval": "1"}),
    "okx": ("www.okx.com/api/v5/market/history-candles", {"instId": "BTC-USDT", "bar": "1m"}),
}

Ask = Callable[..., Awaitable[Reply]]


@pytest.fixture
def venue() -> str:
    raise NotImplementedError("parametrize it")


@pytest.fixture
async def ask(venue: str, simulator: ExchangeSimulator) -> AsyncIterator[Ask]:
    """Ask for BTC/USDT candles of a minute, with these changes to the query."""
    address, query = CANDLES[venue]
    async with aiohttp.ClientSession() as session:

        async def send(path: str = address, **changes: object) -> Reply:
            sent = {name: str(value) for name, value in (query | changes).items()}
            async with session.get(f"{simulator.base_url}/{path}", params=sent) as response:
                return Reply(response.status, response.headers, await response.text())

        yield send


def opens(venue: str, reply: Reply) -> list[int]:
    """Return the open times in the order of the wire, in milliseconds."""
    shape = VENUES[venue].row_shapes["klines"]
    assert reply.status == 200, reply.text
    return [int(row[shape.time]) * shape.unit_ms for row in shape.find(reply.json) or []]


def minutes(start_ms: int, count: int) -> list[int]:
    return [start_ms + number * MINUTE_MS for number in range(count)]


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("venue", names)


@pytest.mark.parametrize(
    ("venue", "count"),
    [("binance", 500), ("bybit", 200), ("coinbaseexchange", 300), ("cryptocom", 25), ("kraken", 720), ("okx", 100)],
)
async def test_without_bounds_the_newest_come_up_to_the_default_and_end_with_the_open_candle(venue, count, ask):
    found = opens(venue, await ask())

    assert sorted(found) == minutes(OPEN_MS - (count - 1) * MINUTE_MS, count)
    assert found == sorted(found, reverse=VENUES[venue].row_shapes["klines"].newest_first)


@pytest.mark.parametrize(("venue", "name"), [("binance", "limit"), ("bybit", "limit"), ("cryptocom", "count")])
async def test_more_than_the_most_counts_as_the_most(venue, name, ask):
    most = {"binance": 1000, "bybit": 1000, "cryptocom": 300}[venue]

    assert len(opens(venue, await ask(**{name: most + 1}))) == most
    assert len(opens(venue, await ask(**{name: 7}))) == 7


@only("okx")
async def test_okx_refuses_more_than_300_rows(venue, ask):
    reply = await ask(limit=301)

    assert reply.json == {"code": "51000", "data": [], "msg": "Parameter limit error"}
    assert len(opens(venue, await ask(limit=300))) == 300


@only("coinbase")
async def test_coinbase_takes_350_candles_and_both_ends_are_inclusive(venue, ask):
    start, end = START_MS // 1000, START_MS // 1000 + 350 * 60

    assert opens(venue, await ask(start=start, end=end)) == minutes(START_MS, 351)[::-1]
    refused = await ask(start=start, end=end + 60)

    assert refused.status == 400
    assert refused.json["error"] == "INVALID_ARGUMENT"
    assert "number of candles requested should be less than 350" in refused.json["message"]


@only("coinbaseexchange")
async def test_coinbase_exchange_takes_300_candles_and_tells_one_before_the_start(venue, ask):
    def iso(moment_ms: int) -> str:
        return from_milliseconds(moment_ms).isoformat().replace("+00:00", "Z")

    found = opens(venue, await ask(start=iso(START_MS), end=iso(START_MS + 3 * MINUTE_MS)))
    assert found == minutes(START_MS - MINUTE_MS, 5)[::-1]
    assert len(opens(venue, await ask(start=iso(START_MS), end=iso(START_MS + 300 * MINUTE_MS)))) == 302

    refused = await ask(start=iso(START_MS), end=iso(START_MS + 301 * MINUTE_MS))
    assert refused.status == 400
    assert "Count of aggregations requested exceeds 300" in refused.json["message"]


@only("kraken")
async def test_kraken_has_the_newest_720_and_since_only_filters_exclusively(venue, ask):
    assert opens(venue, await ask(since=START_MS // 1000)) == minutes(OPEN_MS - 719 * MINUTE_MS, 720)

    reply = await ask(since=OPEN_MS // 1000 - 5 * 60)

    assert opens(venue, reply) == minutes(OPEN_MS - 4 * MINUTE_MS, 5)
    assert reply.json["result"]["last"] == OPEN_MS // 1000 - 60  # the newest that is closed


@only("kraken")
async def test_kraken_takes_both_names_of_a_pair_and_answers_with_its_id(venue, ask):
    for name in ("XBTUSD", "XXBTZUSD"):
        assert set((await ask(pair=name)).json["result"]) == {"XXBTZUSD", "last"}


@only("cryptocom")
async def test_crypto_com_tells_the_newest_before_the_end_and_both_bounds_are_exclusive(venue, ask):
    end = START_MS + 60 * MINUTE_MS

    assert opens(venue, await ask(end_ts=end, count=3)) == minutes(end - 3 * MINUTE_MS, 3)
    assert opens(venue, await ask(start_ts=end - 3 * MINUTE_MS, end_ts=end, count=300)) == minutes(
        end - 2 * MINUTE_MS, 2
    )


@only("bybit")
async def test_bybit_goes_forward_from_a_start_alone_but_tells_the_newest_of_a_window(venue, ask):
    end = START_MS + 60 * MINUTE_MS

    assert opens(venue, await ask(start=START_MS, limit=3)) == minutes(START_MS, 3)[::-1]
    assert opens(venue, await ask(start=START_MS, end=end, limit=3)) == minutes(end - 2 * MINUTE_MS, 3)[::-1]
    assert opens(venue, await ask(end=end, limit=3)) == minutes(end - 2 * MINUTE_MS, 3)[::-1]
    assert opens(venue, await ask(start=START_MS + 1, limit=1)) == [START_MS]  # the candle that holds the start


@only("okx")
async def test_okx_tells_the_newest_inside_two_exclusive_bounds(venue, ask):
    end = START_MS + 60 * MINUTE_MS

    assert opens(venue, await ask(before=START_MS, after=end, limit=3)) == minutes(end - 3 * MINUTE_MS, 3)[::-1]
    assert opens(venue, await ask(before=end - 2 * MINUTE_MS, after=end, limit=3)) == [end - MINUTE_MS]


@only("okx")
async def test_okx_marks_the_open_candle_as_unconfirmed(venue, ask):
    assert [row[8] for row in (await ask(limit=3)).json["data"]] == ["0", "1", "1"]


@only("okx")
async def test_okx_keeps_old_candles_at_another_address(venue, ask):
    recent = "www.okx.com/api/v5/market/candles"
    edge = OPEN_MS - 1439 * MINUTE_MS

    assert opens(venue, await ask(recent, after=edge + 2 * MINUTE_MS)) == [edge + MINUTE_MS, edge]
    assert opens(venue, await ask(recent, after=START_MS)) == []
    assert len(opens(venue, await ask(after=START_MS))) == 100


@only("okx")
@pytest.mark.parametrize(("bar", "length_ms"), [("6H", 6 * HOUR_MS), ("12H", 12 * HOUR_MS), ("1D", DAY_MS)])
async def test_okx_bars_of_six_hours_and_more_follow_hong_kong_unless_utc_is_asked_for(bar, length_ms, venue, ask):
    by_utc = opens(venue, await ask(bar=f"{bar}utc", limit=5))
    by_hong_kong = opens(venue, await ask(bar=bar, limit=5))

    assert all(opened % length_ms == 0 for opened in by_utc)
    assert all((opened + 8 * HOUR_MS) % length_ms == 0 for opened in by_hong_kong)
    assert not set(by_utc) & set(by_hong_kong) or 8 * HOUR_MS % length_ms == 0


@only("okx")
async def test_okx_days_of_hong_kong_are_a_truth_of_their_own(venue, simulator):
    span = (datetime(2023, 1, 1, tzinfo=UTC), datetime(2023, 1, 3, tzinfo=UTC))

    days = simulator.candles("BTC/USDT", "1d@UTC+8", *span)

    assert [from_milliseconds(opened).hour for opened in days["timestamp"].tolist()] == [16, 16]
    hours = simulator.candles("BTC/USDT", "1h", span[0] + timedelta(hours=16), span[1] - timedelta(hours=8))
    assert days["high"][0] == hours["high"].max()


REFUSALS = [
    ("bybit", {"symbol": "NOPE"}, 200, {"retCode": 10001, "retMsg": "params error: Symbol Invalid"}),
    ("bybit", {"interval": "7"}, 200, {"retCode": 10001, "retMsg": "Invalid period!"}),
    ("coinbase", {"granularity": "ONE_WEEK", "start": 1, "end": 2}, 400, {"error": "INVALID_ARGUMENT"}),
    ("coinbase", {}, 400, {"error": "INVALID_ARGUMENT"}),
    ("coinbaseexchange", {"granularity": "61"}, 400, {"message": "Unsupported granularity"}),
    ("coinbaseexchange", {"start": "now", "end": "then"}, 400, {"message": "Invalid start"}),
    ("cryptocom", {"instrument_name": "NOPE"}, 400, {"code": 40004, "message": "Invalid instrument_name"}),
    ("cryptocom", {"timeframe": "7m"}, 400, {"code": 40004, "message": "Invalid timeframe"}),
    ("cryptocom", {"count": "many"}, 400, {"code": 40004}),
    ("kraken", {"pair": "NOPE"}, 200, {"error": ["EQuery:Unknown asset pair"]}),
    ("kraken", {"interval": "7"}, 200, {"error": ["EGeneral:Invalid arguments:Invalid interval"]}),
    ("okx", {"instId": "NOPE"}, 400, {"code": "51001"}),
    ("okx", {"bar": "7m"}, 400, {"code": "51000", "msg": "Parameter bar error"}),
    ("okx", {"before": "-1"}, 400, {"code": "51000", "msg": "Parameter before error"}),
]


@pytest.mark.parametrize(("venue", "changes", "status", "document"), REFUSALS)
async def test_a_bad_request_is_refused_in_the_venues_own_words(venue, changes, status, document, ask):
    reply = await ask(**changes)

    assert reply.status == status
    assert reply.json.items() >= document.items()


@pytest.mark.parametrize("venue", [name for name in VENUES if name != "binance"])
async def test_an_address_the_venue_does_not_have_is_a_404_and_counted_apart(venue, ask, simulator):
    host = CANDLES[venue][0].partition("/")[0]

    assert (await ask(f"{host}/nonsense")).status == 404
    assert (await ask("example.com/time")).status == 404
    assert simulator.calls.by_endpoint == {"unknown": 2}


@pytest.mark.parametrize(("venue", "omits"), [("coinbase", True), ("coinbaseexchange", True), ("okx", False)])
async def test_an_open_candle_without_a_trade_yet_is_flat_or_missing(venue, omits, clock, simulator):
    """Whatever a venue does with quiet minutes it does with one that is not over yet."""
    history = simulator._histories["ADA/BTC"]
    clock.set(datetime(2023, 6, 1, 3, 0, tzinfo=UTC))
    now_ms = to_milliseconds(clock.now())
    quiet = next(
        opened
        for opened in range(now_ms, now_ms + DAY_MS, MINUTE_MS)
        if len(history.minutes(opened, opened + 1, opened)) == 0
        or history.minutes(opened, opened + 1, opened)["trades"][0] == 0
    )

    rows = history.minutes(quiet, quiet + 1, quiet)

    assert len(rows) == (0 if omits else 1)


def test_a_venue_is_described_completely():
    for name, venue in VENUES.items():
        facts: Any = venue
        assert facts.markets, name
        assert facts.timeframes, name
        assert facts.allowances, name
        assert facts.outages, name
