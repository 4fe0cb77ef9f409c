"""Everybody who serves stored rows or asks for them, as processes of their own, and what measuring them gives."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from _report import table

from cb_trade_data.auth.module import create_token
from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.market import slice_range
from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

_FOLDER: Final = Path(__file__).parent
_BIN: Final = Path(sys.executable).parent
_LEAST_TRANSFERS: Final = 3
MEBIBYTE: Final = 1024 * 1024

LAYOUTS: Final[dict[str, Callable[[], Layout]]] = {"arrow": ArrowLayout, "parquet": ParquetLayout}


# --- Processes ---


@dataclass
class Process:
    """A server under measurement."""

    process: subprocess.Popen[str]
    port: int

    def memory_bytes(self) -> int:
        """Return what it holds of its own now: mapped files belong to the operating system."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _started(command: list[str], environment: dict[str, str], log: Path) -> Process:
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own programs
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=log.parent
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{' '.join(command)} did not start:\n{log.read_text()}")
    return Process(process, int(line.rsplit(":", 1)[-1]))


class Rig:
    """Files of stored rows in each layout, and everybody who serves them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secret = secrets.token_urlsafe(48)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("CB_TRADE_")}
        self.token = create_token(
            self._secret, subject="bench", scopes=["data:read"], lifetime=timedelta(hours=2), now=datetime.now(UTC)
        )

    def store(self, series: Series, rows: pa.Table, held: TimeRange) -> None:
        """Store *rows* in each layout: all there are of *held*, with which the series begins."""
        for name, layout in LAYOUTS.items():
            asyncio.run(self._store(LocalFileStorage(self._folder / name, layout()), series, rows, held))

    async def _store(self, storage: LocalFileStorage, series: Series, rows: pa.Table, held: TimeRange) -> None:
        manager = StorageManagerImpl(storage)
        for partition, part in partitions_of(series, held):
            change = Change(slice_range(rows, part), (Segment(part, State.HELD),))
            await manager.commit(StoredPartition.empty(partition), [change])
        await manager.commit_facts(series, SeriesFacts("BTCUSDT", held.start, held.start))
        await manager.close()

    def chill(self, layout: str) -> None:
        """Have the operating system forget the files of a layout: who reads them next reads from the disk."""
        os.sync()  # what is not on the disk yet is not forgotten
        for path in (self._folder / layout).rglob("part*"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    @contextmanager
    def service(self, layout: str, *, cache_bytes: int = 128 * MEBIBYTE) -> Iterator[Process]:
        """Run the service over the files of a layout. Its exchange is nowhere: storage settles all that is asked."""
        environment = self._environment | {
            "CB_TRADE_STORAGE__ROOT": str(self._folder / layout),
            "CB_TRADE_STORAGE__LAYOUT": layout,
            "CB_TRADE_STORAGE__CACHE_MAX_BYTES": str(cache_bytes),
            "CB_TRADE_AUTH__SECRET": self._secret,
            "CB_TRADE_EXCHANGES__BINANCE__BASE_URL": "http://127.0.0.1:9/h",
        }
        command = [str(_BIN / "cb-trade"), "serve", "--port", "0"]
        process = _started(command, environment, self._folder / f"serve-{layout}-{cache_bytes}.log")
        try:
            yield process
        finally:
            process.end()

    @contextmanager
    def peer(self, who: str, layout: str, kind: Kind = Kind.OHLCV) -> Iterator[Process]:
        """Run a peer over the rows of that kind."""
        command = [sys.executable, str(_FOLDER / "_stream_peers.py"), who, str(self._folder / layout / kind)]
        process = _started(command, self._environment, self._folder / f"{who}-{layout}-{kind}.log")
        try:
            yield process
        finally:
            process.end()

    def client(self, task: dict[str, Any]) -> subprocess.Popen[str]:
        """Start a client; its last word is its result."""
        command = [sys.executable, str(_FOLDER / "_stream_clients.py"), json.dumps(task)]
        return subprocess.Popen(  # noqa: S603
            command, env=self._environment, stdout=subprocess.PIPE, text=True
        )

    def measured(self, task: dict[str, Any]) -> dict[str, Any]:
        """Return a client's result; beside the stream that the task names, if it names one."""
        return self._measured_beside(task, task["beside"]) if "beside" in task else result(self.client(task))

    def _measured_beside(self, task: dict[str, Any], streamed: dict[str, Any]) -> dict[str, Any]:
        """Measure while another client streams, from before until after.

        The stream's `secs` are those of transfers that began and ended meanwhile.
        """
        stream = self.client(streamed)
        assert stream.stdout is not None
        stream.stdout.readline()  # it is under way
        try:
            found = result(self.client(task))
        finally:
            stream.send_signal(signal.SIGTERM)
        transfers = result(stream)["spans"]
        began, ended = found["span"]
        meanwhile = [end - start for start, end in transfers if began <= start and end <= ended]
        if not (transfers[0][0] <= began and ended <= transfers[-1][1]):
            sys.exit("the stream did not last for as long as what was measured beside it")
        if len(meanwhile) < _LEAST_TRANSFERS:
            sys.exit(f"only {len(meanwhile)} transfers of the stream lie inside what was measured beside it")
        return found | {"secs": statistics.median(meanwhile)}


