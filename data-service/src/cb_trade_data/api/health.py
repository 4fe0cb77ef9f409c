"""`/health/live` and `/health/ready`: is it there, and can it do its work."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from cb_trade_data.api.admission import Admission
from cb_trade_data.api.condition import ConditionAnswer
from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.storage.interfaces import IStorageManager


def health_router(storage: IStorageManager, source: IDataSourceConnector, admission: Admission) -> APIRouter:
    """Return the health routes."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live")
    async def live() -> dict[str, str]:
        """Answer as long as the process can answer at all."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready() -> JSONResponse:
        """Tell the state of each component, what happened to storage since the start, and how exchanges are doing.

        503 when storage cannot be used, and when the service ends; an exchange that is down, or a part of storage that
        fails, only degrades. Calls no exchange: their state is that of the last call somebody needed.
        """
        failure = await _storage_failure(storage)
        standing = storage.standing_problems
        conditions = source.conditions()
        exchanges = {name: condition.status for name, condition in conditions.items()}
        is_degraded = bool(standing) or any(state not in {"ok", "unused"} for state in exchanges.values())
        status = "unavailable" if failure else "degraded" if is_degraded else "ok"
        answer = {
            "status": "shutting_down" if admission.is_ending else status,
            "components": {"storage": failure or _summary(standing), "exchanges": exchanges},
            "storage": {**storage.counts, "problems": standing},
            "exchanges": {name: ConditionAnswer.of(each).model_dump() for name, each in conditions.items()},
        }
        is_ready = not failure and not admission.is_ending
        return JSONResponse(answer, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    return router


async def _storage_failure(storage: IStorageManager) -> str | None:
    """Return why storage cannot be used, or None: nothing can be written, or the last thing tried has failed."""
    try:
        await storage.check()
    except StorageUnavailableError as error:
        return str(error)
    return storage.problem


def _summary(standing: list[str]) -> str:
    match standing:
        case []:
            return "ok"
        case [problem]:
            return problem
        case _:
            return f"{standing[-1]}; and {len(standing) - 1} more"
