"""`/metrics` and the log: what a service tells of its work, and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import websockets
from fastapi import Request, Response
from prometheus_client.parser import text_string_to_metric_families
from service_harness import RunningService, at, eventually, historical, running_service, token
from structlog.testing import capture_logs

from cb_trade_data.api.connection import ConnectionLimits
from cb_trade_data.api.http_stories import HttpStories
from cb_trade_data.api.tally import Tally
from cb_trade_data.config import LimitSettings
from cb_trade_data.historical import quality_watch
from cb_trade_simulator.faults import StatusFault

DAY = at("2024-01-01"), at("2024-01-02")
BARS = "exchange=binance&symbol=BTC/USDT&timeframe=1m"
GOOD = "a good token"

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def scraped(service: RunningService, session: aiohttp.ClientSession) -> Figures:
    async with session.get(f"{service.http_url}/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def asked(
    service: RunningService,
    session: aiohttp.ClientSession,
    path: str,
    bearer: str | None = GOOD,
    method: str = "GET",
) -> int:
    """Ask over HTTP, with a good token unless another is given, or None; return the status."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {token() if bearer is GOOD else bearer}"}
    async with session.request(method, f"{service.http_url}{path}", headers=headers) as response:
        return response.status


def of(figures: Figures, name: str, **labels: str) -> float:
    return figures[f"cb_trade_{name}", frozenset(labels.items())]


# --- Who may read them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Host": "cb-trade.example.com"}]
)
@pytest.mark.parametrize(
    ("scopes", "status", "code"),
    [(None, 401, "token_missing"), (["data:read"], 403, "forbidden"), (["admin:read"], 200, None)],
)
async def test_behind_a_proxy_they_are_for_operators(service, session, headers, scopes, status, code):
    if scopes is not None:
        headers = headers | {"Authorization": f"Bearer {token(scopes=scopes)}"}

    async with session.get(f"{service.http_url}/metrics", headers=headers) as response:
        answer = await response.json() if status != 200 else {}

    assert (response.status, answer.get("code")) == (status, code)


# --- What they say ----------------------------------------------------------------------------------------------------


async def test_an_answer_is_counted_with_its_rows_bytes_calls_and_times(client, service, session):
    cold = await client.history(*DAY)
    warm = await client.history(*DAY, format="arrow")

    figures = await scraped(service, session)

    assert of(figures, "requests_total", type="request_historical", outcome="ok") == 2
    assert of(figures, "rows_total", source="exchange") == cold.last["rows"] == 1440
    assert of(figures, "rows_total", source="storage") == warm.last["rows"] == 1440
    assert of(figures, "sent_bytes_total", format="arrow") > sum(chunk["bytes"] for chunk in warm.chunks)
    assert of(figures, "sent_bytes_total", format="json") > 0
    # The markets, the clock and the listing beside the pages.
    assert of(figures, "exchange_calls_total", exchange="binance") > cold.last["exchange_calls"]
    for source in ("storage", "exchange"):
        assert of(figures, "request_seconds_count", type="request_historical", source=source) == 1
        first_chunk = of(figures, "first_chunk_seconds_sum", source=source)
        assert 0 < first_chunk <= of(figures, "request_seconds_sum", type="request_historical", source=source)
    assert of(figures, "cache_bytes") > 0
    assert of(figures, "cache_lookups_total", outcome="miss") > 0


async def test_what_is_open_is_told_while_it_is(simulator, service, session):
    simulator.hold("klines")
    async with service.client() as client:
        await client.send(historical(*DAY, request_id="r1"))
        await client.receive()
        during = await scraped(service, session)
        await client.ask({"type": "cancel_request", "request_id": "r1"})
        after = await scraped(service, session)
        with capture_logs() as logs:
            await client.connection.close()
            await eventually(lambda: any(entry["event"] == "connection.closed" for entry in logs))
    left = await scraped(service, session)
    simulator.release("klines")

    assert (of(during, "connections"), of(during, "open_requests")) == (1, 1)
    assert (of(after, "connections"), of(after, "open_requests")) == (1, 0)
    assert of(after, "requests_total", type="request_historical", outcome="cancelled") == 1
    assert (of(left, "connections"), of(left, "connections_opened_total")) == (0, 1)


