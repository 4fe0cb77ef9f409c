"""Several processes behind one address."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import websockets
from service_harness import SECRET, Client, Reply, RunningService, at, eventually, historical

COMMAND = str(Path(sys.executable).with_name("cb-trade"))
DAY = at("2024-01-01"), at("2024-01-02")

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes are looked for through /proc"),
    pytest.mark.timeout(300),
]


@dataclass
class Crew(RunningService):
    """A service of two workers."""

    process: asyncio.subprocess.Process
    log: Path

    def pids(self) -> list[int]:
        """Return the workers, the oldest first."""
        return workers_of(self.process)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def workers_of(process: asyncio.subprocess.Process) -> list[int]:
    children = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    # Beside them runs what cleans up after Python's shared memory.
    return [pid for pid in children if b"spawn_main" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended just now
        return b""


async def serving(folder: Path, environment: dict[str, str]) -> asyncio.subprocess.Process:
    """Start a service of two workers, which logs to a file of *folder*."""
    with (folder / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            COMMAND,
            "serve",
            "--port=0",
            "--workers=2",
            cwd=folder,
            env=os.environ | {"CB_TRADE_AUTH__SECRET": SECRET} | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )


@asynccontextmanager
async def crew(tmp_path: Path, exchange_url: str, **settings: str) -> AsyncIterator[Crew]:
    """Run one; whatever is left of it at the end is killed."""
    environment = {
        "CB_TRADE_EXCHANGES__BINANCE__BASE_URL": exchange_url,
        "CB_TRADE_STORAGE__ROOT": str(tmp_path / "data"),
        "CB_TRADE_DRAIN_SECS": "0",
        **settings,
    }
    process = await serving(tmp_path, environment)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("listening on http://127.0.0.1:"), (tmp_path / "log").read_text()
    running = Crew(int(line.rsplit(":", 1)[1]), process, tmp_path / "log")
    pids = running.pids()
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        rest = await process.stdout.read()
        await process.wait()
        await eventually(lambda: not any(map(is_alive, pids)))
    assert rest == b""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_all_of_them_answer_and_each_line_of_the_log_tells_which_did(simulator, tmp_path):
    async with crew(tmp_path, simulator.base_url) as service:
        reply = await reply_once_both_have_answered(service)
    told = {line.get("worker") for line in service.lines()}

    assert reply.last["rows"] == 1440
    assert told - {None} == {1, 2}
    assert {line["event"] for line in service.lines() if line.get("worker") is None} <= {"workers.started"}
    assert service.process.returncode == 0


async def test_those_that_die_are_replaced_one_or_all_and_none_outlives_its_parent(simulator, tmp_path):
    """One service goes through all of it: each takes seconds to start."""
    async with crew(tmp_path, simulator.base_url) as service:
        staying, dying = service.pids()
        os.kill(dying, signal.SIGKILL)
        await eventually(lambda: len(service.pids()) == 2 and dying not in service.pids())
        async with service.client() as client:
            after_one = await client.history(*DAY)
        assert staying in service.pids()

        all_of_them = service.pids()
        for pid in all_of_them:
            os.kill(pid, signal.SIGKILL)
        await eventually(lambda: len(set(service.pids()) - set(all_of_them)) == 2)
        async with service.client() as client:
            after_all = await client.history(*DAY)

        orphans = service.pids()
        service.process.kill()
        await eventually(lambda: not any(map(is_alive, orphans)))

    assert after_one.last["rows"] == after_all.last["rows"] == 1440
    assert [line["event"] for line in service.lines() if line["level"] == "error"] == ["worker.died"] * 3


async def test_one_that_cannot_start_any_more_is_told_of_and_tried_again_until_it_can(simulator, tmp_path):
    """As while a package that offers an exchange is replaced; meanwhile the others answer."""
    packages = tmp_path / "packages"
    offer = packages / "broken-1.0.dist-info" / "entry_points.txt"
    offer.parent.mkdir(parents=True)
    (offer.parent / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    path = os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])
    async with crew(tmp_path, simulator.base_url, PYTHONPATH=path) as service:
        staying, dying = service.pids()
        offer.write_text("[cb_trade.exchanges]\nbroken = no_such_module:BROKEN\n")
        os.kill(dying, signal.SIGKILL)
        await eventually(lambda: "worker.refused" in {line["event"] for line in service.lines()})
        async with service.client() as client:
            reply = await client.history(*DAY)
        offer.unlink()
        again = await reply_once_both_have_answered(service)

        assert staying in service.pids()
    [problem] = next(line for line in service.lines() if line["event"] == "worker.refused")["problems"]
    assert "No module named 'no_such_module'" in problem
    assert reply.last["rows"] == again.last["rows"] == 1440
    assert service.process.returncode == 0


async def nobody_listens(service: Crew) -> None:
    """Return once new connections are turned away where they knock; until then they may be refused, or hung up on."""
    while True:
        try:
            async with service.client():
                pass
        except ConnectionRefusedError:
            return
        except (OSError, websockets.WebSocketException):
            continue


async def test_a_signal_is_passed_on_and_streams_are_finished(simulator, tmp_path):
    async with crew(tmp_path, simulator.base_url, CB_TRADE_DRAIN_SECS="600") as service, service.client() as client:
        simulator.hold("klines", after=0)
        await client.send(historical(*DAY))
        await simulator.wait_for_calls("klines", 1)
        service.process.send_signal(signal.SIGINT)
        await nobody_listens(service)
        simulator.release("klines")
        reply = await client.rest()
        code = await client.close_code()

    assert reply.last["rows"] == 1440
    assert code == 1012


async def test_together_they_call_an_exchange_no_more_often_than_one(simulator, tmp_path):
    rate = 40
    months = [(at(f"2023-{month:02}-01"), at(f"2023-{month:02}-15")) for month in range(1, 9)]
    async with (
        crew(tmp_path, simulator.base_url, CB_TRADE_EXCHANGES__BINANCE__CALLS_PER_SEC=str(rate)) as service,
        AsyncExitStack() as stack,
    ):
        clients: list[Client] = []
        while len(clients) < len(months) or workers_asked(service) != {1, 2}:
            clients.append(await stack.enter_async_context(service.client()))
            await clients[-1].ask(historical(*DAY) | {"type": "plan_historical"})
        replies = await asyncio.gather(
            *(client.history(*month) for client, month in zip(clients[-len(months) :], months, strict=True))
        )
    times = simulator.calls.times("klines")

    assert all(reply.last["rows"] == 14 * 1440 for reply in replies)
    # A second's calls may come at once. The second beyond is for calls that are on their way for long.
    assert len(times) <= rate + rate * (max(times) - min(times) + 1)


async def reply_once_both_have_answered(service: Crew) -> Reply:
    """Ask until each of them has answered; return the last reply."""
    reply = Reply()
    while workers_asked(service) != {1, 2}:
        async with service.client() as client:
            reply = await client.history(*DAY)
    return reply


def workers_asked(service: Crew) -> set[int]:
    return {line["worker"] for line in service.lines() if line["event"] == "request"}


async def test_what_is_wrong_with_the_settings_is_told_once_and_nothing_is_left(tmp_path):
    process = await serving(tmp_path, {"CB_TRADE_EXCHANGES__COINSPOT__CALLS_PER_SEC": "1"})
    out, _ = await process.communicate()
    told = (tmp_path / "log").read_text()

    assert (process.returncode, out) == (2, b"")
    assert told.count("CCXT has no candles of coinspot") == 1
    assert "Traceback" not in told


# Its settings are passed on before its socket.
SIGNALLED_WHILE_IT_STARTS_A_WORKER = """
import os, signal
from cb_trade_data.config import Settings
from cb_trade_data.listening import listening_socket
from cb_trade_data.workers import run_workers

class Signalling(Settings):
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return Settings, ()

run_workers(Signalling(workers=2), listening_socket("127.0.0.1", 0), lambda: print("started"))
"""


async def test_a_signal_that_comes_while_one_is_started_ends_all_of_them_in_order(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SIGNALLED_WHILE_IT_STARTS_A_WORKER,
        cwd=tmp_path,
        env=os.environ | {"CB_TRADE_AUTH__SECRET": SECRET},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await process.communicate()

    assert (process.returncode, out) == (0, b"")
    assert b"Traceback" not in told
