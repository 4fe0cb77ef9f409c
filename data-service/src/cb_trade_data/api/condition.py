"""How an exchange is doing, as `/health/ready` and `/v1/exchanges` tell it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from cb_trade_data.exchange_source.interfaces import ExchangeCondition


class ConditionAnswer(BaseModel):
    """How an exchange is doing, and what we allow ourselves with it."""

    breaker: Literal["closed", "open", "half-open"] = Field(
        description="`closed` while calls go through, `open` while none does, `half-open` while one finds out."
    )
    markets_held_up: int = Field(
        description="Markets for which the same is done, each by itself, because answers about them were nonsense."
    )
    calls_per_sec: float = Field(description="What is allowed now: less after the exchange found it too much.")
    full_calls_per_sec: float = Field(description="What is allowed at most.")
    waiting: int = Field(description="Calls that wait for their turn.")
    under_way: int = Field(description="Calls that wait for the exchange.")
    paused_secs: float = Field(description="How long the exchange wants to be left alone from now on.")

    @classmethod
    def of(cls, condition: ExchangeCondition) -> ConditionAnswer:
        """Return the answer about one exchange."""
        return cls(
            breaker=condition.breaker,
            markets_held_up=condition.markets_held_up,
            calls_per_sec=round(condition.calls_per_sec, 3),
            full_calls_per_sec=round(condition.full_calls_per_sec, 3),
            waiting=condition.waiting,
            under_way=condition.under_way,
            paused_secs=round(condition.paused_secs, 1),
        )
