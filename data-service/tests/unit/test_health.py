"""How the service tells how it feels: from its parts, whatever they do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.api.health import Component, Health
from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.exchange_source.interfaces import ExchangeCondition
from cb_trade_data.models.past_error import PastError

ERROR = PastError("503", at_secs=0.0)
FULL = StorageUnavailableError("part", "disk full")


@dataclass
class Storage:
    """Feels as it is told to."""

    check_error: StorageUnavailableError | None = None
    lasts_secs: float = 0.0
    problem: str | None = None
    standing_problems: list[str] = field(default_factory=list)
    last_error: PastError | None = None
    checks: int = 0

    async def check(self) -> None:
        self.checks += 1
        await asyncio.sleep(self.lasts_secs)
        if self.check_error is not None:
            raise self.check_error


@dataclass
class Source:
    condition: ExchangeCondition = field(default_factory=ExchangeCondition)

    def conditions(self) -> dict[str, ExchangeCondition]:
        return {"binance": self.condition}


@pytest.mark.parametrize(
    ("storage", "exchange", "status", "is_ready"),
    [
        (Storage(), "unused", "ok", True),
        (Storage(last_error=ERROR), "ok", "ok", True),
        (Storage(), "HTTP 503", "degraded", True),
        (Storage(standing_problems=["one"]), "ok", "degraded", True),
        (Storage(problem="the last write failed"), "ok", "unavailable", False),
        (Storage(check_error=FULL), "ok", "unavailable", False),
        (Storage(check_error=FULL), "HTTP 503", "unavailable", False),
    ],
)
@in_virtual_time
async def test_only_storage_that_cannot_be_used_makes_it_unready(storage, exchange, status, is_ready):
    readiness = await Health(storage, Source(ExchangeCondition(exchange))).look()

    assert (readiness.status, readiness.is_ready) == (status, is_ready)


@in_virtual_time
async def test_keys_that_cannot_be_had_degrade_it():
    keys = Component("unavailable", "no keys", ERROR)

    readiness = await Health(Storage(), Source(), auth_keys=lambda: keys).look()

    assert (readiness.status, readiness.is_ready) == ("degraded", True)
    assert readiness.to_json()["components"]["auth_keys"]["problem"] == "no keys"


@in_virtual_time
async def test_a_service_that_ends_is_not_ready_however_well_it_is():
    readiness = await Health(Storage(), Source(), is_ending=lambda: True).look()

    assert (readiness.status, readiness.is_ready) == ("shutting_down", False)


@in_virtual_time
async def test_a_component_tells_its_problem_and_its_last_error_with_its_age():
    exchange = ExchangeCondition("HTTP 503", last_error=PastError("HTTP 503"))

    told = (await Health(Storage(standing_problems=["one", "two"]), Source(exchange)).look()).to_json()["components"]

    assert told["storage"] == {
        "status": "degraded",
        "problem": "two; and 1 more",
        "last_error": None,
        "last_error_age_secs": None,
    }
    age_secs = told["exchanges"]["binance"].pop("last_error_age_secs")
    assert told["exchanges"]["binance"] == {"status": "degraded", "problem": "HTTP 503", "last_error": "HTTP 503"}
    assert 0 <= age_secs < 60


@in_virtual_time
async def test_storage_that_hangs_is_told_as_such_within_seconds():
    """Whoever looks after the service does not wait for a network disk that is gone."""
    health = Health(Storage(lasts_secs=3600), Source())

    readiness = await health.look()

    assert not readiness.is_ready
    assert readiness.components["storage"].problem == "storage has not answered for 5 s"
    assert now_secs() == 5
    await health.close()


@in_virtual_time
async def test_many_who_ask_at_once_cost_one_check():
    storage = Storage(lasts_secs=1)
    health = Health(storage, Source())

    await asyncio.gather(*(health.look() for _ in range(100)))

    assert storage.checks == 1
