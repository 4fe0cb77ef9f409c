"""Who connects and never asks, asks without end, or leaves again at once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from service_harness import RunningService, at, eventually, historical, running_service

from cb_trade_data.api.http_protocol import HttpProtocol

HANDSHAKE = (
    "GET /ws/data HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
MIB = 1024 * 1024


@pytest.fixture
def hurry(monkeypatch) -> None:
    """Give clients a tenth of a second for a head."""
    monkeypatch.setattr(HttpProtocol, "head_timeout_secs", 0.1)


@asynccontextmanager
async def line(service: RunningService) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a plain connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def has_ended(reader: asyncio.StreamReader) -> bool:
    """Return once the service has ended the connection."""
    try:
        while await reader.read(65536):
            pass
    except ConnectionResetError:
        pass
    return True


async def drip(writer: asyncio.StreamWriter, head: bytes) -> None:
    for byte in head:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("head", [b"", LIVE * 1000, HANDSHAKE.encode() * 1000], ids=["nothing", "http", "handshake"])
async def test_a_head_that_never_ends_ends_the_connection(service, hurry, head):
    async with line(service) as (reader, writer):
        dripping = asyncio.create_task(drip(writer, head))

        assert await has_ended(reader)
        dripping.cancel()


async def test_a_second_head_that_never_ends_ends_the_connection_too(service, hurry):
    async with line(service) as (reader, writer):
        writer.write(LIVE + b"\r\n")
        assert await reader.readuntil(b'{"status":"ok"}')
        dripping = asyncio.create_task(drip(writer, LIVE * 1000))

        assert await has_ended(reader)
        dripping.cancel()


async def test_a_body_that_never_ends_ends_the_connection(service, hurry):
    async with line(service) as (reader, writer):
        writer.write(LIVE + b"Content-Length: 1000000\r\n\r\n")
        assert await reader.readuntil(b'{"status":"ok"}')
        dripping = asyncio.create_task(drip(writer, b"x" * 1000))

        assert await has_ended(reader)
        dripping.cancel()


async def test_a_client_in_time_is_served_for_longer_than_a_head_may_take(service, hurry):
    async with service.client() as client:
        first = await client.history(at("2024-01-01"), at("2024-01-02"))
        await eventually_later(3 * HttpProtocol.head_timeout_secs)
        again = await client.history(at("2024-01-01"), at("2024-01-02"))

    assert first.last["rows"] == again.last["rows"] == 1440


async def eventually_later(secs: float) -> None:
    """Return when the loop's clock is so much further."""
    until = asyncio.get_running_loop().time() + secs
    await eventually(lambda: asyncio.get_running_loop().time() >= until)


@pytest.mark.parametrize(
    "head",
    [
        f"{HANDSHAKE}Authorization: Bearer ".encode() + b"x" * 10 * MIB,
        b"GET /ws/data?token=" + b"x" * 10 * MIB,
        HANDSHAKE.encode() + b"X: y\r\n" * 2 * MIB,
    ],
    ids=["a header", "the query", "many headers"],
)
async def test_a_head_of_10_mb_is_not_read_to_its_end(service, head):
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await asyncio.to_thread(connect_and_leave, service.port, [head])


@pytest.mark.parametrize("size", [9_000, 60_000])
async def test_a_handshake_with_a_line_that_is_too_long_is_refused_with_400(service, size):
    async with line(service) as (reader, writer):
        writer.write(f"{HANDSHAKE}Authorization: Bearer {'x' * size}\r\n\r\n".encode())

        assert (await reader.readline()).startswith(b"HTTP/1.1 400")


def connect_and_leave(port: int, heads: Iterable[bytes]) -> None:
    """Connect for each of *heads*, send it, and leave without a word."""
    for head in heads:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head)


@pytest.mark.timeout(300)
async def test_a_queue_without_end_is_refused_as_it_comes_and_takes_no_memory(simulator, tmp_path):
    """As many as a client can send while it listens; one that does not is not listened to, either (stalled readers)."""
    requests = 20_000
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        simulator.hold("klines")
        tasks = len(asyncio.all_tasks())
        most = 0

        async def ask() -> None:
            nonlocal most
            for number in range(requests):
                await client.connection.send(
                    json.dumps(historical(at("2024-01-01"), at("2024-01-02"), request_id=str(number)))
                )
                most = max(most, len(asyncio.all_tasks()))

        asking = asyncio.create_task(ask())
        codes: dict[str, int] = {}
        while sum(codes.values()) < requests - 256:
            answer = await client.receive()
            if answer["type"] == "error_response":
                codes[answer["code"]] = codes.get(answer["code"], 0) + 1
        await asking
        simulator.release("klines")

    assert codes == {"too_many_requests": requests - 256}
    assert most - tasks < 256 + 100
