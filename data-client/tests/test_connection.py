"""The WebSocket below the SDK: what it takes apart, how much it holds, and when it gives up."""

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import pytest

from cb_trade_client import AuthenticationError, ConnectionLostError, DataClient, RequestError, ServiceUnavailableError
from cb_trade_client import connection as connection_module
from cb_trade_client.connection import Connection
from cb_trade_client.landing import OneBlock, PieceByPiece
from cb_trade_client.proxies import proxy_for
from cb_trade_client.requests import Wanted, history_request, latest_request

TOKEN = "good.token"
WAIT_SECS = 5


async def test_messages_that_were_cut_into_frames_are_put_together(run_service, minute_bars, start, end):
    # An iterable of pieces is sent as one message of as many frames.
    def in_pieces(payload):
        return [[payload[first : first + 100] for first in range(0, len(payload), 100)]]

    rows = minute_bars(250)
    service = run_service(series=rows, edit_binary=in_pieces)

    history = await DataClient(service.url, token=TOKEN).history("x", "BTC/USDT", "1m", start, end)

    assert history.to_arrow().column("close").to_pylist() == [row["close"] for row in rows]


async def test_what_waits_to_be_read_is_bounded(run_service, minute_bars, start, end, monkeypatch):
    monkeypatch.setattr(connection_module, "UNREAD_MAX_BYTES", 10_000)
    monkeypatch.setattr(connection_module, "_UNREAD_LOW_BYTES", 5_000)
    held, is_reading, paused = [], [], asyncio.Event()
    put = Connection._put

    def watch_put(self, inbox, arrival):
        put(self, inbox, arrival)
        held.append(self._unread_bytes)
        if self._is_paused:
            is_reading.append(self._transport.underlying_transport.is_reading())
            paused.set()

    monkeypatch.setattr(Connection, "_put", watch_put)
    service = run_service(series=minute_bars(1440), chunk_rows=1, edit=lambda message: [{**message, "x": "x" * 50_000}])

    async with DataClient(service.url, token=TOKEN).stream("x", "BTC/USDT", "1m", start, end) as history:
        await asyncio.wait_for(paused.wait(), WAIT_SECS)
        assert sum([batch.num_rows async for batch in history]) == 1440

    # 72 MB came. What was in the library's buffer when reading paused still did, and that may grow to the kernel's.
    assert max(held) < 16_000_000
    assert not any(is_reading)


async def test_an_answer_that_nobody_waits_for_any_more_takes_no_room(run_service, minute_bars, monkeypatch):
    monkeypatch.setattr(connection_module, "UNREAD_MAX_BYTES", 1_000)
    monkeypatch.setattr(connection_module, "_UNREAD_LOW_BYTES", 500)
    service = run_service(series=minute_bars(10))
    connection = await Connection.open(service.url, TOKEN)

    async with asyncio.timeout(WAIT_SECS):
        for _ in range(20):
            left, awaited = (latest_request("x", "BTC/USDT", "1m", kind="ohlcv", derive=False) for _ in range(2))
            connection.ask(left, PieceByPiece())
            # Answers come in the order of their requests, so the first one is there with the second.
            await connection.ask(awaited, PieceByPiece()).take()
            connection.forget(left)
            connection.forget(awaited)
    await connection.aclose()


async def test_rows_announced_for_a_request_that_was_forgotten_take_no_room(
    run_service, minute_bars, start, end, monkeypatch
):
    monkeypatch.setattr(connection_module, "UNREAD_MAX_BYTES", 1_000)
    monkeypatch.setattr(connection_module, "_UNREAD_LOW_BYTES", 500)
    wanted = Wanted("x", "BTC/USDT", "1m", start, end, kind="ohlcv", refresh=False, derive=False, fill="none")
    request = history_request(wanted, wire_format="arrow", chunk_rows=None)
    receive_text = Connection._receive_text

    def forget_once_announced(self, payload):
        receive_text(self, payload)
        if self._announced is not None:
            self.forget(request)

    monkeypatch.setattr(Connection, "_receive_text", forget_once_announced)
    service = run_service(series=minute_bars(250))
    connection = await Connection.open(service.url, TOKEN)
    connection.ask(request, PieceByPiece())

    question = latest_request("x", "BTC/USDT", "1m", kind="ohlcv", derive=False)
    async with asyncio.timeout(WAIT_SECS):
        assert (await connection.ask(question, PieceByPiece()).take()).message["timestamp"] is not None
        assert connection._unread_bytes == 0
    await connection.aclose()


async def test_a_service_that_falls_silent_is_given_up(run_service, minute_bars, start, end, monkeypatch):
    monkeypatch.setattr(connection_module, "PING_INTERVAL_SECS", 0.01)
    monkeypatch.setattr(connection_module, "SILENCE_TIMEOUT_SECS", -1)
    service = run_service(series=minute_bars(250), hold_after_chunks=1)

    with pytest.raises(ConnectionLostError, match="nothing heard"):
        await DataClient(service.url, token=TOKEN, retries=0).history("x", "BTC/USDT", "1m", start, end)


