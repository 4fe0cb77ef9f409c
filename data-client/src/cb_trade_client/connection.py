"""One WebSocket to the service: each message brought to the request it answers, foreign errors turned into ours."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import orjson
from picows import (
    WSCloseCode,
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)
from python_socks import ProxyError

from cb_trade_client.errors import CbTradeError, ProtocolError
from cb_trade_client.fields import Message, read_count, read_text
from cb_trade_client.inbox import Arrival, Inbox
from cb_trade_client.landing import Landing
from cb_trade_client.line import Line
from cb_trade_client.message_types import CHUNK, ERROR, KNOWN_TYPES, START
from cb_trade_client.proxies import proxy_for
from cb_trade_client.refusals import check_token, error_from_close, error_of_no_answer
from cb_trade_client.refused_handshake import error_of_refusal
from cb_trade_client.requests import Request
from cb_trade_client.service_url import check, printable

OPEN_TIMEOUT_SECS = 10
CLOSE_TIMEOUT_SECS = 2
PING_INTERVAL_SECS = 20
SILENCE_TIMEOUT_SECS = 120
MESSAGE_MAX_BYTES = 4 * 1024 * 1024  # the contract promises less than 1 MiB
UNREAD_MAX_BYTES = 4 * 1024 * 1024
"""How much may wait to be looked at before reading pauses; what is then in the library's buffer still follows."""

_UNREAD_LOW_BYTES = 1024 * 1024
_READ_BUFFER_BYTES = 1024 * 1024  # half of it: several frames are moved once too often

_LOGGER = logging.getLogger("cb_trade_client.websocket")
# All that goes wrong becomes an error of ours; and the finest lines would print the token.
_LOGGER.setLevel(logging.CRITICAL)