async def test_an_exchange_that_is_down_shows_as_errors_gaps_and_an_open_breaker(client, service, simulator, session):
    simulator.inject(StatusFault(503), times=None)
    reply = await client.history(*DAY)

    figures = await scraped(service, session)

    assert {gap["state"] for gap in reply.last["gaps"]} == {"failed"}
    assert of(figures, "gap_seconds_total", state="failed") == 86_400
    assert of(figures, "exchange_errors_total", exchange="binance", kind="unavailable") >= 5
    assert of(figures, "exchange_breaker", exchange="binance", state="closed") == 0
    assert of(figures, "exchange_breaker", exchange="okx", state="closed") == 1
    # Degraded is not dead.
    assert (of(figures, "ready"), of(figures, "component_ok", component="storage")) == (1, 1)


async def test_refusals_are_counted_by_their_codes(client, service, session):
    await client.ask('{"type":')
    await client.ask(historical(*DAY, symbol="FOO/BAR"))
    for bearer in ("nonsense", token(scopes=[])):
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(service.socket_url, additional_headers={"Authorization": f"Bearer {bearer}"})

    figures = await scraped(service, session)

    assert of(figures, "messages_refused_total", code="bad_json") == 1
    assert of(figures, "requests_total", type="request_historical", outcome="unknown_symbol") == 1
    assert of(figures, "handshakes_refused_total", code="token_invalid") == 1
    assert of(figures, "handshakes_refused_total", code="forbidden") == 1


async def test_questions_over_http_are_counted_by_their_route_and_timed_where_they_were_answered(
    client, service, session
):
    await client.history(*DAY)
    for _ in range(2):
        assert await asked(service, session, f"/v1/coverage?{BARS}") == 200
    assert await asked(service, session, f"/v1/coverage?{BARS}&limit=0") == 400

    figures = await scraped(service, session)

    assert of(figures, "requests_total", type="/v1/coverage", outcome="ok") == 2
    assert of(figures, "requests_total", type="/v1/coverage", outcome="invalid_value") == 1
    assert of(figures, "request_seconds_count", type="/v1/coverage", source="storage") == 2
    assert of(figures, "request_seconds_sum", type="/v1/coverage", source="storage") > 0
    assert of(figures, "open_requests") == 0


async def test_refusals_over_http_are_counted_by_their_codes(simulator, session, tmp_path):
    quotas = LimitSettings(requests_per_sec_per_subject=0.01)
    async with running_service(tmp_path, simulator.base_url, quotas=quotas) as service:
        for bearer, status in ((None, 401), ("nonsense", 401), (token(scopes=[]), 403), (token(), 200), (token(), 429)):
            assert await asked(service, session, "/v1/exchanges", bearer) == status
        assert await asked(service, session, "/v1/series", method="POST") == 405
        for path in ("/v1", "/v1/candles", "/v1/series/"):
            assert await asked(service, session, path) == 404
        for path in ("/", "/v10"):
            assert await asked(service, session, path) == 404
        figures = await scraped(service, session)

    counts = {
        (labels["type"], labels["outcome"]): value
        for (name, pairs), value in figures.items()
        if name == "cb_trade_requests_total" and (labels := dict(pairs))
    }
    assert counts == {
        ("/v1/exchanges", "token_missing"): 1,
        ("/v1/exchanges", "token_invalid"): 1,
        ("/v1/exchanges", "forbidden"): 1,
        ("/v1/exchanges", "ok"): 1,
        ("/v1/exchanges", "quota_exceeded"): 1,
        ("/v1", "method_not_allowed"): 1,
        ("/v1", "unknown_path"): 3,
    }


