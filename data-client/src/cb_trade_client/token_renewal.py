"""A connection that outlives its token: a newer one is shown before that ends."""

import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson

from cb_trade_client.connection import Connection
from cb_trade_client.landing import PieceByPiece
from cb_trade_client.message_types import AUTHENTICATED
from cb_trade_client.pending_request import PendingRequest
from cb_trade_client.refusals import check_token
from cb_trade_client.requests import authenticate_request

_AHEAD_SECS = 60
_PART_OF_THE_REST = 0.75  # what is waited for of it, where that is later
_LEAST_REST_SECS = 1
_WAIT_MAX_SECS = 24 * 60 * 60


async def keep_renewed(connection: Connection, token: str, new_token: Callable[[], Awaitable[str]]) -> None:
    """Renew *token*, with which *connection* was opened, whenever it is about to end; return when that is over.

    What goes wrong is not told: the connection ends with its token then, and whoever opens the next one, with a new
    token, hears what is wrong with that.
    """
    while (wait_secs := secs_until_renewal(token, time.time())) is not None:
        if await connection.has_ended_within(wait_secs):
            return
        with suppress(Exception):
            newer = await new_token()
            if newer != token:
                check_token(newer)
                await _show(connection, newer)
                token = newer


def secs_until_renewal(token: str, now_secs: float) -> float | None:
    """Return how long to wait before *token* is renewed; None where it is too late, or its end cannot be told."""
    expires_at_secs = _expiry_of(token)
    if expires_at_secs is None or expires_at_secs - now_secs < _LEAST_REST_SECS:
        return None
    rest_secs = expires_at_secs - now_secs
    return min(max(rest_secs - _AHEAD_SECS, rest_secs * _PART_OF_THE_REST), _WAIT_MAX_SECS)


async def _show(connection: Connection, token: str) -> None:
    request = authenticate_request(token)
    try:
        await PendingRequest.send(connection, request, PieceByPiece()).next_answer(AUTHENTICATED)
    finally:
        connection.forget(request)


def _expiry_of(token: str) -> float | None:
    """Return the `exp` of a JWT, in seconds since 1970; None where there is none to be read."""
    with suppress(ValueError, IndexError):
        match orjson.loads(urlsafe_b64decode(token.split(".")[1] + "==")):
            case {"exp": int() | float() as secs}:
                return float(secs)
    return None
