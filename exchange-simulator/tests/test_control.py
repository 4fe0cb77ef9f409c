"""Steering a running simulator from outside: its clock, faults and limits over HTTP, and as options of the command."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from cb_trade_simulator import ExchangeSimulator, ManualClock, RunningClock, SimulatorError, SystemClock
from cb_trade_simulator.clock import to_milliseconds

from .conftest import NOW
from .test_commands import COMMAND

KLINES = "h/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3"


class Remote:
    """The simulator as another process sees it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def __call__(self, method: str, path: str, **document: Any) -> tuple[int, Any]:
        body = {"data": json.dumps(document)} if document else {}
        async with self._session.request(method, f"{self._url}/{path}", **body) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith(("{", "[")) else text


@pytest.fixture
async def remote(simulator: ExchangeSimulator) -> AsyncIterator[Remote]:
    async with aiohttp.ClientSession() as session:
        yield Remote(session, simulator.url)


async def test_the_clock_is_told_and_moved_while_serving(remote, clock):
    assert await remote("GET", "_clock") == (200, {"now": NOW.isoformat(), "now_ms": to_milliseconds(NOW)})

    assert (await remote("POST", "_clock", advance_secs=90))[1]["now_ms"] == to_milliseconds(NOW) + 90_000
    assert clock.now() == NOW + timedelta(seconds=90)
    await remote("POST", "_clock", now="2023-01-01T00:00:00Z")
    assert clock.now() == datetime(2023, 1, 1, tzinfo=UTC)
    await remote("POST", "_clock", now=to_milliseconds(NOW))
    assert clock.now() == NOW
    assert (await remote("GET", "h/api.binance.com/api/v3/time"))[1] == {"serverTime": to_milliseconds(NOW)}


@pytest.mark.parametrize("wish", [{"now": "noon"}, {"now": "2024-05-01T12:00:00"}, {"advance_secs": "x"}, {"then": 1}])
async def test_a_clock_is_not_moved_by_nonsense(wish, remote, clock):
    status, problem = await remote("POST", "_clock", **wish)

    assert status == 400
    assert "now or advance_secs" in problem
    assert clock.now() == NOW


async def test_faults_are_injected_told_and_cleared(remote, simulator):
    status, told = await remote("POST", "_faults", fault="503", times=1)
    assert status == 200
    assert told["pending"] == [{"fault": "503", "endpoint": "klines", "times": 1, "probability": 1.0}]

    assert (await remote("GET", KLINES))[0] == 503
    assert (await remote("GET", KLINES))[0] == 200
    assert (await remote("GET", "_faults"))[1] == {"pending": [], "met": 1}
    await remote("POST", "_faults", fault="429@*")
    assert (await remote("GET", "h/api.binance.com/api/v3/ping"))[0] == 429
    assert (await remote("GET", KLINES))[0] == 429
    assert (await remote("DELETE", "_faults"))[0] == 204
    assert (await remote("GET", KLINES))[0] == 200


@pytest.mark.parametrize("wish", [{"fault": "meteor"}, {"times": 1}, {"fault": "delist=NOPE,2024-01-01"}])
async def test_a_fault_that_makes_no_sense_is_a_400(wish, remote):
    status, problem = await remote("POST", "_faults", **wish)

    assert status == 400
    assert problem.startswith("send a fault: ")


async def test_a_body_that_is_no_json_object_is_a_400(remote, simulator):
    async with aiohttp.ClientSession() as session:
        for body in ("{", "[]"):
            async with session.post(f"{simulator.url}/_faults", data=body) as response:
                assert response.status == 400


async def test_limits_are_switched(remote, simulator):
    assert (await remote("POST", "_limits", enforced=True, speed=1e-6))[1] == {"enforced": True, "refused": {}}
    assert [simulator.limits.retry_after_secs("use up", ("spot", 6000)) is None for _ in range(2)] == [True, False]
    assert (await remote("GET", KLINES))[0] == 429
    assert (await remote("GET", "_calls"))[1]["refused"] == {"use up": 1, "klines": 1}
    await remote("DELETE", "_calls")
    assert (await remote("GET", "_limits"))[1] == {"enforced": True, "refused": {}}
    assert (await remote("POST", "_limits", enforced=False))[1]["enforced"] is False
    assert (await remote("GET", KLINES))[0] == 200
    assert (await remote("POST", "_limits", enforced=True, speed=0))[0] == 400


def test_a_running_clock_runs_on_from_where_it_is_put():
    clock = RunningClock(NOW)

    first = clock.now()
    assert NOW <= first < NOW + timedelta(minutes=1)
    assert clock.now() >= first
    clock.advance(timedelta(days=1))
    assert NOW + timedelta(days=1) <= clock.now() < NOW + timedelta(days=1, minutes=1)
    clock.set(NOW)
    assert clock.now() < NOW + timedelta(minutes=1)


def test_the_machines_clock_is_not_moved():
    with pytest.raises(SimulatorError, match="cannot be moved"):
        ExchangeSimulator(clock=SystemClock()).set_clock(NOW)
    moved = ExchangeSimulator(clock=ManualClock(NOW))
    moved.advance_clock(timedelta(hours=1))
    assert moved.clock.now() == NOW + timedelta(hours=1)


def test_the_command_takes_an_exchange_a_time_faults_and_limits():
    options = ["--exchange", "okx", "--port", "0", "--now", "2024-05-01T12:00", "--limits", "--fault", "503@time"]
    with subprocess.Popen([*COMMAND, *options], stdout=-1, stderr=-1, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        with urllib.request.urlopen(f"{url}/_clock") as response:  # noqa: S310
            now = datetime.fromisoformat(json.load(response)["now"])
        with urllib.request.urlopen(f"{url}/_limits") as response:  # noqa: S310
            limits = json.load(response)
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(f"{url}/h/www.okx.com/api/v5/public/time")  # noqa: S310
        refused.value.close()
        process.send_signal(signal.SIGTERM)
        _, hint = process.communicate(timeout=10)

    assert datetime(2024, 5, 1, 12, tzinfo=UTC) <= now < datetime(2024, 5, 1, 13, tzinfo=UTC)
    assert limits["enforced"] is True
    assert "CB_TRADE_EXCHANGES__OKX__BASE_URL" in hint


@pytest.mark.parametrize("options", [["--fault", "meteor"], ["--now", "noon"]])
def test_options_that_make_no_sense_are_one_clear_line(options):
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)  # noqa: S603

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert options[1] in done.stderr
