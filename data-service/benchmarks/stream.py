"""How fast warm history streams, beside Arrow Flight, naive JSON and what the machine can do at all.

Everything runs on loopback: peers, service and clients are processes of their own, each client a fresh one for each
measurement. Within a round everybody is measured once, in an order of its own and with nobody beside it, unless a
stream is meant to be there; ratios are taken inside a round, and their median over the rounds is told.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import _stream_trades
from _market import DAY_ROWS, SERIES, days, minutes
from _report import machine, parser, table, write
from _stream_rig import (
    FLIGHT_MEMORY,
    LAYOUTS,
    MEBIBYTE,
    Goal,
    Rig,
    Rounds,
    Transfers,
    added_bytes,
    bulk_table,
    ranged,
)

_DAYS: Final = 3_653
_TWO_YEARS: Final = days(0, 731)
_QUARTER: Final = days(0, 92)
_ROUNDS: Final = 5
_TIMES: Final = 8
_JSON_TIMES: Final = 3
_CONNECTIONS: Final = (1, 4, 32)
_DAYS_SECS: Final = 5.0  # long enough for several transfers beside it, and for a 99th percentile
_BAR_BYTES: Final = 48


def _bulk(rig: Rig, rounds: int) -> tuple[str, list[Goal]]:
    with ExitStack() as running:
        enter = running.enter_context
        warm, apart = enter(rig.service("arrow")), enter(rig.service("arrow", cache_bytes=0))
        kept, cold = enter(rig.service("parquet")), enter(rig.service("parquet", cache_bytes=0))
        raw, flight = enter(rig.peer("raw", "arrow")), enter(rig.peer("flight", "arrow"))
        parquet = enter(rig.peer("flight", "parquet"))
        transfers = Transfers({"job": "bulk", "times": _TIMES, **ranged(_TWO_YEARS)}, rig.token)
        tasks = {
            "raw socket": transfers.raw(raw),
            "Flight, from memory, table": transfers.flight(flight, "memory"),
            "Flight, from memory, batches": transfers.flight(flight, "memory", "generator"),
            "Flight, `arrow` files": transfers.flight(flight, "files"),
            "Flight, `parquet` files": transfers.flight(parquet, "files"),
            "SDK, from memory": transfers.ours("sdk", warm),
            "SDK, `arrow` files": transfers.ours("sdk", apart),
            "SDK, `parquet`, read before": transfers.ours("sdk", kept),
            "SDK, `parquet` files": transfers.ours("sdk", cold),
            "`websockets`, from memory": transfers.ours("stock", warm),
        }
        found = Rounds()
        found.run(rig, tasks, rounds)
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
    return bulk_table(found, tasks), goals


def _json(rig: Rig, rounds: int) -> tuple[str, list[Goal]]:
    with rig.service("arrow") as service, rig.peer("naive", "arrow") as naive:
        common = {"job": "bulk", "times": _JSON_TIMES, **ranged(_QUARTER)}
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
            common = {"connections": connections, "secs": _DAYS_SECS, "seed": connections, **ranged(_TWO_YEARS)}
            tasks[f"ours, {connections}"] = common | url | {"job": "days"}
            tasks[f"Flight, {connections}"] = common | {"job": "flight_days", "port": flight.port}
        streams = {
            "`arrow`": {"who": "sdk", **ranged(_TWO_YEARS)},
            "`json`": {"who": "stock", "format": "json", **ranged(_QUARTER)},
        }
        for name, stream in streams.items():
            tasks[f"ours, 4, beside a stream of {name}"] = tasks["ours, 4"] | {
                "beside": stream | url | {"job": "stream"}
            }
        bulk = {"job": "bulk", "who": "flight", "port": flight.port, "from": "memory", "times": _TIMES}
        alone = {
            name: bulk | {"how": how, **ranged(_TWO_YEARS)}
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
            f"{source}, {length}": {"job": "first_chunk", "times": 30, **ranged(wanted)}
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


def _memory(rig: Rig, _: int) -> tuple[str, list[Goal]]:
    """Return what a stream of ten years, and a client that never reads, add to what the service holds."""
    cache_bytes = 16 * MEBIBYTE
    warm = ranged(days(0, 16))  # the first month there is, and no part of another one
    stream = {"job": "bulk", "who": "stock", "times": 1, **ranged(days(0, _DAYS))}
    # Rows of `arrow` files stay in the files, kept or not; others fill what the cache has room for.
    room_bytes = {"arrow": 0, "parquet": cache_bytes - 16 * DAY_ROWS * _BAR_BYTES}
    rows, goals = [], []
    for layout in LAYOUTS:
        with rig.service(layout, cache_bytes=cache_bytes) as service:
            added = added_bytes(rig, service, warm, stream) - room_bytes[layout]
            rows.append([f"a stream of ten years, `{layout}`", f"{added / MEBIBYTE:.1f}"])
            goals.append(Goal(f"memory of a stream, `{layout}`", added / MEBIBYTE, 25, is_upper=True, unit="MiB"))
    with rig.service("arrow") as service:
        added = added_bytes(rig, service, warm, stream | {"job": "silent"})
        rows.append(["ten years for a client that never reads, `arrow`", f"{added / MEBIBYTE:.1f}"])
        goals.append(Goal("memory of a client that never reads", added / MEBIBYTE, 5, is_upper=True, unit="MiB"))
    return table(["added to the service's memory, without its cache", "MiB"], rows), goals


# --- The run ---


@dataclass(frozen=True)
class Chapter:
    """What is measured of one kind of rows: its tables have a place of their own in the page.

    Attributes:
        about: What is asked for.
        store: Stores it.
        parts: What can be measured alone, by name: given everybody and a number of rounds, each returns its table and
            what it is held to.
    """

    about: str
    store: Callable[[Rig], None]
    parts: Mapping[str, Callable[[Rig, int], tuple[str, list[Goal]]]]

    def run(self, names: list[str], rounds: int) -> str:
        """Measure the parts of those *names*; return what comes of it."""
        texts, goals = [], []
        with tempfile.TemporaryDirectory(prefix="cb-trade-bench-") as folder:
            rig = Rig(Path(folder))
            print(f"storing: {self.about}", file=sys.stderr, flush=True)
            self.store(rig)
            for name in names:
                print(f"measuring {name}", file=sys.stderr, flush=True)
                text, found = self.parts[name](rig, rounds)
                texts.append(text)
                goals += found
        summary = table(["figure", "measured", "goal", "reached"], [goal.row for goal in goals])
        return (
            f"{self.about}; medians of {rounds} rounds; receipts and digests on.\n"
            f"{machine('pyarrow', 'uvicorn', 'websockets', 'picows', 'uvloop')}.\n\n"
            f"{summary}\n\n" + "\n\n".join(texts)
        )


def _store(rig: Rig) -> None:
    rig.store(SERIES, minutes(_DAYS), days(0, _DAYS))


#: By the name of their place in the page.
CHAPTERS: Final = {
    "stream": Chapter(
        "Two years of minutes, 1,052,640 rows or 50.5 MB",
        _store,
        {"bulk": _bulk, "json": _json, "days": _days, "first-chunk": _first_chunk, "memory": _memory},
    ),
    "stream-trades": Chapter(
        _stream_trades.ABOUT,
        _stream_trades.store,
        {"trades": _stream_trades.bulk, "trades-memory": _stream_trades.memory},
    ),
}


def main() -> None:
    options = parser("stream", __doc__)
    parts = [name for chapter in CHAPTERS.values() for name in chapter.parts]
    options.add_argument("--only", action="append", choices=parts, help="this part; may be repeated")
    options.add_argument("--rounds", type=int, default=_ROUNDS, help=f"how often (default {_ROUNDS})")
    arguments = options.parse_args()
    for place, chapter in CHAPTERS.items():
        names = [name for name in chapter.parts if name in (arguments.only or parts)]
        if not names:
            continue
        text = chapter.run(names, arguments.rounds)
        print(text, end="\n\n")
        if arguments.rounds == _ROUNDS and len(names) == len(chapter.parts) and not arguments.no_write:
            write(place, text)


if __name__ == "__main__":
    main()