async def test_a_service_that_hangs_up_at_the_handshake_is_unavailable():
    async def hang_up(reader, writer):
        await reader.readline()
        writer.close()

    async with listening(hang_up) as port:
        url = f"ws://127.0.0.1:{port}/ws/data"

        with pytest.raises(ServiceUnavailableError, match="hung up"):
            await DataClient(url, token=TOKEN).latest("x", "BTC/USDT", "1m")


async def test_the_addresses_of_a_name_are_tried_one_after_the_other(run_service, monkeypatch):
    service = run_service()

    async def both(*_, **__):
        ports = 1, service.port  # nobody listens at the first
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    async with DataClient("ws://localhost/ws/data", token=TOKEN) as client:
        assert (await client.latest("x", "BTC/USDT", "1m")).timestamp is None


async def test_a_reason_that_comes_behind_the_headers_is_heard_all_the_same():
    body = b'{"code": "token_expired", "message": "that was yesterday"}'

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
        await writer.drain()
        has_left = asyncio.create_task(reader.read())
        # The library hangs up at once; who still listens gets the body.
        await asyncio.wait([has_left], timeout=0.05)
        writer.write(body)
        writer.close()
        has_left.cancel()

    async with listening(refuse) as port:
        url = f"ws://127.0.0.1:{port}/ws/data"

        with pytest.raises(AuthenticationError, match="that was yesterday") as caught:
            await DataClient(url, token=TOKEN).latest("x", "BTC/USDT", "1m")

    assert caught.value.code == "token_expired"


async def test_a_redirect_is_not_followed_since_it_could_lead_the_token_elsewhere(run_service):
    elsewhere = run_service()
    service = run_service(redirect_to=elsewhere.url, refuse_handshake=HTTPStatus.FOUND)

    with pytest.raises(RequestError):
        await DataClient(service.url, token=TOKEN).latest("x", "BTC/USDT", "1m")

    assert elsewhere.request_paths == []


def test_more_than_was_announced_still_finds_room():
    block = OneBlock()
    block.expect(1000)

    rooms = [block.room(300_000) for _ in range(3)]
    for number, room in enumerate(rooms):
        room[:] = bytes([number]) * 300_000

    assert [bytes(room[:1]) + bytes(room[-1:]) for room in rooms] == [bytes([n, n]) for n in range(3)]


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "wss://data.example/ws/data", None),
        ({"https_proxy": "http://me:word@proxy:3128"}, "wss://data.example/ws/data", "http://me:word@proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "ws://data.example/ws/data", "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "ws://127.0.0.1:8700/ws/data", None),
        ({"https_proxy": "http://p:1", "wss_proxy": "http://p:2"}, "wss://data.example/ws/data", "http://p:2"),
        ({"https_proxy": "socks5h://proxy:1080"}, "wss://data.example/ws/data", "socks5://proxy:1080"),
        ({"https_proxy": "http://p:1", "no_proxy": "data.example"}, "wss://data.example/ws/data", None),
    ],
)
def test_the_environments_proxy_is_used_but_never_for_this_machine(monkeypatch, environment, url, proxy):
    for name in ("ws_proxy", "wss_proxy", "socks_proxy", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert proxy_for(url) == proxy


def test_a_proxy_of_an_unknown_kind_is_refused(monkeypatch):
    monkeypatch.setenv("https_proxy", "carrier-pigeon://proxy")
    monkeypatch.delenv("no_proxy", raising=False)

    with pytest.raises(RequestError, match="no proxy this SDK can use"):
        proxy_for("wss://data.example/ws/data")


async def test_a_proxy_is_asked_for_a_tunnel(run_service, monkeypatch):
    service = run_service()
    port = int(service.url.split(":")[2].split("/")[0])
    asked = []

    async def tunnel(reader, writer):
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pump(reader, far_writer))
            tasks.create_task(pump(far_reader, writer))

    async with listening(tunnel) as proxy_port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy_port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with DataClient("ws://data.example/ws/data", token=TOKEN) as client:
            assert (await client.latest("x", "BTC/USDT", "1m")).timestamp is None

    assert asked == [b"CONNECT data.example:80 HTTP/1.1"]


async def pump(reader, writer):
    while piece := await reader.read(65536):
        writer.write(piece)
    writer.close()
    await writer.wait_closed()


@asynccontextmanager
async def listening(handler):
    """Let *handler* answer connections, and yield the port; nothing of it is left at the end."""
    handling = []

    async def handle(reader, writer):
        handling.append(asyncio.current_task())
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*handling)
