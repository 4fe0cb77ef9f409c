"""Names that would lead out of a folder and times that no calendar has: each gets its code, and nothing is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hostile_frames import CLIMBING
from service_harness import at, historical, token
from yarl import URL

RANGE = at("2024-01-01"), at("2024-01-01T00:10")
BARS = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m"}
ALIASES = {"exchange_name": "exchange", "coin_symbol": "symbol"}
CLIMBING_TEXTS = tuple(json.loads(f'"{path}"') for path in CLIMBING)
# What each field answers to a text that it has never heard of.
REFUSALS = {
    "type": {"unknown_type"},
    "exchange": {"unknown_exchange", "invalid_value"},
    "exchange_name": {"unknown_exchange", "invalid_value"},
    "symbol": {"unknown_symbol", "invalid_value"},
    "coin_symbol": {"unknown_symbol", "invalid_value"},
    "kind": {"invalid_value"},
    "timeframe": {"unknown_timeframe", "invalid_value"},
    "start_time": {"invalid_value"},
    "end_time": {"invalid_value"},
    "format": {"invalid_value"},
}
LONG_SYMBOLS = {
    "x" * 60_000: "invalid_value",
    "x" * 64 * 1024: "message_too_large",
    "../" * 333_333: "message_too_large",
}
# None: it is a time, and the answer has rows.
ENDS: dict[Any, str | None] = {
    "0001-01-01T00:00:00Z": "invalid_value",
    "0001-01-01T00:00:00+14:00": "invalid_value",
    "1969-12-31T23:59:59.999Z": "invalid_value",
    "9999-12-31T23:59:59.999Z": None,
    "10000-01-01T00:00:00Z": "invalid_value",
    0: "empty_range",
    -1: "invalid_value",
    -(2**63): "invalid_value",
    2**63 - 1: "invalid_value",
    2**63: "invalid_value",
    2**64: "invalid_value",
    253_402_300_799_999: None,  # the last millisecond of the year 9999
    253_402_300_800_000: "invalid_value",
}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session:
        yield session


def asked(**fields: Any) -> dict[str, Any]:
    """Return a request with *fields* in place of its own."""
    message = historical(*RANGE)
    for alias in ALIASES.keys() & fields.keys():
        del message[ALIASES[alias]]
    return message | fields


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return everything in *folder*, how large it is and when it was written."""
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


async def test_no_text_in_any_field_leads_out_of_the_storage_folder(client, tmp_path):
    await client.history(*RANGE)
    shutil.copytree(tmp_path / "data", tmp_path / "outside")  # rows that would be found, if a name led here
    before = tree(tmp_path)

    for text in CLIMBING_TEXTS:
        for field, codes in REFUSALS.items():
            for kind in ("request_historical", "plan_historical"):
                answer = await client.ask(asked(**{"type": kind, field: text}))
                # A plan calls nothing, and does not know which symbols there are: of this one, nothing is stored.
                if answer["type"] == "plan_response" and field in {"symbol", "coin_symbol"}:
                    assert answer["rows_in_storage"] == 0, text
                else:
                    assert answer["code"] in codes, (field, text, answer)
        assert (await client.history(*RANGE, request_id=text)).last["rows"] == 10

    assert tree(tmp_path) == before


async def test_no_text_in_a_query_leads_out_of_the_storage_folder(service, client, http, tmp_path):
    await client.history(*RANGE)
    shutil.copytree(tmp_path / "data", tmp_path / "outside")
    before = tree(tmp_path)

    for text in CLIMBING_TEXTS:
        for field in ("exchange", "symbol", "kind", "timeframe", "start_time", "end_time", "limit"):
            async with http.get(f"{service.http_url}/v1/coverage", params=BARS | {field: text}) as response:
                answer = await response.json()
                # A symbol that nothing is stored of is no error: what is known of it is nothing.
                is_nothing = field == "symbol" and answer.get("segments") == []
                assert (response.status, is_nothing) in {(200, True), (400, False)}, (field, text, answer)
        for field in ("exchange", "symbol", "after"):
            async with http.get(f"{service.http_url}/v1/series", params={field: text}) as response:
                assert response.status in {200, 400}
                assert field == "after" or not (await response.json()).get("series"), text

    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../../etc/passwd",
        "/v1/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/v1/..%2f..%2fetc%2fpasswd",
        "/v1/\\..\\x",
    ],
)
async def test_no_path_of_an_address_leads_anywhere(service, http, path):
    async with http.get(URL(service.http_url + path, encoded=True)) as response:
        assert (response.status, (await response.json())["code"]) == (404, "unknown_path")


async def test_a_symbol_of_any_length_is_refused(client):
    for symbol, code in LONG_SYMBOLS.items():
        assert (await client.ask(asked(symbol=symbol)))["code"] == code


async def test_each_time_beyond_the_calendar_is_refused_as_a_value_and_the_last_year_is_none(client):
    for time, code in ENDS.items():
        answer = await client.ask(asked(type="plan_historical", end_time=time))
        assert answer.get("code") == code, (time, answer)
        if code == "invalid_value":
            assert (await client.ask(asked(start_time=time)))["code"] == code, time


async def test_a_start_at_the_end_of_the_calendar_lies_in_the_future(client):
    start, end = "9999-12-31T23:59:59.998Z", "9999-12-31T23:59:59.999Z"

    assert (await client.ask(asked(start_time=start, end_time=end)))["code"] == "range_in_future"
    assert (await client.ask(asked(start_time=end, end_time=end)))["code"] == "empty_range"


async def test_each_time_beyond_the_calendar_is_refused_in_a_query_too(service, client, http):
    await client.history(*RANGE)
    for time, code in ENDS.items():
        for field in ("start_time", "end_time"):
            async with http.get(f"{service.http_url}/v1/coverage", params=BARS | {field: str(time)}) as response:
                answer = await response.json()
                assert response.status in {200, 400}, (time, answer)
                assert code is None or code == "empty_range" or answer["code"] == code, (field, time, answer)
