"""The front door of HTTP: who is asking, and how the service says no; the same words as on the socket."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cb_trade_data.api.admission import Admission
from cb_trade_data.api.incoming import invalid_fields
from cb_trade_data.api.outgoing import defect, error_facts
from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.errors import (
    AuthenticationError,
    CbTradeError,
    ErrorCode,
    ForbiddenError,
    MessageError,
    MethodNotAllowedError,
    QuotaExceededError,
    RequestError,
    ScopeMissingError,
    TemporaryError,
    UnknownPathError,
)

_log = structlog.get_logger(__name__)

_STATUSES: Final[tuple[tuple[type[CbTradeError], int], ...]] = (
    (UnknownPathError, 404),
    (MethodNotAllowedError, 405),
    (RequestError, 400),
    (AuthenticationError, 401),
    (ForbiddenError, 403),
    (QuotaExceededError, 429),
    (TemporaryError, 503),
)

# Of the ways a token may come, only the one that no log and no history of addresses shows.
_bearer = HTTPBearer(bearerFormat="JWT", description="A token with the scope that is needed.", auto_error=False)
BearerToken = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Refusal(BaseModel):
    """Why there is no answer: the facts of an `error_response`."""

    code: ErrorCode = Field(description="What to match on: codes may be added, never renamed.")
    message: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    retry_after_ms: int | None
    details: dict[str, Any]


def _who_asks(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


WhoAsks = Annotated[Principal, Depends(_who_asks)]
"""Whoever the token of a request to a protected route speaks for."""


def protected_router(prefix: str, auth: IAuthenticationModule, admission: Admission) -> APIRouter:
    """Return a router whose routes answer to tokens with `data:read`, and refuse what they do not know."""

    async def admit(request: Request, credentials: BearerToken) -> AsyncIterator[None]:
        principal = await auth.authenticate(None if credentials is None else credentials.credentials)
        request.state.principal = principal
        principal.require("data:read")
        with admission.request(principal.subject):
            yield

    return APIRouter(
        prefix=prefix,
        route_class=RefusingRoute,
        dependencies=[Depends(admit), Depends(_refuse_repeated)],
        responses={"4XX": {"model": Refusal}, "5XX": {"model": Refusal}},
    )


def refusal(error: CbTradeError) -> JSONResponse:
    """Return *error* as an HTTP answer."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    return JSONResponse(error_facts(error), status, {**_challenge(error), **_retry_after(error)})


async def refuse_what_no_route_answers(request: Request, error: Exception) -> Response:
    """Return the framework's own *error* (no such path, or not by this method) in the words of all refusals."""
    if not isinstance(error, HTTPException):
        raise error
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            answer = refusal(UnknownPathError(request.url.path))
        case HTTPStatus.METHOD_NOT_ALLOWED:
            answer = refusal(MethodNotAllowedError(request.method, request.url.path))
        case _:
            return await http_exception_handler(request, error)
    answer.headers.update(error.headers or {})
    return answer


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


def _refuse_repeated(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise MessageError(ErrorCode.INVALID_VALUE, f"{repeated[0]}: given more than once", field=repeated[0])


class RefusingRoute(APIRoute):
    """Turns whatever goes wrong into a refusal with a code."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_or_refuse(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestValidationError as error:
                # A name in a query stands behind the word "query".
                return refusal(invalid_fields(error.errors(), place=1))
            except CbTradeError as error:
                return refusal(error)
            except Exception:  # noqa: BLE001 - told as ours, and logged
                _log.exception("request.defect", path=request.url.path)
                return refusal(defect())

        return answer_or_refuse