@dataclass(frozen=True)
class Transfers:
    """What everybody is told who is to transfer the same rows.

    Attributes:
        common: What all are told.
        token: The service's.
    """

    common: dict[str, Any]
    token: str

    def raw(self, server: Process) -> dict[str, Any]:
        """Return the task of who takes bytes from a socket, and looks at none."""
        return self.common | {"who": "raw", "port": server.port}

    def ours(self, who: str, service: Process) -> dict[str, Any]:
        """Return the task of a client of the service."""
        return self.common | {"who": who, "url": f"ws://127.0.0.1:{service.port}/ws/data", "token": self.token}

    def flight(self, server: Process, source: str, how: str = "table") -> dict[str, Any]:
        """Return the task of a client of Flight."""
        return self.common | {"who": "flight", "port": server.port, "from": source, "how": how}


def result(client: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a client found, once it has ended."""
    output, _ = client.communicate(timeout=300)
    if client.returncode:
        sys.exit(f"a client failed: {output}")
    found: dict[str, Any] = json.loads(output)
    return found


def ranged(wanted: TimeRange) -> dict[str, int]:
    """Return *wanted* as tasks tell it."""
    return {"start": to_ms(wanted.start), "end": to_ms(wanted.end)}


# --- Rounds ---


@dataclass
class Rounds:
    """What was measured, by who it was, a value for each round."""

    results: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def run(self, rig: Rig, tasks: dict[str, dict[str, Any]], rounds: int) -> None:
        """Measure everybody once a round, in another order each time."""
        for number in range(rounds):
            for name in random.Random(number).sample(sorted(tasks), len(tasks)):  # noqa: S311
                self.results[name].append(rig.measured(tasks[name]))

    def median(self, name: str, what: str) -> float:
        return float(statistics.median(each[what] for each in self.results[name]))

    def ratio(self, name: str, peers: list[str], what: str = "secs") -> float:
        """Return how many times faster it was than the fastest of *peers*, round by round; the median."""
        fastest = (min(self.results[peer][number][what] for peer in peers) for number in range(len(self.results[name])))
        pairs = zip(fastest, self.results[name], strict=True)
        return float(statistics.median(other / each[what] for other, each in pairs))

    def rate(self, name: str, peer: str) -> float:
        """Return how many times more often it answered, round by round; the median."""
        pairs = zip(self.results[name], self.results[peer], strict=True)
        return float(statistics.median(one["per_sec"] / other["per_sec"] for one, other in pairs))


@dataclass(frozen=True)
class Goal:
    """A figure, what it should be, and whether it is."""

    what: str
    value: float
    bound: float
    is_upper: bool = False
    unit: str = ""

    @property
    def row(self) -> list[str]:
        is_reached = self.value <= self.bound if self.is_upper else self.value >= self.bound
        sign = "≤" if self.is_upper else "≥"
        return [
            self.what,
            f"{self.value:.2f} {self.unit}".strip(),
            f"{sign} {self.bound:g} {self.unit}".strip(),
            "yes" if is_reached else "**no**",
        ]


# --- All of a range ---


FLIGHT_MEMORY: Final = ["Flight, from memory, table", "Flight, from memory, batches"]


def bulk_table(found: Rounds, names: Iterable[str]) -> str:
    """Return how long everybody took for the same rows."""
    rows = [
        [
            name,
            f"{found.median(name, 'secs') * 1000:.1f}",
            f"{found.median(name, 'rows') / found.median(name, 'secs') / 1e6:.0f}",
            f"{found.ratio(name, ['raw socket']):.2f}",
            f"{found.ratio(name, FLIGHT_MEMORY):.2f}",
            f"{found.median(name, 'cpu') * 1000:.1f}",
        ]
        for name in names
    ]
    return table(["who, from where", "ms", "M rows/s", "x raw socket", "x Flight", "client CPU ms"], rows)


# --- Memory ---


def added_bytes(rig: Rig, service: Process, warm: dict[str, Any], task: dict[str, Any]) -> int:
    """Return by how many bytes the service grows at most for the client of *task*, once it has answered *warm*."""
    url = {"url": f"ws://127.0.0.1:{service.port}/ws/data", "token": rig.token}
    rig.measured({"job": "bulk", "who": "stock", "times": 1} | warm | url)
    before = service.memory_bytes()
    client = rig.client(task | url)
    most = 0
    while client.poll() is None:
        most = max(most, service.memory_bytes())
        time.sleep(0.01)
    result(client)
    return most - before
