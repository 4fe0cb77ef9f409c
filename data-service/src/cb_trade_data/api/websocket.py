"""`/ws/data`: the socket everything is asked through."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

import structlog
from fastapi import APIRouter, WebSocket
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from cb_trade_data.api.admission import Admission
from cb_trade_data.api.connection import Connection, ConnectionLimits
from cb_trade_data.api.handshake import accept, authenticate, host_of, refuse
from cb_trade_data.api.tally import Tally
from cb_trade_data.auth.interfaces import IAuthenticationModule
from cb_trade_data.errors import AuthenticationError, ForbiddenError, TemporaryError
from cb_trade_data.historical.interfaces import IHistoricalDataManager

_log = structlog.get_logger(__name__)


def websocket_router(
    auth: IAuthenticationModule,
    admission: Admission,
    manager: IHistoricalDataManager,
    limits: ConnectionLimits,
    now: Callable[[], datetime],
    tally: Tally,
    allowed_origins: Collection[str] | None = None,
) -> APIRouter:
    """Return the route of the data socket; *allowed_origins* as for `authenticate`."""
    data_socket = _DataSocket(auth, admission, manager, limits, now, tally, allowed_origins)
    return APIRouter(routes=[WebSocketRoute("/ws/data", data_socket)])


@dataclass(frozen=True)
class _DataSocket:
    """Plain ASGI: each message is spared the layers that FastAPI puts around a function."""

    auth: IAuthenticationModule
    admission: Admission
    manager: IHistoricalDataManager
    limits: ConnectionLimits
    now: Callable[[], datetime]
    tally: Tally
    allowed_origins: Collection[str] | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        with ExitStack() as stay:
            try:
                principal = await authenticate(websocket, self.auth, self.allowed_origins)
                guest = stay.enter_context(self.admission.connection(principal.subject))
            except (AuthenticationError, ForbiddenError, TemporaryError) as error:
                self.tally.refused_handshakes[error.code] += 1
                _log.info("connection.refused", code=error.code, client=host_of(websocket))
                await refuse(websocket, error)
                return
            await accept(websocket)
            connection = Connection(
                websocket, principal, self.auth, guest, self.manager, self.limits, self.now, self.tally
            )
            await connection.serve()