class Connection(WSListener):  # type: ignore[misc, unused-ignore]
    """An open connection. Made by `Connection.open`; `aclose` ends it together with everything asked on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inboxes: dict[str, Inbox] = {}
        self._announced: tuple[Message, int] | None = None
        self._fragments: tuple[bool, bytearray] | None = None
        self._unread_bytes = 0
        self._is_paused = False
        self._heard_at_secs = self._loop.time()
        self._end: Exception | None = None
        self._has_ended = asyncio.Event()

    @classmethod
    async def open(cls, url: str, token: str) -> Self:
        """Return a connection that the service has accepted.

        Args:
            url: `ws://` or `wss://` address of the service's socket.
            token: The JWT. It travels in the `Authorization` header, never in the URL, which ends up in logs.

        Raises:
            AuthenticationError, ForbiddenError: The service refused the token.
            ServiceUnavailableError: Nobody answers at *url*, or not now.
            RequestError: *url* is no WebSocket address, or something else lives there (`invalid_url`).
        """
        check(url)
        check_token(token)
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECS), Line(proxy_for(url)) as line:
                _, connection = await ws_connect(
                    cls,
                    _without_user(url),
                    extra_headers=headers,
                    websocket_handshake_timeout=None,
                    logger_name=_LOGGER,
                    max_frame_size=MESSAGE_MAX_BYTES,
                    max_redirects=0,  # one could lead the token somewhere else
                    proxy=line.http_proxy,
                    socket_factory=line.connect,
                    read_buffer_init_size=_READ_BUFFER_BYTES,
                )
        except WSInvalidStatusError as error:
            raise await error_of_refusal(url, error, headers) from error
        except (OSError, WSError, ProxyError) as error:
            raise error_of_no_answer(printable(url), error, OPEN_TIMEOUT_SECS) from error
        if not isinstance(connection, cls):
            # The library's way to tell that the other side hung up instead of answering.
            hung_up = ConnectionResetError("it hung up without an answer")
            raise error_of_no_answer(printable(url), hung_up, OPEN_TIMEOUT_SECS)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether something can still be asked here."""
        return self._end is None

    @property
    def is_asked(self) -> bool:
        """Whether something was asked here whose answer has not ended, and is not forgotten."""
        return bool(self._inboxes)

    async def has_ended_within(self, secs: float) -> bool:
        """Return True as soon as the connection has ended, and False if it has not after *secs*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(secs):
                await self._has_ended.wait()
        return self._has_ended.is_set()

    def ask(self, request: Request, landing: Landing) -> Inbox:
        """Send *request* and return where its answers arrive, their binary messages in *landing*."""
        if self._end is not None:
            raise self._end
        inbox = self._inboxes[request["request_id"]] = Inbox(landing, self._count_taken)
        self._transport.send(WSMsgType.TEXT, orjson.dumps(request))
        return inbox

    def forget(self, request: Request) -> None:
        """Drop whatever has arrived for *request* and was not taken, and whatever still arrives."""
        inbox = self._inboxes.pop(request["request_id"], None)
        if inbox is not None:
            inbox.clear()

    async def aclose(self) -> None:
        """Close; the service then stops whatever was still being answered here. Closing twice is fine."""
        self._finish(error_from_close(1000, ""))
        # With unread data in the way, the service's own close frame would not be seen.
        self._resume()
        self._transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECS):
                await self._has_ended.wait()
        except TimeoutError:
            pass
        finally:
            self._transport.disconnect(graceful=False)
        with suppress(Exception):  # why it ended was told to who reads here
            await self._transport.wait_disconnected()

    # ---- what the library calls ----

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin to look after the connection."""
        self._transport = transport
        self._timer = self._loop.call_later(PING_INTERVAL_SECS, self._keep_alive)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame in."""
        self._heard_at_secs = self._loop.time()
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
            return
        if self._end is not None or frame.msg_type in (WSMsgType.PING, WSMsgType.PONG):
            return
        try:
            if frame.fin and frame.msg_type != WSMsgType.CONTINUATION:
                self._receive(frame.msg_type == WSMsgType.TEXT, frame.get_payload_as_memoryview())
            else:
                self._receive_fragment(frame)
        except Exception as error:  # noqa: BLE001 - who waits for the answer hears of it; nobody would here
            self._finish(error)
            transport.send_close(WSCloseCode.PROTOCOL_ERROR)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Tell everyone who waits why nothing follows."""
        self._timer.cancel()
        self._finish(_error_of(transport))
        self._has_ended.set()

    # ---- what arrives ----

    def _receive(self, is_text: bool, payload: memoryview | bytearray) -> None:
        if self._announced is not None:
            message, text_bytes = self._announced
            self._announced = None
            self._receive_binary(message, text_bytes, None if is_text else payload)
        elif is_text:
            self._receive_text(payload)
        else:
            raise ProtocolError("the service sent a binary message that no chunk announces")

    def _receive_text(self, payload: memoryview | bytearray) -> None:
        message = _json_object(payload)
        if message.get("type") not in KNOWN_TYPES:
            return  # newer than this SDK; the contract asks to skip it
        if message["type"] == ERROR and message.get("request_id") is None:
            # The service could not tell which request it failed on.
            for each in self._inboxes.values():
                self._put(each, Arrival(message, None, len(payload)))
            return
        inbox = self._inboxes.get(read_text(message, "request_id"))
        if message["type"] == CHUNK and "bytes" in message:
            self._announced = message, len(payload)
        elif inbox is not None:
            if message["type"] == START and isinstance(message.get("estimated_bytes"), int):
                inbox.landing.expect(message["estimated_bytes"])
            self._put(inbox, Arrival(message, None, len(payload)))

    def _receive_binary(self, message: Message, text_bytes: int, payload: memoryview | bytearray | None) -> None:
        announced_bytes = read_count(message, "bytes")
        if payload is None:
            raise ProtocolError("a text message arrived where the bytes of a chunk were due")
        if len(payload) != announced_bytes:
            raise ProtocolError(f"a chunk announced {announced_bytes} bytes, but {len(payload)} arrived")
        inbox = self._inboxes.get(read_text(message, "request_id"))
        if inbox is not None:
            place = inbox.landing.room(announced_bytes)
            place[:] = payload
            self._put(inbox, Arrival(message, place, text_bytes + announced_bytes))

    def _receive_fragment(self, frame: WSFrame) -> None:
        # Our service does not cut messages; a proxy on the way may.
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._fragments = frame.msg_type == WSMsgType.TEXT, bytearray()
        if self._fragments is None:
            raise ProtocolError("a message arrived without its beginning")
        is_text, payload = self._fragments
        payload += frame.get_payload_as_memoryview()
        if len(payload) > MESSAGE_MAX_BYTES:
            raise error_from_close(1009, "")
        if frame.fin:
            self._fragments = None
            self._receive(is_text, payload)

    # ---- flow ----

    def _put(self, inbox: Inbox, arrival: Arrival) -> None:
        inbox.put(arrival)
        self._unread_bytes += arrival.size_bytes
        if self._unread_bytes > UNREAD_MAX_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.underlying_transport.pause_reading()

    def _count_taken(self, size_bytes: int) -> None:
        self._unread_bytes -= size_bytes
        if self._is_paused and self._unread_bytes < _UNREAD_LOW_BYTES:
            self._resume()

    def _resume(self) -> None:
        if self._is_paused and not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()
            self._heard_at_secs = self._loop.time()
        self._is_paused = False

    def _keep_alive(self) -> None:
        # While we do not read we cannot hear, and a pong behind unread data is not a dead service.
        if not self._is_paused and self._loop.time() - self._heard_at_secs > SILENCE_TIMEOUT_SECS:
            self._finish(error_from_close(1006, f"nothing heard for {SILENCE_TIMEOUT_SECS} s"))
            self._transport.disconnect(graceful=False)
            return
        self._transport.send_ping()
        self._timer = self._loop.call_later(PING_INTERVAL_SECS, self._keep_alive)

    def _finish(self, error: Exception) -> None:
        self._end = self._end or error
        for inbox in self._inboxes.values():
            inbox.end(self._end)
        self._inboxes.clear()


def _json_object(payload: memoryview | bytearray) -> dict[str, Any]:
    try:
        message = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the service sent a message that is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ProtocolError("the service sent a message that is not a JSON object")
    return message


def _error_of(transport: WSTransport) -> CbTradeError:
    # Its types promise that there is one, that it has a reason and that its code is known: none of it is so.
    handshake: Any = transport.close_handshake
    # The frame that came first tells why; ours did when we refused what the service sent.
    first = handshake and (handshake.recv if handshake.recv_then_sent else handshake.sent)
    return (
        error_from_close(int(first.code), first.reason or "")
        if first
        else error_from_close(1006, "no closing handshake")
    )


def _without_user(url: str) -> str:
    # It would end up in the `Host` header; the token is what counts here.
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
