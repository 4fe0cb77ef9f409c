"""How fast warm history streams, beside Arrow Flight, naive JSON and what the machine can do at all.

Everything runs on loopback: peers, service and clients are processes of their own, each client a fresh one for each
measurement. Within a round everybody is measured once, in an order of its own and with nobody beside it, unless a
stream is meant to be there; ratios are taken inside a round, and their median over the rounds is told.
"""

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
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from _market import DAY_ROWS, SERIES, START, days, minutes
from _report import machine, parser, table, write

from cb_trade_data.auth.module import create_token
from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts import Layout
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.series_facts import SeriesFacts

_FOLDER: Final = Path(__file__).parent
_BIN: Final = Path(sys.executable).parent
_DAYS: Final = 3_653
_TWO_YEARS: Final = days(0, 731)
_QUARTER: Final = days(0, 92)
_ROUNDS: Final = 5
_TIMES: Final = 8
_JSON_TIMES: Final = 3
_CONNECTIONS: Final = (1, 4, 32)
_DAYS_SECS: Final = 5.0  # long enough for several transfers beside it, and for a 99th percentile
_LEAST_TRANSFERS: Final = 3
_MEBIBYTE: Final = 1024 * 1024
_BAR_BYTES: Final = 48

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
    """Ten years of minutes as files, and everybody who serves them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._secret = secrets.token_urlsafe(48)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("CB_TRADE_")}
        self.token = create_token(
            self._secret, subject="bench", scopes=["data:read"], lifetime=timedelta(hours=2), now=datetime.now(UTC)
        )

    def fill(self) -> None:
        rows = minutes(_DAYS)
        for name, layout in LAYOUTS.items():
            asyncio.run(self._store(LocalFileStorage(self._folder / name, layout()), rows))

    async def _store(self, storage: LocalFileStorage, rows: Any) -> None:
        await storage.save_bulk_entries(SERIES, rows)
        await storage.write_facts(SERIES, SeriesFacts("BTCUSDT", START, START))
        await storage.close()

    @contextmanager
    def service(self, layout: str, *, cache_bytes: int = 128 * _MEBIBYTE) -> Iterator[Process]:
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
    def peer(self, kind: str, layout: str) -> Iterator[Process]:
        command = [sys.executable, str(_FOLDER / "_stream_peers.py"), kind, str(self._folder / layout)]
        process = _started(command, self._environment, self._folder / f"{kind}-{layout}.log")
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
        return self._measured_beside(task, task["beside"]) if "beside" in task else _result(self.client(task))

    def _measured_beside(self, task: dict[str, Any], streamed: dict[str, Any]) -> dict[str, Any]:
        """Measure while another client streams, from before until after.

        The stream's `secs` are those of transfers that began and ended meanwhile.
        """
        stream = self.client(streamed)
        assert stream.stdout is not None
        stream.stdout.readline()  # it is under way
        try:
            found = _result(self.client(task))
        finally:
            stream.send_signal(signal.SIGTERM)
        transfers = _result(stream)["spans"]
        began, ended = found["span"]
        meanwhile = [end - start for start, end in transfers if began <= start and end <= ended]
        if not (transfers[0][0] <= began and ended <= transfers[-1][1]):
            sys.exit("the stream did not last for as long as what was measured beside it")
        if len(meanwhile) < _LEAST_TRANSFERS:
            sys.exit(f"only {len(meanwhile)} transfers of the stream lie inside what was measured beside it")
        return found | {"secs": statistics.median(meanwhile)}


def _result(client: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = client.communicate(timeout=300)
    if client.returncode:
        sys.exit(f"a client failed: {output}")
    found: dict[str, Any] = json.loads(output)
    return found


def _range(wanted: TimeRange) -> dict[str, int]:
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


FLIGHT_MEMORY: Final = ["Flight, from memory, table", "Flight, from memory, batches"]


def _bulk(rig: Rig, rounds: int) -> tuple[str, list[Goal]]:
    with ExitStack() as running:
        enter = running.enter_context
        warm, apart = enter(rig.service("arrow")), enter(rig.service("arrow", cache_bytes=0))
        kept, cold = enter(rig.service("parquet")), enter(rig.service("parquet", cache_bytes=0))
        raw, flight = enter(rig.peer("raw", "arrow")), enter(rig.peer("flight", "arrow"))
        parquet = enter(rig.peer("flight", "parquet"))
        common = {"job": "bulk", "times": _TIMES, **_range(_TWO_YEARS)}

        def ours(who: str, service: Process) -> dict[str, Any]:
            return common | {"who": who, "url": f"ws://127.0.0.1:{service.port}/ws/data", "token": rig.token}

        def theirs(server: Process, source: str, how: str = "table") -> dict[str, Any]:
            return common | {"who": "flight", "port": server.port, "from": source, "how": how}

        tasks = {
            "raw socket": common | {"who": "raw", "port": raw.port},
            "Flight, from memory, table": theirs(flight, "memory"),
            "Flight, from memory, batches": theirs(flight, "memory", "generator"),
            "Flight, `arrow` files": theirs(flight, "files"),
            "Flight, `parquet` files": theirs(parquet, "files"),
            "SDK, from memory": ours("sdk", warm),
            "SDK, `arrow` files": ours("sdk", apart),
            "SDK, `parquet`, read before": ours("sdk", kept),
            "SDK, `parquet` files": ours("sdk", cold),
            "`websockets`, from memory": ours("stock", warm),
        }
        found = Rounds()
        found.run(rig, tasks, rounds)
    rows = [
        [
            name,
            f"{found.median(name, 'secs') * 1000:.1f}",
            f"{found.median(name, 'rows') / found.median(name, 'secs') / 1e6:.0f}",
            f"{found.ratio(name, ['raw socket']):.2f}",
            f"{found.ratio(name, FLIGHT_MEMORY):.2f}",
            f"{found.median(name, 'cpu') * 1000:.1f}",
        ]
        for name in tasks
    ]
    text = table(["who, from where", "ms", "M rows/s", "x raw socket", "x Flight", "client CPU ms"], rows)
    goals = [
        Goal("SDK from memory, x Flight from memory", found.ratio("SDK, from memory", FLIGHT_MEMORY), 1.5),
        Goal("SDK from memory, x raw socket", found.ratio("SDK, from memory", ["raw socket"]), 0.6),
        Goal(
            "SDK from `arrow` files, x Flight from them",
            found.ratio("SDK, `arrow` files", ["Flight, `arrow` files"]),
            1.5,
        ),
        Goal("SDK from `arrow` files, x raw socket", found.ratio("SDK, `arrow` files", ["raw socket"]), 0.6),
        Goal("`websockets` from memory, x Flight", found.ratio("`websockets`, from memory", FLIGHT_MEMORY), 0.9),
        Goal(
            "SDK from `parquet` files, x Flight from them",
            found.ratio("SDK, `parquet` files", ["Flight, `parquet` files"]),
            0.9,
        ),
        Goal(
            "`parquet` read before, x from memory",
            found.ratio("SDK, `parquet`, read before", ["SDK, from memory"]),
            0.9,
        ),
    ]
    return text, goals


def _json(rig: Rig, rounds: int) -> tuple[str, list[Goal]]:
    with rig.service("arrow") as service, rig.peer("naive", "arrow") as naive:
        common = {"job": "bulk", "times": _JSON_TIMES, **_range(_QUARTER)}
        ours = common | {"who": "stock", "url": f"ws://127.0.0.1:{service.port}/ws/data", "token": rig.token}
        tasks = {
            "naive `send_json`": common | {"who": "naive", "port": naive.port},
            "`json`": ours | {"format": "json"},
            "`json_columns`": ours | {"format": "json_columns"},
            "`arrow`": ours,
        }
        found = Rounds()
        found.run(rig, tasks, rounds)
    rows = [
        [name, f"{found.median(name, 'secs') * 1000:.0f}", f"{found.ratio(name, ['naive `send_json`']):.1f}"]
        for name in tasks
    ]
    goals = [
        Goal("`json`, x naive", found.ratio("`json`", ["naive `send_json`"]), 5),
        Goal("`json_columns`, x naive", found.ratio("`json_columns`", ["naive `send_json`"]), 7),
    ]
    return table(["a quarter of minutes as", "ms", "x naive"], rows), goals


def _days(rig: Rig, rounds: int) -> tuple[str, list[Goal]]:
    with rig.service("arrow") as service, rig.peer("flight", "arrow") as flight:
        url = {"url": f"ws://127.0.0.1:{service.port}/ws/data", "token": rig.token}
        tasks: dict[str, dict[str, Any]] = {}
        for connections in _CONNECTIONS:
            common = {"connections": connections, "secs": _DAYS_SECS, "seed": connections, **_range(_TWO_YEARS)}
            tasks[f"ours, {connections}"] = common | url | {"job": "days"}
            tasks[f"Flight, {connections}"] = common | {"job": "flight_days", "port": flight.port}
        streams = {
            "`arrow`": {"who": "sdk", **_range(_TWO_YEARS)},
            "`json`": {"who": "stock", "format": "json", **_range(_QUARTER)},
        }
        for name, stream in streams.items():
            tasks[f"ours, 4, beside a stream of {name}"] = tasks["ours, 4"] | {
                "beside": stream | url | {"job": "stream"}
            }
        bulk = {"job": "bulk", "who": "flight", "port": flight.port, "from": "memory", "times": _TIMES}
        alone = {
            name: bulk | {"how": how, **_range(_TWO_YEARS)}
            for name, how in zip(FLIGHT_MEMORY, ("table", "generator"), strict=True)
        }
        found = Rounds()
        found.run(rig, tasks | alone, rounds)
    rows = [
        [
            name,
            f"{found.median(name, 'per_sec'):,.0f}",
            f"{found.median(name, 'p50') * 1000:.2f}",
            f"{found.median(name, 'p99') * 1000:.2f}",
            f"{found.median(name, 'secs') * 1000:.1f}" if "beside" in task else "",
        ]
        for name, task in tasks.items()
    ]
    goals = [
        Goal("a day, 4 connections, x Flight's requests/s", found.rate("ours, 4", "Flight, 4"), 2.5),
        Goal("a day, 32 connections, x Flight's requests/s", found.rate("ours, 32", "Flight, 32"), 3.5),
        Goal("a day, 32 connections, p99", found.median("ours, 32", "p99") * 1000, 15, is_upper=True, unit="ms"),
        *(
            Goal(
                f"a day beside a stream of {name}, p99",
                found.median(f"ours, 4, beside a stream of {name}", "p99") * 1000,
                5,
                is_upper=True,
                unit="ms",
            )
            for name in streams
        ),
        Goal(
            "that stream of `arrow`, x Flight alone",
            found.ratio("ours, 4, beside a stream of `arrow`", FLIGHT_MEMORY),
            1.3,
        ),
    ]
    head = ["a day of minutes, connections", "requests/s", "p50 ms", "p99 ms", "ms of the stream beside it"]
    return table(head, rows), goals


def _first_chunk(rig: Rig, rounds: int) -> tuple[str, list[Goal]]:
    ranges = {"a day": days(500, 1), "ten years": days(0, _DAYS)}
    with ExitStack() as running:
        services = {
            "from memory": running.enter_context(rig.service("arrow")),
            "`arrow` files": running.enter_context(rig.service("arrow", cache_bytes=0)),
            "`parquet` files": running.enter_context(rig.service("parquet", cache_bytes=0)),
        }
        tasks = {
            f"{source}, {length}": {"job": "first_chunk", "times": 30, **_range(wanted)}
            | {"url": f"ws://127.0.0.1:{service.port}/ws/data", "token": rig.token}
            for source, service in services.items()
            for length, wanted in ranges.items()
        }
        found = Rounds()
        found.run(rig, tasks, rounds)
    rows = [[name, f"{found.median(name, 'secs') * 1000:.2f}"] for name in tasks]
    goals = [
        Goal(
            f"first chunk, {name}",
            found.median(name, "secs") * 1000,
            8 if "parquet" in name else 2,
            is_upper=True,
            unit="ms",
        )
        for name in tasks
    ]
    return table(["first chunk", "ms"], rows), goals


def _memory(rig: Rig) -> tuple[str, list[Goal]]:
    """Return what a stream of ten years, and a client that never reads, add to what the service holds."""
    cache_bytes = 16 * _MEBIBYTE
    warm = days(0, 16)  # the first month there is, and no part of another one
    # Rows of `arrow` files stay in the files, kept or not; others fill what the cache has room for.
    room_bytes = {"arrow": 0, "parquet": cache_bytes - 16 * DAY_ROWS * _BAR_BYTES}
    rows, goals = [], []
    for layout in LAYOUTS:
        with rig.service(layout, cache_bytes=cache_bytes) as service:
            added = _added(rig, service, warm, {"job": "bulk", "who": "stock", "times": 1}) - room_bytes[layout]
            rows.append([f"a stream of ten years, `{layout}`", f"{added / _MEBIBYTE:.1f}"])
            goals.append(Goal(f"memory of a stream, `{layout}`", added / _MEBIBYTE, 25, is_upper=True, unit="MiB"))
    with rig.service("arrow") as service:
        added = _added(rig, service, warm, {"job": "silent"})
        rows.append(["ten years for a client that never reads, `arrow`", f"{added / _MEBIBYTE:.1f}"])
        goals.append(Goal("memory of a client that never reads", added / _MEBIBYTE, 5, is_upper=True, unit="MiB"))
    return table(["added to the service's memory, without its cache", "MiB"], rows), goals


def _added(rig: Rig, service: Process, warm: TimeRange, task: dict[str, Any]) -> int:
    """Return by how many bytes the service grows at most for ten years, once it has answered *warm*."""
    url = {"url": f"ws://127.0.0.1:{service.port}/ws/data", "token": rig.token}
    rig.measured({"job": "bulk", "who": "stock", "times": 1, **_range(warm)} | url)
    before = service.memory_bytes()
    client = rig.client(task | url | _range(days(0, _DAYS)))
    added = _most(service, client) - before
    _result(client)
    return added


def _most(service: Process, client: subprocess.Popen[str]) -> int:
    """Return how much the service held at most while *client* lived."""
    most = 0
    while client.poll() is None:
        most = max(most, service.memory_bytes())
        time.sleep(0.01)
    return most


# --- The run ---


PARTS: Final = {"bulk": _bulk, "json": _json, "days": _days, "first-chunk": _first_chunk}


def _run(names: list[str], rounds: int) -> str:
    texts, goals = [], []
    with tempfile.TemporaryDirectory(prefix="cb-trade-bench-") as folder:
        rig = Rig(Path(folder))
        print("storing ten years of minutes, twice", file=sys.stderr, flush=True)
        rig.fill()
        for name in names:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            text, found = _memory(rig) if name == "memory" else PARTS[name](rig, rounds)
            texts.append(text)
            goals += found
    summary = table(["figure", "measured", "goal", "reached"], [goal.row for goal in goals])
    return (
        f"Two years of minutes, 1,052,640 rows or 50.5 MB; medians of {rounds} rounds; receipts and digests on.\n"
        f"{machine('pyarrow', 'uvicorn', 'websockets', 'picows', 'uvloop')}.\n\n"
        f"{summary}\n\n" + "\n\n".join(texts)
    )


def main() -> None:
    options = parser("stream", __doc__)
    names = [*PARTS, "memory"]
    options.add_argument("--only", action="append", choices=names, help="this part; may be repeated")
    options.add_argument("--rounds", type=int, default=_ROUNDS, help=f"how often (default {_ROUNDS})")
    arguments = options.parse_args()
    text = _run(arguments.only or names, arguments.rounds)
    print(text)
    if arguments.rounds == _ROUNDS and not arguments.only and not arguments.no_write:
        write("stream", text)


if __name__ == "__main__":
    main()
