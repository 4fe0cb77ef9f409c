"""Connections that are given up while they are being opened: whatever they wait for, nothing of them is left."""

import asyncio
import gc
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from cb_trade_client import DataClient, ServiceUnavailableError

TOKEN = "good.token"
WAIT_SECS = 5
STAGES = ("token", "name", "socket", "handshake", "half a handshake", "tls", "http proxy", "socks proxy", "answer")
CALLS = {
    "stream": lambda client, start, end: client.stream("x", "BTC/USDT", "1m", start, end).__aenter__(),
    "history": lambda client, start, end: client.history("x", "BTC/USDT", "1m", start, end),
    "latest": lambda client, start, end: client.latest("x", "BTC/USDT", "1m"),
}


@pytest.fixture(autouse=True)
def _nothing_is_forgotten():
    """A socket or transport that nobody closed warns when it is collected, and a warning fails the test."""
    yield
    gc.collect()


def obstruct(stage, host, monkeypatch, wait_for_ever):
    """Let what a connection needs on its way wait for ever, or lead through *host*."""
    loop = asyncio.get_running_loop()
    match stage:
        case "name":
            monkeypatch.setattr(loop, "getaddrinfo", wait_for_ever)
        case "socket":
            monkeypatch.setattr(loop, "sock_connect", wait_for_ever)
        case "http proxy":
            monkeypatch.setattr("cb_trade_client.connection.proxy_for", lambda url: f"http://{host}")
        case "socks proxy":
            monkeypatch.setattr("cb_trade_client.connection.proxy_for", lambda url: f"socks5://{host}")


@asynccontextmanager
async def stuck(stage, monkeypatch):
    """Yield a client's URL and token with which it gets to *stage* and no further, and when it is there.

    Ends when all connections have.
    """
    is_there, never = asyncio.Event(), asyncio.Event()

    async def wait_for_ever(*_, **__):
        is_there.set()
        await never.wait()

    async def listen(reader, writer):
        await reader.read(1)
        if stage == "half a handshake":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: ")
        is_there.set()
        while await reader.read(1000):
            pass
        writer.close()
        await writer.wait_closed()

    async def take(socket):
        await socket.recv()
        is_there.set()
        await socket.wait_closed()

    handling = []

    def handle(reader, writer):
        handling.append(asyncio.create_task(listen(reader, writer)))

    server = serve(take, "127.0.0.1", 0) if stage == "answer" else asyncio.start_server(handle, "127.0.0.1", 0)
    async with await server as running:
        host = f"127.0.0.1:{next(iter(running.sockets)).getsockname()[1]}"
        obstruct(stage, host, monkeypatch, wait_for_ever)
        token = wait_for_ever if stage == "token" else TOKEN
        yield f"{'wss' if stage == 'tls' else 'ws'}://{host}/ws/data", token, is_there
        async with asyncio.timeout(WAIT_SECS):
            await asyncio.gather(*handling)
            if stage == "answer":
                running.close(close_connections=False)
                await running.wait_closed()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("stage", STAGES)
async def test_a_call_that_is_cancelled_at_any_stage_of_connecting_leaves_nothing_open(
    monkeypatch, start, end, stage, call
):
    async with stuck(stage, monkeypatch) as (url, token, is_there), DataClient(url, token=token) as client:
        calling = asyncio.create_task(call(client, start, end))
        await asyncio.wait_for(is_there.wait(), WAIT_SECS)

        calling.cancel()

        with pytest.raises(asyncio.CancelledError):
            await calling


@pytest.mark.parametrize("stage", ["handshake", "tls", "http proxy", "socks proxy"])
async def test_a_service_that_does_not_answer_in_time_is_hung_up_on(monkeypatch, start, end, stage):
    monkeypatch.setattr("cb_trade_client.connection.OPEN_TIMEOUT_SECS", 0.1)
    async with stuck(stage, monkeypatch) as (url, token, _), DataClient(url, token=token) as client:
        with pytest.raises(ServiceUnavailableError, match="no answer within"):
            await client.history("x", "BTC/USDT", "1m", start, end)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_may_be_cancelled_at_any_turn_of_the_loop(monkeypatch, start, end, call):
    async with stuck("answer", monkeypatch) as (url, token, is_there):
        turns = 0
        while not is_there.is_set():
            async with DataClient(url, token=token) as client:
                calling = asyncio.create_task(call(client, start, end))
                for _ in range(turns):
                    await asyncio.sleep(0)
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
            turns += 1

    assert turns > 5
