"""What many clients cost, how little the hostile ones achieve, and whether ten minutes of trouble leave all rows right.

Everything runs on loopback: exchange, service and clients are processes of their own.
"""

from __future__ import annotations

import resource
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from _load_rig import MEBIBYTE, PRESENT, Rig, result, running_rig
from _report import machine, parser, table, write

from cb_trade_data.auth.module import create_token

_IDLE: Final = 1_000
_IDLE_GOAL_BYTES: Final = 64 * 1024
_CLIENTS: Final = 200
_ACTIVE_SECS: Final = 30
_ACTIVE_DAYS: Final = 28
_P99_GOAL_MS: Final = 100
_REJECTING_SECS: Final = 10
_REJECTING_CLIENTS: Final = 2
_REJECTIONS_GOAL: Final = 1_000
_FRAMES: Final = 1_000_000
_FUZZING_CLIENTS: Final = 4
_BREACHES_PER_FRAMES: Final = 50
_MIXED_CLIENTS: Final = 24
_MINUTES: Final = 10.0
_FAULTS: Final = ("429:0.01", "503:0.03", "reset:0.03")
# What the allocator may keep of what was given back to it.
_SLACK_BYTES: Final = 32 * MEBIBYTE
_HOUR_SECS: Final = 3_600
_NOWHERE: Final = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Scale:
    """How much of everything there is to be."""

    frames: int = _FRAMES
    minutes: float = _MINUTES
    secs: int = _ACTIVE_SECS


@dataclass(frozen=True)
class Figure:
    """What was measured, what it should be, and whether it is; without a goal, for information."""

    what: str
    found: str
    goal: str = ""
    is_reached: bool | None = None

    @property
    def row(self) -> list[str]:
        reached = {True: "yes", False: "**no**", None: ""}[self.is_reached]
        return [self.what, self.found, self.goal, reached]


def _none(what: str, count: int) -> Figure:
    return Figure(what, f"{count:,}", "0", count == 0)


def _back(what: str, before: int, after: int, slack_bytes: int = _SLACK_BYTES) -> Figure:
    grown = after - before
    return Figure(what, f"{grown / MEBIBYTE:+.1f} MiB", f"≤ {slack_bytes // MEBIBYTE} MiB", grown <= slack_bytes)


# --- Many that are quiet ---


def _idle(rig: Rig, _: Scale) -> list[Figure]:
    _hold(rig, 100)  # so that what is made once is there
    before = rig.memory_bytes()
    during = _hold(rig, _IDLE)
    each = (during - before) / _IDLE
    return [
        Figure(
            f"{_IDLE:,} idle connections with a token, each",
            f"{each / 1024:.1f} KiB",
            f"≤ {_IDLE_GOAL_BYTES // 1024} KiB",
            each <= _IDLE_GOAL_BYTES,
        )
    ]


def _hold(rig: Rig, connections: int) -> int:
    """Return the service's memory while so many connections are open."""
    client = rig.client("idle", connections=connections)
    assert client.stdout is not None
    if client.stdout.readline().strip() != "ready":
        sys.exit("the clients could not connect")
    memory_bytes = rig.memory_bytes()
    result(client, 60)
    return memory_bytes


# --- Many that ask ---


def _active(rig: Rig, scale: Scale) -> list[Figure]:
    task = {"clients": _CLIENTS, "days": _ACTIVE_DAYS}
    result(rig.client("active", secs=2, **task), 300)  # all that is asked for is stored by then
    cpu = rig.cpu_secs()
    times_ms = result(rig.client("active", secs=scale.secs, **task), 300)["times_ms"]
    cpu_ms = (rig.cpu_secs() - cpu) * 1000 / len(times_ms)
    p99 = statistics.quantiles(times_ms, n=100)[98]
    return [
        Figure(
            f"{_CLIENTS} clients that ask once a second for a day of 5-minute bars, 99th percentile",
            f"{p99:.1f} ms",
            f"< {_P99_GOAL_MS} ms",
            p99 < _P99_GOAL_MS,
        ),
        Figure("the same, median", f"{statistics.median(times_ms):.1f} ms"),
        Figure("the same, CPU of the service for each", f"{cpu_ms:.2f} ms"),
    ]