async def test_storage_that_cannot_be_used_shows_as_not_ready(service, session, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")

    figures = await scraped(service, session)

    assert (of(figures, "ready"), of(figures, "component_ok", component="storage")) == (0, 0)
    assert of(figures, "storage_errors_total", operation="check") == 1


async def test_no_figure_tells_of_whom_or_of_what(service, session):
    """Labels of such would be without bound, and who reads figures need not know who asks for what.

    But for the quality of the bars that are watched, which there is after some minutes.
    """
    async with service.client(token(subject="somebody in particular")) as client:
        await client.history(*DAY, request_id="a request")
    async with session.get(f"{service.http_url}/metrics") as response:
        text = await response.text()

    assert not any(word in text for word in ("somebody", "BTC", "a request"))


async def test_the_quality_of_bars_that_were_asked_for_is_told_by_series(simulator, session, tmp_path, monkeypatch):
    """As far as they were asked for: nobody misses the newest day."""
    monkeypatch.setattr(quality_watch, "_EVERY_SECS", 0.01)
    series = {"exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1h"}

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:

        async def quality_once(gap_bars: int, held_share: float) -> dict[str, float]:
            while True:
                figures = {
                    dict(labels).get("score", name): value
                    for (name, labels), value in (await scraped(service, session)).items()
                    if name.startswith("cb_trade_quality") and series.items() <= dict(labels).items()
                }
                told = figures.get("cb_trade_quality_gap_bars"), figures.get("completeness")
                if told == (gap_bars, held_share):
                    return figures

        current = await client.ask({"type": "request_current_timestamp", **series})
        end = at("1970-01-01") + timedelta(milliseconds=current["closed_until"])
        await client.history(end - timedelta(days=3), end - timedelta(days=2), timeframe="1h")

        figures = await quality_once(0, 1.0)
        assert set(figures) == {
            "completeness",
            "consistency",
            "freshness",
            "overall",
            "cb_trade_quality_gap_bars",
            "cb_trade_quality_bars_behind",
        }
        assert (figures["freshness"], figures["cb_trade_quality_bars_behind"]) == (1, 0)

        simulator.inject(StatusFault(503), times=None)
        await client.history(end - timedelta(days=2), end - timedelta(days=1), timeframe="1h")

        figures = await quality_once(24, 0.5)
        assert (figures["freshness"], figures["overall"], figures["cb_trade_quality_bars_behind"]) == (0, 0, 24)


async def test_two_services_in_one_process_count_apart(client, service, session, simulator, tmp_path):
    async with running_service(tmp_path / "other", simulator.base_url) as other:
        await client.history(*DAY)
        figures = await scraped(service, session)
        others = await scraped(other, session)

    assert of(figures, "connections_opened_total") == 1
    assert of(others, "connections_opened_total") == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells them")
async def test_the_figures_of_the_process_are_told(service, session):
    figures = await scraped(service, session)

    assert figures["process_resident_memory_bytes", frozenset()] > 0


# --- The log ----------------------------------------------------------------------------------------------------------


async def test_a_request_is_one_line_that_tells_its_story(service):
    with capture_logs() as logs:
        async with service.client(token(subject="somebody")) as client:
            reply = await client.history(*DAY, request_id="r1", format="arrow")

    [line] = [entry for entry in logs if entry["event"] == "request"]
    [opened] = [entry for entry in logs if entry["event"] == "connection.opened"]
    assert 0 < line.pop("first_chunk_seconds") <= line.pop("seconds")
    assert line.pop("bytes") > sum(chunk["bytes"] for chunk in reply.chunks)
    assert line.pop("connection_id") == opened["connection_id"]
    assert line == {
        "event": "request",
        "log_level": "info",
        "subject": "somebody",
        "request_id": "r1",
        "type": "request_historical",
        "outcome": "ok",
        "series": "binance BTC/USDT ohlcv 1m",
        "start": DAY[0],
        "end": DAY[1],
        "rows": 1440,
        "rows_from_storage": 0,
        "rows_from_exchange": 1440,
        "exchange_calls": 2,
        "gaps": 0,
        "format": "arrow",
    }


async def test_a_request_that_fails_tells_what_was_asked_for_and_why_not(client):
    with capture_logs() as logs:
        await client.ask(historical(*DAY, symbol="FOO/BAR"))

    [line] = [entry for entry in logs if entry["event"] == "request"]
    assert (line["outcome"], line["series"]) == ("unknown_symbol", "binance FOO/BAR ohlcv 1m")
    assert (line["start"], line["end"]) == DAY
    assert "FOO/BAR" in line["error"]


async def test_requests_that_are_cut_short_have_their_line_too(service, simulator):
    simulator.hold("klines")
    with capture_logs() as logs:
        async with service.client() as client:
            for request_id in ("one", "two"):
                await client.send(historical(*DAY, request_id=request_id))
                await client.receive()
            await client.ask({"type": "cancel_request", "request_id": "one"})
        await eventually(lambda: any(entry["event"] == "connection.closed" for entry in logs))
    simulator.release("klines")

    outcomes = {entry["request_id"]: entry["outcome"] for entry in logs if entry["event"] == "request"}
    assert outcomes == {"one": "cancelled", "two": "disconnected"}


async def test_requests_that_never_began_have_their_line_as_well(simulator, tmp_path):
    simulator.hold("klines")
    limits = ConnectionLimits(running_requests=1)
    async with running_service(tmp_path, simulator.base_url, limits) as service:
        with capture_logs() as logs:
            async with service.client() as client:
                await client.send(historical(*DAY, request_id="one"))
                await client.receive()
                await client.send(historical(*DAY, request_id="two"))
                await client.ask({"type": "cancel_request", "request_id": "two"})
            await eventually(lambda: any(entry["event"] == "connection.closed" for entry in logs))
        simulator.release("klines")

    assert [entry["request_id"] for entry in logs if entry["event"] == "request"] == ["two", "one"]


async def test_a_connection_tells_how_it_began_and_why_it_ended(service):
    with capture_logs() as logs:
        async with service.client() as client:
            await client.connection.close(4321)
        await eventually(lambda: any(entry["event"] == "connection.closed" for entry in logs))

    opened, closed = [entry for entry in logs if entry["event"].startswith("connection.")]
    assert (opened["event"], opened["subject"]) == ("connection.opened", "test")
    assert (closed["code"], closed["reason"], closed["seconds"] > 0) == (4321, "the client left", True)
    assert closed["connection_id"] == opened["connection_id"]


async def test_a_connection_that_its_token_ends_says_so(service):
    with capture_logs() as logs:
        async with service.client(token(lifetime=timedelta(seconds=1))) as client:
            await client.close_code()
        await eventually(lambda: any(entry["event"] == "connection.closed" for entry in logs))

    [closed] = [entry for entry in logs if entry["event"] == "connection.closed"]
    assert (closed["code"], closed["reason"]) == (4401, "token_expired")


async def test_a_connection_that_is_refused_leaves_a_line_with_the_reason_and_no_token(service):
    bearer = token(scopes=[])
    with capture_logs() as logs, pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"{service.socket_url}?token={bearer}")

    [refused] = [entry for entry in logs if entry["event"] == "connection.refused"]
    assert refused["code"] == "forbidden"
    assert bearer not in str(logs)


