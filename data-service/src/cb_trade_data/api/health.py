"""`/health/live` and `/health/ready`: is it there, and can it do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from cb_trade_data.api.condition import ConditionAnswer
from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.exchange_source.interfaces import ExchangeCondition, IDataSourceConnector
from cb_trade_data.exchange_source.once import Once
from cb_trade_data.models.component import Component
from cb_trade_data.models.past_error import PastError
from cb_trade_data.storage.interfaces import IStorageManager

# Longer than a write takes on a bad day, shorter than whoever asks waits for an answer.
_CHECK_SECS: Final = 5.0


@dataclass(frozen=True)
class Readiness:
    """Whether the service can do its work, and how its parts are doing.

    Attributes:
        components: `storage` and `auth_keys`.
        exchanges: By their names.
    """

    is_ending: bool
    components: dict[str, Component]
    exchanges: dict[str, Component]

    @property
    def is_ready(self) -> bool:
        """Whether it is of use to anybody: an exchange that is down, or keys that cannot be read, only degrade it."""
        return not self.is_ending and self.components["storage"].status != "unavailable"

    @property
    def status(self) -> str:
        """All of it in a word."""
        if self.is_ending:
            return "shutting_down"
        if not self.is_ready:
            return "unavailable"
        parts = [*self.components.values(), *self.exchanges.values()]
        return "ok" if all(part.status in ("ok", "unused") for part in parts) else "degraded"

    def to_json(self) -> dict[str, Any]:
        """Return what `/health/ready` tells of it."""
        return {
            "status": self.status,
            "components": {
                **_to_json(self.components.items()),
                "exchanges": _to_json(self.exchanges.items()),
            },
        }


class Health:
    """Looks at all components. Calls no exchange: their state is that of the last call somebody needed."""

    def __init__(
        self,
        storage: IStorageManager,
        source: IDataSourceConnector,
        auth_keys: Callable[[], Component] = Component,
        is_ending: Callable[[], bool] = bool,
    ) -> None:
        """
        Args:
            auth_keys: Tells how what tokens are checked with is doing.
            is_ending: Tells whether the service begins nothing new any more.
        """
        self._storage = storage
        self._source = source
        self._auth_keys = auth_keys
        self._is_ending = is_ending
        # However many ask at once, and however long storage takes: one check.
        self._check = Once(storage.check, keep=False)

    async def look(self) -> Readiness:
        """Return how everything is doing now. Tries to write to storage; answers in seconds even if that hangs."""
        return Readiness(
            self._is_ending(),
            {"storage": await self._look_at_storage(), "auth_keys": self._auth_keys()},
            {name: _exchange(condition) for name, condition in self._source.conditions().items()},
        )

    async def close(self) -> None:
        """End what is under way."""
        await self._check.cancel()

    async def _look_at_storage(self) -> Component:
        try:
            async with asyncio.timeout(_CHECK_SECS):
                await self._check.get()
            problem = self._storage.problem
        except StorageUnavailableError as error:
            problem = str(error)
        except TimeoutError:
            problem = f"storage has not answered for {_CHECK_SECS:g} s"
            return Component("unavailable", problem, PastError(problem))
        if problem is not None:
            return Component("unavailable", problem, self._storage.last_error)
        standing = self._storage.standing_problems
        return Component("degraded" if standing else "ok", _summary(standing), self._storage.last_error)


def health_router(health: Health, storage: IStorageManager, source: IDataSourceConnector) -> APIRouter:
    """Return the health routes."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live")
    async def live() -> dict[str, str]:
        """Answer as long as the process can answer at all."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready() -> JSONResponse:
        """Tell the state of each component, what happened to storage since the start, and how exchanges are doing.

        503 when storage cannot be used, or the service ends; an exchange that is down, or a part of storage that fails,
        only degrades.
        """
        readiness = await health.look()
        answer = readiness.to_json() | {
            "storage": {**storage.counts, "problems": storage.standing_problems},
            "exchanges": {
                name: ConditionAnswer.of(condition).model_dump() for name, condition in source.conditions().items()
            },
        }
        return JSONResponse(answer, HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    return router


def _exchange(condition: ExchangeCondition) -> Component:
    match condition.status:
        case "ok" | "unused" as status:
            return Component(status, None, condition.last_error)
        case problem:
            return Component("degraded", problem, condition.last_error)


def _summary(standing: list[str]) -> str | None:
    match standing:
        case []:
            return None
        case [problem]:
            return problem
        case _:
            return f"{standing[-1]}; and {len(standing) - 1} more"


def _to_json(components: Iterable[tuple[str, Component]]) -> dict[str, Any]:
    return {name: component.to_json() for name, component in components}