# --- Many that may not ---


def _rejections(rig: Rig, scale: Scale) -> list[Figure]:
    stranger = create_token(
        "the secret of somebody else " * 2, subject="x", scopes=[], lifetime=timedelta(hours=1), now=datetime.now(UTC)
    )
    secs = min(_REJECTING_SECS, scale.secs)
    cpu = rig.cpu_secs()
    clients = [rig.client("rejected", secs=secs, token=stranger) for _ in range(_REJECTING_CLIENTS)]
    found = [result(client, 120) for client in clients]
    cpu = rig.cpu_secs() - cpu
    statuses = sum((Counter(each["statuses"]) for each in found), Counter[str]())
    count = statuses.total()
    per_sec, per_core = count / max(each["secs"] for each in found), count / cpu
    return [
        Figure(
            "handshakes rejected in a second of one core of the service",
            f"{per_core:,.0f}",
            f"≥ {_REJECTIONS_GOAL:,}",
            per_core >= _REJECTIONS_GOAL,
        ),
        Figure(f"the same, in a second, with {_REJECTING_CLIENTS} clients on the same cores", f"{per_sec:,.0f}"),
        _none("the same, answered otherwise than with 401", count - statuses["401"]),
    ]


# --- Those that mean harm ---


def _fuzz(rig: Rig, scale: Scale) -> list[Figure]:
    rig.end()
    rig.start(LIMITS__REQUEST_ROWS_MAX="1000")  # some of the frames ask, quite rightly, for all decades
    each = scale.frames // _FUZZING_CLIENTS
    share = max(each // _BREACHES_PER_FRAMES, 1)
    _bombard(rig, 10_000, 100, first_seed=1)  # so that what is made once is there
    before, descriptors, began = rig.memory_bytes(), rig.descriptors(), time.monotonic()
    wrong_closes = _bombard(rig, each - share, share, first_seed=100)
    secs = time.monotonic() - began
    memory = _back(f"memory after {scale.frames:,} hostile frames", before, rig.memory_bytes())
    queue_before = rig.memory_bytes(peak=True)
    codes = Counter(result(rig.client("queue", requests=scale.frames), _HOUR_SECS)["codes"])
    return [
        memory,
        Figure("the same, frames in a second", f"{scale.frames / secs:,.0f}"),
        _none("the same, closed with another code than the right one", wrong_closes),
        _none("the same, files and sockets left open", max(0, rig.descriptors() - descriptors - _FUZZING_CLIENTS)),
        _back(
            f"memory at most while {codes.total():,} requests queue on one connection",
            queue_before,
            rig.memory_bytes(peak=True),
        ),
        Figure("the same, refused as too many", f"{codes['too_many_requests']:,}"),
        _none("defects and tracebacks in the log", rig.defects()),
        _none("the service dead", int(not rig.is_alive())),
    ]


def _bombard(rig: Rig, frames: int, breaches: int, first_seed: int) -> int:
    """Return how many connections were not closed as they should; a frame without its answer ends the bench."""
    clients = [
        rig.client("fuzz", seed=first_seed + number, frames=frames, breaches=breaches)
        for number in range(_FUZZING_CLIENTS)
    ]
    return sum(result(client, _HOUR_SECS)["wrong_closes"] for client in clients)


# --- Everything at once ---


def _mixed(rig: Rig, scale: Scale) -> list[Figure]:
    secs = scale.minutes * 60
    client = rig.client("mixed", secs=secs, clients=_MIXED_CLIENTS, present=PRESENT.isoformat())
    for number in (signal.SIGKILL, signal.SIGTERM):
        time.sleep(secs / 3)
        rig.end(number)
        rig.start()
    time.sleep(secs / 6)
    before = rig.memory_bytes()
    found = result(client, secs + 600)
    met = rig.steer("GET", "/_faults")["met"]
    after = rig.memory_bytes()
    alive = rig.is_alive()
    # The locks: the same partitions are asked again for all of what the load may have left out, with nothing failing.
    rig.steer("DELETE", "/_faults")
    series = {(symbol, timeframe) for symbol, timeframe, _, _ in found["held"]}
    whole = [[symbol, timeframe, *_WHOLE_MS[timeframe]] for symbol, timeframe in sorted(series)]
    filled = result(rig.client("mixed", held=whole, present=PRESENT.isoformat()), _HOUR_SECS)
    rig.end()
    verified = rig.verified()
    rig.start(_NOWHERE)
    again = result(rig.client("mixed", held=found["held"], present=PRESENT.isoformat()), _HOUR_SECS)
    return [
        Figure(
            f"{scale.minutes:g} minutes of {_MIXED_CLIENTS} clients: rows held against the truth", f"{found['rows']:,}"
        ),
        Figure("calls of the exchange that failed on purpose", f"{met:,}"),
        Figure("answers and ends", ", ".join(f"{name} {count:,}" for name, count in sorted(found["outcomes"].items()))),
        _none("rows that are wrong", found["wrong_rows"] + filled["wrong_rows"] + again["wrong_rows"]),
        _none("rows that are missing and not told to be", found["lost_rows"] + filled["lost_rows"]),
        _none("rows once answered as held that are not stored after a kill -9 and a SIGTERM", again["lost_rows"]),
        _none("problems that `cb-trade storage verify` finds", verified["problems"]),
        _none(
            "series that a lock left behind keeps from being filled",
            len(whole) - filled["outcomes"].get("historical_data_complete", 0),
        ),
        _back("memory after the load, over that in its midst", before, after),
        _none("defects and tracebacks in the log", rig.defects()),
        _none("the service dead", int(not alive)),
    ]


def _days_ms(first: datetime, days: int) -> tuple[int, int]:
    start_ms = int(first.timestamp() * 1000)
    return start_ms, start_ms + days * 86_400_000


# A range of each timeframe in which the load has filled some of each partition: few pages, in all of whose partitions
# something is missing.
_JUNE: Final = datetime(2024, 6, 1, tzinfo=UTC)
_WHOLE_MS: Final = {"1m": _days_ms(_JUNE, 30), "5m": _days_ms(_JUNE, 60), "1h": _days_ms(_JUNE, 180)}

PARTS: Final[dict[str, tuple[Callable[[Rig, Scale], list[Figure]], tuple[str, ...]]]] = {
    "idle": (_idle, ()),
    "active": (_active, ()),
    "rejections": (_rejections, ()),
    "fuzz": (_fuzz, ()),
    "mixed": (_mixed, _FAULTS),
}


# --- The run ---


def _allow_many_descriptors() -> None:
    """Raise the limit of open files as far as this user may, for the service as well: it inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * _IDLE
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            sys.exit(f"this user may open {hard} files, and {wanted} are needed: raise `ulimit -Hn`")


def main() -> None:
    options = parser("load", __doc__)
    options.add_argument("--only", action="append", choices=PARTS, help="only this part; may be repeated")
    options.add_argument("--minutes", type=float, default=_MINUTES, help=f"of the mixed load (default {_MINUTES:g})")
    options.add_argument("--frames", type=int, default=_FRAMES, help=f"that are hostile (default {_FRAMES:,})")
    options.add_argument("--secs", type=int, default=_ACTIVE_SECS, help=f"of asking (default {_ACTIVE_SECS})")
    arguments = options.parse_args()
    _allow_many_descriptors()
    scale = Scale(arguments.frames, arguments.minutes, arguments.secs)
    figures = []
    for name in arguments.only or PARTS:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        measure, faults = PARTS[name]
        with tempfile.TemporaryDirectory(prefix="cb-trade-bench-") as folder, running_rig(Path(folder), *faults) as rig:
            figures += measure(rig, scale)
    text = f"{machine('uvicorn', 'websockets', 'pyarrow')}.\n\n" + table(
        ["what", "found", "goal", "reached"], [figure.row for figure in figures]
    )
    print(text)
    if scale == Scale() and not arguments.only and not arguments.no_write:
        write("load", text)


if __name__ == "__main__":
    main()
