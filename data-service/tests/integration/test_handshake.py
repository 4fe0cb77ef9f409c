"""Who is asking is settled before anything else, and a token never shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import websockets
from bad_tokens import BAD_TOKENS
from service_harness import at, historical, token

from cb_trade_data.server import configure_log


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


async def test_no_token_reaches_the_log_however_it_came_and_however_much_is_logged(service, capsys):
    configure_log("debug")
    good = [token(subject=f"subject {number}") for number in range(4)]
    bad = "nonsense.that.is-secret"

    async with websockets.connect(f"{service.socket_url}?token={good[0]}"):
        pass
    async with websockets.connect(f"{service.socket_url}?tok%65n={good[1]}"):
        pass
    async with websockets.connect(service.socket_url, additional_headers={"Authorization": f"Bearer {good[2]}"}):
        pass
    async with websockets.connect(service.socket_url, subprotocols=["cb-trade.v1", f"cb-trade.bearer.{good[3]}"]):
        pass
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(f"{service.socket_url}?token={bad}")

    logged = capsys.readouterr().err
    assert logged.count("connection.opened") == 4
    assert not [secret for secret in (*good, bad) if secret in logged]


async def test_a_refused_handshake_logs_no_error(service, capsys):
    configure_log("info")

    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(service.socket_url)

    assert "error" not in capsys.readouterr().err
