"""How a part of the service is doing, in the words of `/health/ready`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cb_trade_data.models.past_error import PastError


@dataclass(frozen=True)
class Component:
    """How a part of the service is doing.

    Attributes:
        status: `degraded` where only some of its work fails, `unused` where nobody has needed it yet.
        problem: What is wrong now, as a sentence; None where nothing is.
        last_error: What went wrong the last time, whatever has succeeded since.
    """

    status: Literal["ok", "unused", "degraded", "unavailable"] = "ok"
    problem: str | None = None
    last_error: PastError | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the component as `/health/ready` tells it."""
        error = self.last_error
        return {
            "status": self.status,
            "problem": self.problem,
            "last_error": None if error is None else error.reason,
            "last_error_age_secs": None if error is None else round(error.age_secs, 1),
        }
