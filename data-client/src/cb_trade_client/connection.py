"""One WebSocket to the service: JSON messages in and out, foreign errors turned into ours."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConcurrencyError, ConnectionClosed, InvalidHandshake, InvalidStatus

from cb_trade_client.errors import CbTradeError, ProtocolError
from cb_trade_client.fields import Message
from cb_trade_client.refusals import check_token, error_from_close, error_from_handshake, error_of_no_answer
from cb_trade_client.service_url import check, is_loopback, printable

OPEN_TIMEOUT_SECS = 10
CLOSE_TIMEOUT_SECS = 2
PING_INTERVAL_SECS = 20
# A caller that works long on one batch pauses reading, and a pong behind unread data is not a dead service.
PING_TIMEOUT_SECS = 120
MESSAGE_MAX_BYTES = 4 * 1024 * 1024  # the contract promises less than 1 MiB

_LOGGER = logging.getLogger("cb_trade_client.websocket")
# One step above the lines that would print the handshake's headers, and with them the token.
_LOGGER.setLevel(logging.INFO)


class Connection:
    """An open connection. Made by `Connection.open`; `aclose` ends it together with everything asked on it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

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
        try:
            return cls(
                await connect(
                    url,
                    additional_headers={"Authorization": f"Bearer {token}"},
                    # Deflate costs more than the network saves (measured: 26 MiB/s against over 400 without).
                    compression=None,
                    max_size=MESSAGE_MAX_BYTES,
                    open_timeout=OPEN_TIMEOUT_SECS,
                    close_timeout=CLOSE_TIMEOUT_SECS,
                    ping_interval=PING_INTERVAL_SECS,
                    ping_timeout=PING_TIMEOUT_SECS,
                    # A proxy from the environment is for other machines; it cannot reach this one's loopback.
                    proxy=None if is_loopback(url) else True,
                    logger=_LOGGER,
                )
            )
        except InvalidStatus as error:
            response = error.response
            raise error_from_handshake(
                printable(url),
                response.status_code,
                retry_after=response.headers.get("Retry-After"),
                body=bytes(response.body or b""),
            ) from error
        except (OSError, InvalidHandshake) as error:
            raise error_of_no_answer(printable(url), error, OPEN_TIMEOUT_SECS) from error

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one JSON message."""
        try:
            await self._socket.send(orjson.dumps(message), text=True)
        except ConnectionClosed as error:
            raise _from_close(error) from error

    async def receive(self) -> Message:
        """Return the next JSON message, waiting for it as long as the connection lives."""
        try:
            payload = await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            raise _from_close(error) from error
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise ProtocolError(f"the service sent a message that is not JSON: {error}") from error
        if not isinstance(message, dict):
            raise ProtocolError("the service sent a message that is not a JSON object")
        return message

    async def aclose(self) -> None:
        """Close; the service then stops whatever was still being answered here. Closing twice is fine."""
        async with asyncio.TaskGroup() as tasks:
            # With unread data in the way, the service's own close frame would not be seen before the timeout.
            tasks.create_task(self._discard_unread())
            await self._socket.close()

    async def _discard_unread(self) -> None:
        # ConcurrencyError: another task is still reading, which does just as well.
        with suppress(ConnectionClosed, ConcurrencyError):
            while True:
                await self._socket.recv(decode=False)


def _from_close(error: ConnectionClosed) -> CbTradeError:
    # The frame that came first tells why; ours did when we refused what the service sent.
    frame = error.sent if error.rcvd is None or error.rcvd_then_sent is False else error.rcvd
    return error_from_close(frame.code, frame.reason) if frame else error_from_close(1006, "no closing handshake")
