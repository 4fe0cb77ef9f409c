"""How many may come, and how much each may ask for."""

from __future__ import annotations

import json

import aiohttp
import pytest
import websockets
from service_harness import at, historical, running_service, token

from cb_trade_data.config import LimitSettings

DAY = at("2024-01-01"), at("2024-01-02")


async def refused_handshake(url: str, bearer: str) -> tuple[int, str | None, dict]:
    """Return status, `Retry-After` and body of a handshake that is refused."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url, additional_headers={"Authorization": f"Bearer {bearer}"})
    response = refused.value.response
    return response.status_code, response.headers.get("Retry-After"), json.loads(response.body)


async def test_connections_beyond_those_of_a_subject_are_refused_before_the_upgrade(simulator, tmp_path):
    quotas = LimitSettings(connections_per_subject=1)
    async with running_service(tmp_path, simulator.base_url, quotas=quotas) as service, service.client():
        status, retry_after, body = await refused_handshake(service.socket_url, token())
        async with service.client(token(subject="another")):
            pass

    assert (status, retry_after) == (429, "1")
    assert (body["code"], body["retryable"], body["retry_after_ms"]) == ("quota_exceeded", True, 1000)
    assert body["details"] == {"quota": "connections", "limit": 1}


async def test_connections_beyond_those_of_the_service_are_refused_whoever_comes(simulator, tmp_path):
    quotas = LimitSettings(connections_max=1)
    async with running_service(tmp_path, simulator.base_url, quotas=quotas) as service:
        async with service.client():
            status, retry_after, body = await refused_handshake(service.socket_url, token(subject="another"))
            unknown, _, _ = await refused_handshake(service.socket_url, "a.b.c")
        async with service.client(token(subject="another")):
            pass

    assert (status, retry_after, body["code"]) == (503, "5", "overloaded")
    assert unknown == 401  # who has no good token learns nothing else


async def test_a_browser_beyond_the_limits_is_told_by_1013(simulator, tmp_path):
    quotas = LimitSettings(connections_per_subject=1)
    offered = ["cb-trade.v1", f"cb-trade.bearer.{token()}"]
    async with (
        running_service(tmp_path, simulator.base_url, quotas=quotas) as service,
        service.client(),
        websockets.connect(service.socket_url, subprotocols=offered) as connection,
    ):
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await connection.recv()

    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "quota_exceeded")


async def test_open_requests_beyond_those_of_a_subject_are_refused_and_the_connections_stay(simulator, tmp_path):
    quotas = LimitSettings(requests_per_subject=2)
    async with (
        running_service(tmp_path, simulator.base_url, quotas=quotas) as service,
        service.client() as one,
        service.client() as other,
    ):
        simulator.hold("klines")
        for client in (one, other):
            await client.send(historical(*DAY))
            assert (await client.receive())["type"] == "historical_data_start"
        refused = await one.ask(historical(*DAY, request_id="third"))
        simulator.release("klines")
        rest = await one.rest()
        await other.rest()
        again = await one.history(*DAY)

    assert (refused["request_id"], refused["code"]) == ("third", "quota_exceeded")
    assert refused["retry_after_ms"] > 0
    assert rest.last["type"] == again.last["type"] == "historical_data_complete"


async def test_requests_a_second_beyond_those_of_a_subject_are_refused_over_http_too(simulator, tmp_path):
    quotas = LimitSettings(requests_per_sec_per_subject=0.01)
    async with (
        running_service(tmp_path, simulator.base_url, quotas=quotas) as service,
        service.client() as client,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
    ):
        reply = await client.history(*DAY)
        refused = await client.ask(historical(*DAY))
        async with session.get(f"{service.http_url}/v1/exchanges") as response:
            status, retry_after, body = response.status, response.headers["Retry-After"], await response.json()

    assert reply.last["rows"] == 1440
    assert refused["code"] == body["code"] == "quota_exceeded"
    assert 90_000 < refused["retry_after_ms"] <= 100_000
    assert status == 429
    assert 90 < int(retry_after) <= 100


@pytest.mark.parametrize(
    "message",
    [
        '{"type":',
        "[]",
        b"binary",
        {"type": "no such"},
        {"type": "plan_historical", "request_id": "plan"},
        {"type": "cancel_request", "request_id": "none"},
        {"type": "authenticate", "request_id": "renewal", "token": "nonsense"},
        {"type": "authenticate", "request_id": "renewal", "token": token()},
    ],
    ids=["cut off", "no object", "binary", "no type", "lacks fields", "ends nothing", "bad token", "good token"],
)
async def test_every_message_counts_towards_those_of_a_second_whatever_it_says(simulator, tmp_path, message):
    quotas = LimitSettings(requests_per_sec_per_subject=0.01)
    async with running_service(tmp_path, simulator.base_url, quotas=quotas) as service:
        async with service.client() as client:
            await client.ask(message)
            refused = await client.ask(historical(*DAY, request_id="next"))
        async with service.client() as client:
            too_many = await client.ask(message)
            client.refusals_due.clear()  # what else is wrong with it is not told then

    for answer in (refused, too_many):
        assert (answer["type"], answer["code"]) == ("error_response", "quota_exceeded")
        assert answer["details"] == {"quota": "requests a second", "limit": 0.01}
        assert 90_000 < answer["retry_after_ms"] <= 100_000
    assert refused["request_id"] == "next"
    assert too_many["request_id"] == (message.get("request_id") if isinstance(message, dict) else None)


async def test_what_is_open_can_be_ended_however_much_was_asked(simulator, tmp_path):
    """A client that has asked too much is helped least by being kept from asking less."""
    quotas = LimitSettings(requests_per_sec_per_subject=0.01)
    cancel = {"type": "cancel_request", "request_id": "r1"}
    async with running_service(tmp_path, simulator.base_url, quotas=quotas) as service, service.client() as client:
        simulator.hold("klines")
        await client.ask(historical(*DAY, request_id="r1"))
        senseless = await client.ask(cancel | {"why": "no"})
        client.refusals_due.clear()
        cancelled = await client.ask(cancel)
        again = await client.ask(cancel)
        simulator.release("klines")

    assert senseless["code"] == "quota_exceeded"
    assert senseless["request_id"] is None  # its last word is still to come
    assert (cancelled["type"], cancelled["was_running"]) == ("request_cancelled", True)
    assert (again["code"], again["request_id"]) == ("quota_exceeded", "r1")
