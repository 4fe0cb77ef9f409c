"""`/v1`: what programs can learn about what there is, without a socket and without a call to any exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from bad_tokens import BAD_TOKENS
from service_harness import RunningService, at, ms, running_service, token

from cb_trade_simulator.faults import StatusFault

ROUTES = [
    "exchanges",
    "series",
    "coverage?exchange=binance&symbol=BTC/USDT&timeframe=1m",
    "comparison?exchange=binance&symbol=BTC/USDT&start_time=1&end_time=2",
    "quality?exchange=binance&symbol=BTC/USDT&timeframe=1m",
]
JANUARY = {"start_time": "2024-01-01T00:00:00Z", "end_time": "2024-02-01T00:00:00Z"}
BARS = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m"}

Get = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def get(service: RunningService, session: aiohttp.ClientSession) -> Get:
    """Ask `/v1/…` with a good token; return the status and the answer."""
    return asking(service, session)


def asking(service: RunningService, session: aiohttp.ClientSession) -> Get:
    async def get(path: str, **query: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token(scopes=['data:read'])}"}
        async with session.get(f"{service.http_url}/v1/{path}", params=query, headers=headers) as response:
            return response.status, await response.json()

    return get


@pytest.mark.parametrize(("bearer", "status"), BAD_TOKENS)
@pytest.mark.parametrize("route", ROUTES)
async def test_a_bad_token_is_refused_with_a_code_and_a_challenge(service, session, route, bearer, status):
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}

    async with session.get(f"{service.http_url}/v1/{route}", headers=headers) as response:
        refusal = await response.json()

    assert response.status == status
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert refusal["code"] == {401: refusal["code"], 403: "forbidden"}[status]
    assert set(refusal) == {"code", "message", "retryable", "retry_after_ms", "details"}
    assert bearer is None or bearer not in await response.text()


async def test_the_challenge_names_the_scope_that_is_lacking(service, session):
    headers = {"Authorization": f"Bearer {token(scopes=[])}"}

    async with session.get(f"{service.http_url}/v1/exchanges", headers=headers) as response:
        assert response.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="data:read"'


async def test_a_token_in_the_address_is_no_token(service, session):
    """It would stand in every log on the way."""
    async with session.get(f"{service.http_url}/v1/exchanges", params={"token": token()}) as response:
        assert (response.status, (await response.json())["code"]) == (401, "token_missing")


async def test_exchanges_are_told_with_their_facts_and_the_state_they_were_last_seen_in(get, client):
    status, before = await get("exchanges")
    await client.history(at("2024-01-01"), at("2024-01-02"))
    _, after = await get("exchanges")

    assert status == 200
    binance = before["exchanges"][0]
    assert binance["timeframes"][:3] == ["1s", "1m", "3m"]
    assert {"10m", "45m", "3M"} <= set(binance["derivable"])
    assert not set(binance["derivable"]) & set(binance["timeframes"])
    del binance["timeframes"], binance["derivable"]
    rate = binance["condition"]["calls_per_sec"]
    assert rate > 0
    assert binance == {
        "name": "binance",
        "kinds": ["funding_rate", "ohlcv", "order_book", "trades"],
        "page_limit_bars": 1000,
        "settle_margin_ms": 2000,
        "state": "unused",
        "condition": {
            "breaker": "closed",
            "markets_held_up": 0,
            "calls_per_sec": rate,
            "full_calls_per_sec": rate,
            "waiting": 0,
            "under_way": 0,
            "paused_secs": 0.0,
        },
    }
    assert after["exchanges"][0]["state"] == "ok"


@pytest.mark.parametrize(
    ("path", "query", "code", "field"),
    [
        ("exchanges", {"exchange": "binance"}, "unknown_field", "exchange"),
        ("series", {"symbl": "BTC/USDT"}, "unknown_field", "symbl"),
        ("series", {"limit": 0}, "invalid_value", "limit"),
        ("series", {"limit": 1001}, "invalid_value", "limit"),
        ("series", {"limit": "many"}, "invalid_value", "limit"),
        ("series", {"limit": "1_0"}, "invalid_value", "limit"),
        ("series", {"limit": " 10"}, "invalid_value", "limit"),
        ("series", {"limit": "10.0"}, "invalid_value", "limit"),
        ("series", {"limit": "9" * 5_000}, "invalid_value", "limit"),
        ("series", {"exchange": "binnance"}, "unknown_exchange", None),
        ("series", {"exchange": ".."}, "unknown_exchange", None),
        ("series", {"symbol": "BTC\n"}, "invalid_value", "symbol"),
        ("coverage", {}, "missing_field", "exchange"),
        ("coverage", {"exchange": "binance"}, "missing_field", "symbol"),
        ("coverage", BARS | {"refresh": "true"}, "unknown_field", "refresh"),
        ("coverage", BARS | {"request_id": "r1"}, "unknown_field", "request_id"),
        ("coverage", BARS | {"exchange": "binnance"}, "unknown_exchange", None),
        ("coverage", BARS | {"timeframe": "7m"}, "unknown_timeframe", None),
        ("coverage", BARS | {"kind": "candles"}, "invalid_value", "kind"),
        ("coverage", {"exchange": "binance", "symbol": "BTC/USDT", "kind": "funding_rate"}, "unsupported_kind", None),
        ("coverage", BARS | {"kind": "trades"}, "invalid_value", ""),
        ("coverage", BARS | {"start_time": "2024-01-01T00:00:00"}, "invalid_value", "start_time"),
        ("coverage", BARS | {"start_time": "yesterday"}, "invalid_value", "start_time"),
        ("coverage", BARS | {"end_time": "-1"}, "invalid_value", "end_time"),
        ("coverage", BARS | {"end_time": "9" * 30}, "invalid_value", "end_time"),
        ("coverage", BARS | {"end_time": "9" * 5_000}, "invalid_value", "end_time"),
        ("coverage", BARS | {"limit": 1001}, "invalid_value", "limit"),
        ("coverage", BARS | {"start_time": 2, "end_time": 1}, "empty_range", None),
        ("coverage", BARS | {"start_time": 1, "end_time": 1}, "empty_range", None),
        ("coverage", BARS | {"start_time": "2190-01-01T00:00:00Z"}, "range_in_future", None),
        ("quality", {"exchange": "binance"}, "missing_field", "symbol"),
        ("quality", BARS | {"kind": "ohlcv"}, "unknown_field", "kind"),
        ("quality", BARS | {"exchange": "binnance"}, "unknown_exchange", None),
        ("quality", BARS | {"timeframe": "7m"}, "unknown_timeframe", None),
        ("quality", BARS | {"details": "yes"}, "invalid_value", "details"),
        ("quality", BARS | {"details": ""}, "invalid_value", "details"),
        ("quality", BARS | {"limit": 0}, "invalid_value", "limit"),
        ("quality", BARS | {"limit": 1001}, "invalid_value", "limit"),
        ("quality", BARS | {"start_time": 2, "end_time": 1}, "empty_range", None),
        ("quality", BARS | {"start_time": "2190-01-01T00:00:00Z"}, "range_in_future", None),
    ],
)
async def test_a_bad_question_is_refused_with_the_code_of_the_socket(get, path, query, code, field):
    status, refusal = await get(path, **query)

    assert (status, refusal["code"]) == (400, code)
    assert refusal["details"].get("field") == field
    assert not refusal["retryable"]
    assert not any(word in refusal["message"] for word in ("Value error", "sys."))


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/v1/candles", 404, "unknown_path", None),
        ("GET", "/v1", 404, "unknown_path", None),
        ("GET", "/metric", 404, "unknown_path", None),
        ("POST", "/v1/series", 405, "method_not_allowed", "GET"),
        ("DELETE", "/health/ready", 405, "method_not_allowed", "GET"),
    ],
)
async def test_what_no_route_answers_is_refused_in_the_same_words(service, session, method, path, status, code, allow):
    async with session.request(method, f"{service.http_url}{path}") as response:
        refusal = await response.json()

    assert (response.status, refusal["code"], refusal["retryable"]) == (status, code, False)
    assert set(refusal) == {"code", "message", "retryable", "retry_after_ms", "details"}
    assert refusal["details"]["path"] == path
    assert response.headers.get("Allow") == allow


async def test_a_field_given_twice_is_refused(service, session):
    headers = {"Authorization": f"Bearer {token()}"}
    query = [("limit", "1"), ("limit", "2")]

    async with session.get(f"{service.http_url}/v1/series", params=query, headers=headers) as response:
        assert (response.status, (await response.json())["details"]) == (400, {"field": "limit"})


async def test_a_bad_question_of_a_stranger_is_not_looked_at(service, session):
    async with session.get(f"{service.http_url}/v1/coverage", params={"limit": "many"}) as response:
        assert response.status == 401


async def test_storage_that_cannot_be_read_is_told_as_such(get, client, tmp_path: Path):
    await client.history(at("2024-01-01"), at("2024-01-02"))
    make_facts_unreadable(tmp_path)

    for path, query in (("series", {}), ("coverage", BARS), ("quality", BARS)):
        status, refusal = await get(path, **query)

        assert (status, refusal["code"], refusal["retryable"]) == (503, "storage_unavailable", True)


def make_facts_unreadable(root: Path) -> None:
    [facts] = root.rglob("_series.json")
    facts.unlink()
    facts.mkdir()  # what cannot be opened as a file


# --- Coverage --------------------------------------------------------------------------------------------------------


async def test_coverage_tells_what_is_held_and_what_nobody_asked_for(get, client):
    await client.history(at("2024-01-02"), at("2024-01-03"))
    await client.history(at("2024-01-10"), at("2024-01-11"))

    status, answer = await get("coverage", **BARS, **JANUARY)

    assert status == 200
    days = [(state, at(start), at(end)) for state, start, end in [
        ("unknown", "2024-01-01", "2024-01-02"),
        ("held", "2024-01-02", "2024-01-03"),
        ("unknown", "2024-01-03", "2024-01-10"),
        ("held", "2024-01-10", "2024-01-11"),
        ("unknown", "2024-01-11", "2024-02-01"),
    ]]  # fmt: skip
    assert answer == {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "kind": "ohlcv",
        "timeframe": "1m",
        "start_time": ms(at("2024-01-01")),
        "end_time": ms(at("2024-02-01")),
        "segments": [
            {"start_time": ms(start), "end_time": ms(end), "state": state, "bars": (end - start).days * 1440}
            | ({"code": "DATA-027"} if state == "unknown" else {})
            for state, start, end in days
        ],
        "bars_expected": 31 * 1440,
        "bars_held": 2 * 1440,
        "next_start_time": None,
    }


async def test_without_a_range_it_is_all_that_is_known(get, client):
    await client.history(at("2023-12-30"), at("2024-01-01"))
    await client.history(at("2024-02-01"), at("2024-02-02"))

    _, answer = await get("coverage", **BARS)

    assert (answer["start_time"], answer["end_time"]) == (ms(at("2023-12-30")), ms(at("2024-02-02")))
    assert [segment["state"] for segment in answer["segments"]] == ["held", "unknown", "held"]


async def test_one_end_may_be_left_open(get, client):
    await client.history(at("2024-01-01"), at("2024-01-03"))

    _, from_there = await get("coverage", **BARS, start_time=ms(at("2024-01-02")))
    _, until_there = await get("coverage", **BARS, end_time=ms(at("2024-01-02")))
    _, beyond = await get("coverage", **BARS, start_time=ms(at("2024-01-05")))

    assert (from_there["start_time"], from_there["end_time"]) == (ms(at("2024-01-02")), ms(at("2024-01-03")))
    assert (until_there["start_time"], until_there["end_time"]) == (ms(at("2024-01-01")), ms(at("2024-01-02")))
    assert (beyond["start_time"], beyond["segments"], beyond["bars_expected"]) == (None, [], 0)


async def test_of_a_series_nobody_asked_for_nothing_is_known(get):
    _, ranged = await get("coverage", **BARS, **JANUARY)
    _, whole = await get("coverage", **BARS)

    assert [segment["state"] for segment in ranged["segments"]] == ["unknown"]
    assert (ranged["bars_expected"], ranged["bars_held"]) == (31 * 1440, 0)
    assert (whole["segments"], whole["start_time"], whole["next_start_time"]) == ([], None, None)


async def test_what_lies_before_the_listing_is_not_expected(get, client, simulator):
    listed_at = simulator.listed_at("BTC/USDT")
    await client.history(at("2017-01-01"), at("2018-01-01"), timeframe="1h")

    _, answer = await get("coverage", **BARS | {"timeframe": "1h"}, start_time=ms(at("2017-01-01")))

    assert [segment["state"] for segment in answer["segments"]] == ["unlisted", "held"]
    assert answer["segments"][0]["end_time"] == ms(listed_at)
    assert answer["bars_expected"] == answer["bars_held"] == answer["segments"][1]["bars"]


async def test_an_end_after_the_newest_closed_bar_is_clipped(get, client):
    await client.history(at("2024-01-01"), at("2190-01-01"), timeframe="1M")

    _, answer = await get("coverage", **BARS | {"timeframe": "1M"}, end_time="2190-01-01T00:00:00Z")

    current = await client.ask({"type": "request_current_timestamp", **BARS, "timeframe": "1M"})
    assert answer["end_time"] == current["closed_until"]
    assert answer["bars_expected"] == answer["bars_held"]


async def test_a_failed_part_is_told_with_its_reason_and_time(get, client, simulator):
    simulator.inject(StatusFault(503), times=None)
    await client.history(at("2024-01-01"), at("2024-01-01T12:00"))

    _, answer = await get("coverage", **BARS)

    [failed] = answer["segments"]
    assert (failed["state"], failed["bars"]) == ("failed", 720)
    assert "503" in failed["reason"]
    assert failed["asked_at"] > ms(at("2024-01-02"))
    assert "ask_again_at" not in failed


async def test_no_question_calls_the_exchange(service, session, simulator, client):
    await client.history(at("2024-01-01"), at("2024-01-02"))
    calls = simulator.calls.total
    get = asking(service, session)

    for path, query in (
        ("exchanges", {}),
        ("series", {}),
        ("coverage", BARS),
        ("coverage", BARS | JANUARY),
        ("quality", BARS | {"details": "true"}),
    ):
        await get(path, **query)

    assert simulator.calls.total == calls


async def test_pages_of_coverage_continue_each_other_and_add_up_to_the_whole(get, client):
    for day in range(1, 28, 2):
        await client.history(at(f"2024-01-{day:02}"), at(f"2024-01-{day + 1:02}"))
    _, whole = await get("coverage", **BARS, **JANUARY)

    pages = await all_pages(get, **BARS, **JANUARY, limit=3)

    assert len(pages) > 5
    assert all(len(page["segments"]) <= 3 for page in pages)
    assert [segment for page in pages for segment in page["segments"]] == whole["segments"]
    assert sum(page["bars_held"] for page in pages) == whole["bars_held"] == 14 * 1440
    assert sum(page["bars_expected"] for page in pages) == whole["bars_expected"]


async def test_a_page_reads_a_bounded_number_of_partitions(get, client):
    """Also where the whole of a long history is one segment."""
    await client.history(at("2021-01-01"), at("2024-01-01"), timeframe="30m")

    pages = await all_pages(get, **BARS | {"timeframe": "30m"})

    assert [[segment["state"] for segment in page["segments"]] for page in pages] == [["held"]] * 3
    assert pages[0]["end_time"] == ms(at("2022-01-01"))
    assert (pages[0]["start_time"], pages[-1]["end_time"]) == (ms(at("2021-01-01")), ms(at("2024-01-01")))
    assert sum(page["bars_held"] for page in pages) == 3 * 365 * 48


async def all_pages(get: Get, **query: Any) -> list[dict[str, Any]]:
    pages = []
    start = query.pop("start_time", None)
    while True:
        _, page = await get("coverage", **query, **({} if start is None else {"start_time": start}))
        pages.append(page)
        if page["next_start_time"] is None:
            break
        start = page["next_start_time"]
    assert all(before["next_start_time"] == after["start_time"] for before, after in pairwise(pages))
    return pages


# --- Series ----------------------------------------------------------------------------------------------------------


async def test_series_are_told_with_their_reach_and_what_the_exchange_said_of_them(get, client, simulator):
    await client.history(at("2024-01-02"), at("2024-01-04"), timeframe="1h")
    await client.history(at("2017-01-01"), at("2018-01-01"), symbol="ETH/USDT", timeframe="1h")

    status, answer = await get("series")

    assert (status, answer["next"]) == (200, None)
    bitcoin, ether = answer["series"]
    assert bitcoin == {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "kind": "ohlcv",
        "timeframe": "1h",
        "first_timestamp": ms(at("2024-01-02")),
        "last_timestamp": ms(at("2024-01-03T23:00")),
        "listed_at": None,
        "listing_checked_at": None,
        "market_id": "BTCUSDT",
    }
    assert (ether["symbol"], ether["timeframe"]) == ("ETH/USDT", "1h")
    assert ether["listed_at"] == ether["first_timestamp"] == ms(simulator.listed_at("ETH/USDT"))
    assert ether["listing_checked_at"] is not None


async def test_series_are_filtered_by_exchange_and_symbol(get, client):
    for symbol, timeframe in (("BTC/USDT", "1h"), ("BTC/USDT", "1d"), ("ETH/USDT", "1h")):
        await client.history(at("2024-01-01"), at("2024-01-02"), symbol=symbol, timeframe=timeframe)

    async def found(**query: str) -> list[tuple[str, str]]:
        _, answer = await get("series", **query)
        return [(series["symbol"], series["timeframe"]) for series in answer["series"]]

    assert await found(exchange="binance") == [("BTC/USDT", "1d"), ("BTC/USDT", "1h"), ("ETH/USDT", "1h")]
    assert await found(exchange="binance", symbol="BTC/USDT") == [("BTC/USDT", "1d"), ("BTC/USDT", "1h")]
    assert await found(symbol="SOL/USDT") == []


async def test_pages_of_series_continue_each_other_and_the_last_full_one_is_the_last(get, client):
    for timeframe in ("1h", "2h", "4h", "1d"):
        await client.history(at("2024-01-01"), at("2024-01-02"), timeframe=timeframe)

    told, after = [], {}
    while True:
        _, page = await get("series", limit=2, **after)
        told.append([series["timeframe"] for series in page["series"]])
        if page["next"] is None:
            break
        after = {"after": page["next"]}

    assert told == [["1d", "1h"], ["2h", "4h"]]


async def test_the_documentation_names_parameters_answers_and_the_way_in(service, session):
    async with session.get(f"{service.http_url}/openapi.json") as response:
        described = await response.json()

    coverage = described["paths"]["/v1/coverage"]["get"]
    assert {"exchange", "symbol", "kind", "timeframe", "start_time", "end_time", "limit"} == {
        parameter["name"] for parameter in coverage["parameters"]
    }
    assert set(coverage["responses"]) == {"200", "4XX", "5XX"}
    assert coverage["security"] == [{"HTTPBearer": []}]
    quality = described["paths"]["/v1/quality"]["get"]
    assert {"exchange", "symbol", "timeframe", "start_time", "end_time", "details", "limit"} == {
        parameter["name"] for parameter in quality["parameters"]
    }


async def test_nothing_is_stored_before_the_first_question(tmp_path, simulator, session):
    async with running_service(tmp_path / "nowhere", simulator.base_url) as service:
        assert await asking(service, session)("series") == (200, {"series": [], "next": None})
