"""The handshake: who is asking is settled before anything is spent on it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fastapi import WebSocket
from starlette.requests import HTTPConnection

from cb_trade_data.api.refusals import RefusalResponse
from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.errors import AuthenticationError, CbTradeError, ForbiddenError, OriginForbiddenError, TemporaryError

PROTOCOL: Final = "cb-trade.v1"
_BEARER_PROTOCOL: Final = "cb-trade.bearer."

CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_FORBIDDEN: Final = 4403
CLOSE_TRY_AGAIN_LATER: Final = 1013

_CLOSE_CODES: Final[tuple[tuple[type[CbTradeError], int], ...]] = (
    (AuthenticationError, CLOSE_UNAUTHENTICATED),
    (ForbiddenError, CLOSE_FORBIDDEN),
    (TemporaryError, CLOSE_TRY_AGAIN_LATER),
)


async def authenticate(
    websocket: WebSocket, auth: IAuthenticationModule, allowed_origins: Collection[str] | None
) -> Principal:
    """Return who is asking; nothing has been spent on it by then.

    Args:
        allowed_origins: The pages that browsers may connect from; None for all. Programs have no origin.

    Raises:
        AuthenticationError: There is no token, or no good one.
        ForbiddenError: It may not ask.
        AuthenticationUnavailableError: Nobody can tell who it is, for now.
    """
    origin = websocket.headers.get("origin")
    if origin is not None and allowed_origins is not None and origin not in allowed_origins:
        raise OriginForbiddenError
    token, _ = _token(websocket)
    principal = await auth.authenticate(token)
    principal.require("data:read")
    return principal


async def accept(websocket: WebSocket) -> None:
    """Accept the connection."""
    # RFC 6455: a server selects only from what was offered.
    await websocket.accept(subprotocol=PROTOCOL if PROTOCOL in websocket.scope["subprotocols"] else None)


async def refuse(websocket: WebSocket, error: CbTradeError) -> None:
    """Refuse the connection, with an HTTP status before the upgrade.

    A browser cannot see that status, so a token that came as a subprotocol, as only browsers send it, is refused by
    accepting and closing, with the code as reason.
    """
    _, from_browser = _token(websocket)
    if from_browser:
        await accept(websocket)
        close_code = next(close_code for kind, close_code in _CLOSE_CODES if isinstance(error, kind))
        await websocket.close(close_code, error.code)
    else:
        await websocket.send_denial_response(RefusalResponse(error))


def _token(websocket: WebSocket) -> tuple[str | None, bool]:
    """Return the token, from the first place that has one, and whether it came the way browsers send it."""
    scheme, _, credentials = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials:
        return credentials.strip(), False
    if (token := websocket.query_params.get("token")) is not None:
        return token, False
    for offered in websocket.scope["subprotocols"]:
        if offered.startswith(_BEARER_PROTOCOL):
            return offered.removeprefix(_BEARER_PROTOCOL), True
    return None, False


def host_of(connection: HTTPConnection) -> str | None:
    """Return where the client connects from; None where the server does not know."""
    return None if connection.client is None else connection.client.host