async def test_a_question_over_http_is_one_line_that_tells_its_story(service, session):
    with capture_logs() as logs:
        assert await asked(service, session, f"/v1/coverage?{BARS}", token(subject="somebody")) == 200

    [line] = [entry for entry in logs if entry["event"] == "request"]
    assert line.pop("seconds") > 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "type": "/v1/coverage",
        "outcome": "ok",
        "subject": "somebody",
        "client": "127.0.0.1",
    }


async def test_a_question_over_http_that_is_refused_tells_by_whom_it_was_asked_as_far_as_that_is_known(
    service, session, monkeypatch
):
    limited = token(subject="somebody", exchanges=["kraken"])
    with capture_logs() as logs:
        await asked(service, session, "/v1/exchanges", None)
        await asked(service, session, f"/v1/coverage?{BARS}", limited)
        monkeypatch.setattr("cb_trade_data.api.v1.ExchangesAnswer", None)
        await asked(service, session, "/v1/exchanges", limited)

    lines = [entry for entry in logs if entry["event"] == "request"]
    assert [(line["type"], line["outcome"], line["subject"]) for line in lines] == [
        ("/v1/exchanges", "token_missing", None),
        ("/v1/coverage", "forbidden", "somebody"),
        ("/v1/exchanges", "internal_error", "somebody"),
    ]
    assert all(line["client"] == "127.0.0.1" and line["seconds"] > 0 for line in lines)
    assert "binance" in lines[1]["error"]


@pytest.mark.parametrize(
    ("address", "outcome"),
    [
        ("/v1/exchanges?token={}", "unknown_field"),
        ("/v1/exchanges?{}=1", "unknown_field"),
        ("/v1/exchanges?{}=1&{}=2", "invalid_value"),
        ("/v1/series?exchange={}", "invalid_value"),
        ("/v1/series/{}", "unknown_path"),
        ("/v1/{}?token={}", "unknown_path"),
    ],
)
async def test_a_token_that_was_written_into_the_address_is_not_in_the_log(service, session, address, outcome):
    bearer = token()
    with capture_logs() as logs:
        await asked(service, session, address.format(bearer, bearer), bearer)

    [line] = [entry for entry in logs if entry["event"] == "request"]
    assert line["outcome"] == outcome
    assert not any(part in str(logs) for part in bearer.split("."))


async def test_a_question_over_http_that_the_end_of_the_service_cuts_short_has_its_line_too():
    tally = Tally()
    asking = asyncio.create_task(
        HttpStories(tally).tell("/v1/series", never_answered, Request({"type": "http", "client": None}))
    )
    with capture_logs() as logs:
        await eventually(lambda: tally.open_requests == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert [(entry["event"], entry["type"], entry["outcome"]) for entry in logs] == [
        ("request", "/v1/series", "disconnected")
    ]
    assert (tally.open_requests, tally.requests) == (0, {("/v1/series", "disconnected"): 1})


async def never_answered(_: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError("it waits for ever")
