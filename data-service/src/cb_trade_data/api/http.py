"""The front door of HTTP: who is asking, and what becomes of it when something is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from cb_trade_data.api.admission import Admission
from cb_trade_data.api.http_stories import HttpStories
from cb_trade_data.api.incoming import invalid_fields
from cb_trade_data.api.outgoing import defect
from cb_trade_data.api.refusals import Refusal, RefusalResponse
from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.errors import (
    CbTradeError,
    ErrorCode,
    MessageError,
    MethodNotAllowedError,
    UnknownPathError,
)

_log = structlog.get_logger(__name__)

# Of the ways a token may come, only the one that no log and no history of addresses shows.
_bearer = HTTPBearer(bearerFormat="JWT", description="A token with the scope that is needed.", auto_error=False)
BearerToken = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _who_asks(request: Request) -> Principal:
    principal: Principal = request.state.principal
    return principal


WhoAsks = Annotated[Principal, Depends(_who_asks)]
"""Whoever the token of a request to a protected route speaks for."""


def protected_router(prefix: str, auth: IAuthenticationModule, admission: Admission, stories: HttpStories) -> APIRouter:
    """Return a router whose routes answer to tokens with `data:read`, and refuse what they do not know.

    What becomes of each request is told, also of those that are refused.
    """

    class ToldRoute(RefusingRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            return partial(stories.tell, self.path, super().get_route_handler())

    async def admit(request: Request, credentials: BearerToken) -> AsyncIterator[None]:
        principal = await auth.authenticate(None if credentials is None else credentials.credentials)
        request.state.principal = principal
        principal.require("data:read")
        with admission.request(principal.subject):
            yield

    return APIRouter(
        prefix=prefix,
        route_class=ToldRoute,
        dependencies=[Depends(admit), Depends(_refuse_repeated)],
        responses={"4XX": {"model": Refusal}, "5XX": {"model": Refusal}},
    )


def refusing_what_no_route_answers(
    stories: HttpStories, told_below: str
) -> Callable[[Request, Exception], Coroutine[Any, Any, Response]]:
    """Return what refuses requests that no route answers, and tells of those below a path, which is then their type."""

    async def refuse(request: Request, error: Exception) -> Response:
        if not f"{request.url.path}/".startswith(f"{told_below}/"):
            return await _refusal_of_what_no_route_answers(request, error)
        return await stories.tell(told_below, lambda _: _refusal_of_what_no_route_answers(request, error), request)

    return refuse


async def _refusal_of_what_no_route_answers(request: Request, error: Exception) -> Response:
    """Return the framework's own *error* (no such path, or not by this method) in the words of all refusals."""
    if not isinstance(error, HTTPException):
        raise error
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            answer = RefusalResponse(UnknownPathError(request.url.path))
        case HTTPStatus.METHOD_NOT_ALLOWED:
            answer = RefusalResponse(MethodNotAllowedError(request.method, request.url.path))
        case _:
            return await http_exception_handler(request, error)
    answer.headers.update(error.headers or {})
    return answer


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
                return RefusalResponse(invalid_fields(error.errors(), place=1))
            except CbTradeError as error:
                return RefusalResponse(error)
            except Exception:  # noqa: BLE001 - told as ours, and logged
                _log.exception("request.defect", path=request.url.path)
                return RefusalResponse(defect())

        return answer_or_refuse
