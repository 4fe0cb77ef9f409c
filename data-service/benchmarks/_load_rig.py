"""A simulated exchange and the service in front of it, as processes that are watched, ended and killed."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cb_trade_data.auth.module import create_token

_FOLDER: Final = Path(__file__).parent
_SUPPORT: Final = _FOLDER.parent / "tests" / "support"
_CB_TRADE: Final = Path(sys.executable).with_name("cb-trade")
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ENDING_SECS: Final = 30
MEBIBYTE: Final = 1024 * 1024
_CACHE_BYTES: Final = 32 * MEBIBYTE
# What its clock shows; what is asked lies long before.
PRESENT: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Rig:
    """A service on a port of its own, which it has again when it comes back.

    Attributes:
        port: Of the service.
        token: A good one.
        log: Of the service, all its processes one after the other.
    """

    def __init__(self, folder: Path, exchange_url: str, environment: dict[str, str]) -> None:
        self._secret = secrets.token_urlsafe(48)
        self._folder = folder
        self._exchange_url = exchange_url
        self._process: subprocess.Popen[str] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.log = folder / "serve.log"
        self.token = create_token(
            self._secret,
            subject="bench",
            scopes=["data:read", "data:refresh"],
            lifetime=timedelta(hours=4),
            now=datetime.now(UTC),
        )
        self._environment = environment | {
            "CB_TRADE_STORAGE__ROOT": str(folder / "data"),
            "CB_TRADE_STORAGE__CACHE_MAX_BYTES": str(_CACHE_BYTES),
            "CB_TRADE_AUTH__SECRET": self._secret,
            # All clients here are one subject, and more than one may have.
            "CB_TRADE_LIMITS__CONNECTIONS_PER_SUBJECT": "2000",
        }

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, exchange_url: str | None = None, **settings: str) -> None:
        """Run the service. *exchange_url*: in place of the simulator's; *settings*: without their prefix."""
        environment = self._environment | {
            "CB_TRADE_EXCHANGES__BINANCE__BASE_URL": f"{exchange_url or self._exchange_url}/h",
            **{f"CB_TRADE_{name}": value for name, value in settings.items()},
        }
        with self.log.open("a") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [str(_CB_TRADE), "serve", "--port", str(self.port)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self._folder,
            )
        assert self._process.stdout is not None
        if "listening on" not in self._process.stdout.readline():
            sys.exit(f"the service did not start: {self.log.read_text()[-2_000:]}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal, and wait until it is gone."""
        assert self._process is not None
        if self._process.poll() is not None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(_ENDING_SECS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def is_alive(self) -> bool:
        """Return whether it lives, and says so."""
        assert self._process is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/live", timeout=10) as answer:
            return answer.status == 200 and self._process.poll() is None

    def memory_bytes(self, *, peak: bool = False) -> int:
        """Return what it holds of its own now; *peak*: the most it ever held, mapped files included."""
        name = "VmHWM" if peak else "RssAnon"
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def cpu_secs(self) -> float:
        """Return what it has worked so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS

    def defects(self) -> int:
        """Return how many lines of the log tell of something that should not have happened."""
        with self.log.open(errors="replace") as lines:
            return sum("request.defect" in line or "Traceback" in line for line in lines)

    def client(self, job: str, **task: Any) -> subprocess.Popen[str]:
        """Start a client process; see `_load_clients`."""
        task |= {"job": job, "port": self.port, "token": task.get("token", self.token)}
        environment = self._environment | {"PYTHONPATH": os.pathsep.join([str(_SUPPORT), *filter(None, sys.path)])}
        return subprocess.Popen(  # noqa: S603
            [sys.executable, str(_FOLDER / "_load_clients.py"), json.dumps(task)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def steer(self, method: str, path: str) -> Any:
        """Ask or tell the simulator something."""
        request = urllib.request.Request(f"{self._exchange_url}{path}", method=method)  # noqa: S310 - our own program
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def verified(self) -> dict[str, Any]:
        """Return what `cb-trade storage verify` says of what is stored; for a service that has ended."""
        done = subprocess.run(  # noqa: S603
            [str(_CB_TRADE), "storage", "verify", "--json"],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd=self._folder,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def result(client: subprocess.Popen[str], timeout_secs: float) -> dict[str, Any]:
    """Return a client's last word."""
    try:
        output, _ = client.communicate(timeout=timeout_secs)
    finally:
        client.kill()
    if client.returncode:
        sys.exit(f"a client failed: {output[-2_000:]}")
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


@contextmanager
def running_rig(folder: Path, *faults: str) -> Iterator[Rig]:
    """Run a simulator with *faults*, and a service in front of it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CB_TRADE_")}
    options = [part for fault in faults for part in ("--fault", fault)]
    with (folder / "simulate.log").open("w") as log:
        simulator = subprocess.Popen(  # noqa: S603
            [str(_CB_TRADE), "simulate", "--port", "0", "--now", PRESENT.isoformat(), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
        )
    assert simulator.stdout is not None
    try:
        line = simulator.stdout.readline()
        if "listening on" not in line:
            sys.exit(f"the simulator did not start: {(folder / 'simulate.log').read_text()}")
        rig = Rig(folder, line.rsplit(" ", 1)[1].strip(), environment)
        rig.start()
        try:
            yield rig
        finally:
            rig.end()
    finally:
        simulator.terminate()
        simulator.wait()
        simulator.stdout.close()
