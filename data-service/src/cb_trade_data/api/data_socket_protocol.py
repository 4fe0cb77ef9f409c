"""The server's side of the WebSocket protocol, hardened against clients that keep its letter and mean no good."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

_CLOSE_ABNORMAL: Final = 1006


class DataSocketProtocol(WebSocketsSansIOProtocol):
    """As uvicorn's (0.54), which bounds messages, with bounds on the rest of what a client can make it keep.

    Attributes:
        listen_timeout_secs: How long a client may take to make room for more. Somewhat longer than a message may take:
            that timeout comes with a word, which a client that does not read at all never gets.
    """

    listen_timeout_secs = 75.0
    _listening_due: asyncio.TimerHandle | None = None
    frames: list[Any]  # of the message that is arriving: one, as bytes or, while it grows, as a bytearray
    _pongs_due = b""

    def handle_cont(self, event: Frame) -> None:
        """Add a fragment to its message; a list of them, as uvicorn keeps, takes fifty times what their bytes do."""
        if not isinstance(self.frames[0], bytearray):
            self.frames[0] = bytearray(self.frames[0])
        self.frames[0] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer; while the client does not read, keep the latest answers only, more is not owed (RFC 6455, 5.5.3)."""
        pongs = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pongs)
        elif pongs:
            self._pongs_due = pongs

    def pause_writing(self) -> None:
        """Begin to wait for the client to read: without that, nothing ends its connection, for a close must be read."""
        super().pause_writing()
        self._listening_due = self.loop.call_later(self.listen_timeout_secs, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Go on sending, first what was kept."""
        self._stop_waiting()
        super().resume_writing()
        pongs, self._pongs_due = self._pongs_due, b""
        self.transport.write(pongs)

    def handle_parser_exception(self) -> None:
        """End the connection; without a word where its handshake has not been answered yet."""
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": _CLOSE_ABNORMAL})
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._listening_due is not None:
            self._listening_due.cancel()
            self._listening_due = None
