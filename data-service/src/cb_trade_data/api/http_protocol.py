"""The server's side of HTTP, hardened against clients that never finish: to ask, or to listen."""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_MAX_BYTES: Final = 16 * 1024
# What the library that takes over from here refuses, which it does without a word.
_LINE_MAX_BYTES: Final = 8 * 1024
_LINES_MAX: Final = 100


class HttpProtocol(H11Protocol):
    """As uvicorn's (0.54) on h11, with bounds on how long and how large a request's head may be.

    Not on httptools, which takes heads of any size: most of what comes here are handshakes, and the larger part of one
    is spent elsewhere.

    Attributes:
        head_timeout_secs: How long a head may take to come, from the start of a connection or the end of the last
            answer. A handshake of TLS may take as long before.
        listen_timeout_secs: How long a client may take to make room for more of an answer.
    """

    head_timeout_secs = 10.0
    listen_timeout_secs = 60.0
    _head_due: asyncio.TimerHandle | None = None
    _listening_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        _cancel(self._head_due)
        _cancel(self._listening_due)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take in what came; with a whole head, the wait for it is over."""
        last = self.scope
        super().handle_events()
        if self.scope is not last:
            _cancel(self._head_due)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand a handshake over, unless it is one that could not be answered there."""
        lines = [event.target, *(name + value for name, value in self.headers)]
        if len(lines) > _LINES_MAX or max(map(len, lines)) > _LINE_MAX_BYTES:
            self.send_400_response("The head is too large.")
        else:
            _cancel(self._listening_due)  # whoever takes over waits for itself
            super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Begin to wait for the next head. The rest of a body may come meanwhile, and counts for nothing."""
        self._wait_for_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for the client to listen."""
        super().pause_writing()
        self._listening_due = self.loop.call_later(self.listen_timeout_secs, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on to answer."""
        _cancel(self._listening_due)
        super().resume_writing()

    def _wait_for_head(self) -> None:
        _cancel(self._head_due)
        self._head_due = self.loop.call_later(self.head_timeout_secs, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
