"""`/ws/data`: the socket everything is asked through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, WebSocket
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from cb_trade_data.api.connection import Connection, ConnectionLimits
from cb_trade_data.api.handshake import authenticate
from cb_trade_data.auth.interfaces import IAuthenticationModule
from cb_trade_data.historical.interfaces import IHistoricalDataManager


def websocket_router(
    auth: IAuthenticationModule,
    manager: IHistoricalDataManager,
    limits: ConnectionLimits,
    now: Callable[[], datetime],
) -> APIRouter:
    """Return the route of the data socket."""
    return APIRouter(routes=[WebSocketRoute("/ws/data", _DataSocket(auth, manager, limits, now))])


@dataclass(frozen=True)
class _DataSocket:
    """Plain ASGI: each message is spared the layers that FastAPI puts around a function."""

    auth: IAuthenticationModule
    manager: IHistoricalDataManager
    limits: ConnectionLimits
    now: Callable[[], datetime]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        principal = await authenticate(websocket, self.auth)
        if principal is not None:
            await Connection(websocket, principal, self.manager, self.limits).serve(self.now())
