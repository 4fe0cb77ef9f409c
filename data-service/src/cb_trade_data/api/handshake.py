"""The handshake: who is asking is settled before anything is spent on it."""

from __future__ import annotations

from typing import Final

from fastapi import WebSocket
from fastapi.responses import JSONResponse

from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.errors import AuthenticationError, ForbiddenError

PROTOCOL: Final = "cb-trade.v1"
_BEARER_PROTOCOL: Final = "cb-trade.bearer."

CLOSE_UNAUTHENTICATED: Final = 4401
CLOSE_FORBIDDEN: Final = 4403


async def authenticate(websocket: WebSocket, auth: IAuthenticationModule) -> Principal | None:
    """Accept the connection and return who is asking, or refuse it and return None.

    A refusal is an HTTP 401 or 403 before the upgrade. A browser cannot see that status, so a token that came as a
    subprotocol, as only browsers send it, is refused by accepting and closing with 4401 or 4403 and the code as reason.
    """
    token, from_browser = _token(websocket)
    # RFC 6455: a server selects only from what was offered.
    selected = PROTOCOL if PROTOCOL in websocket.scope["subprotocols"] else None
    try:
        principal = await auth.authenticate(token)
        principal.require("data:read")
    except (AuthenticationError, ForbiddenError) as error:
        forbidden = isinstance(error, ForbiddenError)
        if from_browser:
            await websocket.accept(subprotocol=selected)
            await websocket.close(CLOSE_FORBIDDEN if forbidden else CLOSE_UNAUTHENTICATED, error.code)
        else:
            body = {"code": error.code, "message": str(error)}
            headers = {} if forbidden else {"WWW-Authenticate": "Bearer"}
            await websocket.send_denial_response(JSONResponse(body, 403 if forbidden else 401, headers))
        return None
    await websocket.accept(subprotocol=selected)
    return principal


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
