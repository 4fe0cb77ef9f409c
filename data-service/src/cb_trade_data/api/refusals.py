"""How the service says no over HTTP: with the same words as on the socket, a status, and what the standards ask for."""

from __future__ import annotations

import math
from typing import Any, Final

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from cb_trade_data.api.outgoing import error_facts
from cb_trade_data.errors import (
    AuthenticationError,
    CbTradeError,
    ErrorCode,
    ForbiddenError,
    MethodNotAllowedError,
    QuotaExceededError,
    RequestError,
    ScopeMissingError,
    TemporaryError,
    UnknownPathError,
)

_STATUSES: Final[tuple[tuple[type[CbTradeError], int], ...]] = (
    (UnknownPathError, 404),
    (MethodNotAllowedError, 405),
    (RequestError, 400),
    (AuthenticationError, 401),
    (ForbiddenError, 403),
    (QuotaExceededError, 429),
    (TemporaryError, 503),
)


class Refusal(BaseModel):
    """Why there is no answer: the facts of an `error_response`."""

    code: ErrorCode = Field(description="What to match on: codes may be added, never renamed.")
    message: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    retry_after_ms: int | None
    details: dict[str, Any]


class RefusalResponse(JSONResponse):
    """*error* as an HTTP answer."""

    def __init__(self, error: CbTradeError) -> None:
        self.error = error
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        super().__init__(error_facts(error), status, {**_challenge(error), **_retry_after(error)})


def _challenge(error: CbTradeError) -> dict[str, str]:
    """Return what RFC 6750 (section 3) has to be said to whoever came without a good token."""
    if isinstance(error, ScopeMissingError):
        return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{error.details["scope"]}"'}
    if isinstance(error, AuthenticationError):
        is_missing = error.code is ErrorCode.TOKEN_MISSING
        return {"WWW-Authenticate": "Bearer" if is_missing else 'Bearer error="invalid_token"'}
    return {}


def _retry_after(error: CbTradeError) -> dict[str, str]:
    """Return when the same may be asked again, where that is known; RFC 9110 (section 10.2.3) counts whole seconds."""
    return {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after.total_seconds()))}
