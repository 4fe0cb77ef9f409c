"""Who is asking is settled before anything else, and a token never shows."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import websockets
from service_harness import SECRET, at, historical, token

from cb_trade_data.api.access_log import DropDenials, RedactTokens

BAD_TOKENS = [
    pytest.param(None, 401, id="no token"),
    pytest.param("nonsense", 401, id="no JWT"),
    pytest.param(token(secret="another secret that is long enough, too"), 401, id="another key"),
    pytest.param(token(now=datetime.now(UTC) - timedelta(hours=2)), 401, id="expired"),
    pytest.param(
        jwt.encode({"sub": "x", "exp": 4e9, "scope": "data:read"}, None, algorithm="none"), 401, id="alg none"
    ),
    pytest.param(jwt.encode({"exp": 4e9, "scope": "data:read"}, SECRET), 401, id="no subject"),
    pytest.param(jwt.encode({"sub": "x", "scope": "data:read"}, SECRET), 401, id="no expiry"),
    pytest.param(token(scopes=[]), 403, id="no scope"),
    pytest.param(token(scopes=["data:readers"]), 403, id="a scope that only looks alike"),
]


@pytest.mark.parametrize(("bearer", "status"), BAD_TOKENS)
@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_bad_token_is_refused_before_the_upgrade(service, bearer, status, place):
    headers, url = {}, service.socket_url
    if bearer is not None and place == "header":
        headers["Authorization"] = f"Bearer {bearer}"
    elif bearer is not None:
        url += f"?token={bearer}"

    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url, additional_headers=headers)

    assert refused.value.response.status_code == status
    if bearer is not None:
        assert bearer.encode() not in refused.value.response.body


async def test_a_token_in_the_query_opens_the_connection(service):
    async with websockets.connect(f"{service.socket_url}?token={token()}") as connection:
        await connection.ping()


async def test_a_browsers_token_opens_the_connection_and_only_the_protocol_is_selected(service):
    offered = ["cb-trade.v1", f"cb-trade.bearer.{token()}"]

    async with websockets.connect(service.socket_url, subprotocols=offered) as connection:
        assert connection.subprotocol == "cb-trade.v1"


@pytest.mark.parametrize(
    ("bearer", "code", "reason"),
    [
        (token(now=datetime.now(UTC) - timedelta(hours=2)), 4401, "token_expired"),
        ("a.b.c", 4401, "token_invalid"),
        (token(scopes=[]), 4403, "forbidden"),
    ],
)
async def test_a_browser_is_told_by_a_close_code_since_it_cannot_see_a_status(service, bearer, code, reason):
    offered = ["cb-trade.v1", f"cb-trade.bearer.{bearer}"]

    async with websockets.connect(service.socket_url, subprotocols=offered) as connection:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await connection.recv()

    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)


async def test_a_token_that_expires_closes_the_connection_and_its_requests(service, simulator):
    simulator.hold("klines")
    async with service.client(token(lifetime=timedelta(seconds=3))) as client:
        await client.send(historical(at("2024-01-01"), at("2024-01-02")))

        assert await client.close_code() == 4401


async def test_no_token_reaches_the_log(service, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.handler.addFilter(RedactTokens())  # as the service's own handler has it
    good, bad = token(), "nonsense.that.is-secret"

    async with websockets.connect(f"{service.socket_url}?token={good}"):
        pass
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"{service.socket_url}?token={bad}")

    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")]
    assert any("/ws/data" in line for line in ours)
    assert not [line for line in ours if good in line or bad in line]


async def test_a_refused_handshake_logs_no_error(service, caplog):
    caplog.handler.addFilter(DropDenials())  # as the service's own handler has it

    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(service.socket_url)

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
