"""`/ws/data`: the socket everything is asked through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from fastapi import APIRouter, WebSocket

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
    router = APIRouter()

    @router.websocket("/ws/data")
    async def data(websocket: WebSocket) -> None:
        principal = await authenticate(websocket, auth)
        if principal is not None:
            await Connection(websocket, principal, manager, limits).serve(now())

    return router
