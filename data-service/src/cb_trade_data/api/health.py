"""`/health/live` and `/health/ready`: is it there, and can it do its work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.storage.interfaces import IStorageManager


def health_router(storage: IStorageManager, source: IDataSourceConnector) -> APIRouter:
    """Return the health routes."""
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live")
    async def live() -> dict[str, str]:
        """Answer as long as the process can answer at all."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready() -> JSONResponse:
        """Tell the state of each component: 503 when storage cannot be used; an exchange that is down only degrades.

        Calls no exchange: their state is that of the last call somebody needed.
        """
        components: dict[str, Any] = {"storage": await _storage_state(storage), "exchanges": source.health()}
        if components["storage"] != "ok":
            return JSONResponse({"status": "unavailable", "components": components}, 503)
        degraded = any(state not in {"ok", "unused"} for state in components["exchanges"].values())
        return JSONResponse({"status": "degraded" if degraded else "ok", "components": components})

    return router


async def _storage_state(storage: IStorageManager) -> str:
    try:
        await storage.check()
    except StorageUnavailableError as error:
        return str(error)
    return storage.problem or "ok"
