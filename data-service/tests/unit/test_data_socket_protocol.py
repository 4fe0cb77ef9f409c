from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from raw_websocket import PING, PONG, TEXT, frame, handshake
from service_harness import eventually
from uvicorn.server import ServerState

from cb_trade_data.api.data_socket_protocol import DataSocketProtocol


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def write(self, data: Any) -> None:
        if data:
            self.written.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def connected() -> tuple[DataSocketProtocol, FakeTransport]:
    """Return both ends of a connection whose handshake has arrived and is not answered before the loop goes on."""
    config = uvicorn.Config(accepting, ws=DataSocketProtocol, ws_ping_interval=None, log_config=None)
    config.load()
    protocol, transport = DataSocketProtocol(config, ServerState(), {}), FakeTransport()
    protocol.connection_made(transport)
    protocol.data_received(handshake())
    return protocol, transport


@pytest.fixture
async def opened() -> AsyncIterator[tuple[DataSocketProtocol, FakeTransport]]:
    protocol, transport = connected()
    await asyncio.sleep(0)
    assert transport.written.pop().startswith(b"HTTP/1.1 101 ")
    yield protocol, transport
    protocol.connection_lost(None)
    await asyncio.gather(*protocol.tasks)


def pong(payload: bytes) -> bytes:
    """Return a server's, which is not masked."""
    return frame(payload, PONG, mask=None)


async def test_a_ping_is_answered_at_once_while_the_client_reads(opened):
    protocol, transport = opened

    protocol.data_received(frame(b"one", PING))

    assert transport.written == [pong(b"one")]


async def test_of_pings_that_came_while_the_client_did_not_read_the_latest_is_answered_when_it_does(opened):
    protocol, transport = opened
    protocol.pause_writing()
    for payload in (b"one", b"two", b"three"):
        protocol.data_received(frame(payload, PING))
    assert transport.written == []

    protocol.resume_writing()
    protocol.pause_writing()
    protocol.resume_writing()

    assert transport.written == [pong(b"three")]


@pytest.mark.parametrize("data", [frame(b"", 3), frame(b"{}", TEXT, mask=None)], ids=["opcode", "not masked"])
async def test_a_broken_frame_that_comes_before_the_handshake_is_answered_ends_the_connection(data):
    protocol, transport = connected()

    protocol.data_received(data)

    assert transport.is_closed
    protocol.connection_lost(None)
    await asyncio.gather(*protocol.tasks)


async def test_a_client_that_never_reads_is_cut_off_for_no_close_would_reach_it(opened):
    protocol, transport = opened
    protocol.listen_timeout_secs = 0

    protocol.pause_writing()
    await eventually(lambda: transport.is_aborted)


async def test_a_client_that_reads_on_stays(opened):
    protocol, transport = opened
    protocol.listen_timeout_secs = 0

    protocol.pause_writing()
    protocol.resume_writing()
    turns = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0, turns.set_result, None)  # after whatever was due before
    await turns

    assert not transport.is_aborted
