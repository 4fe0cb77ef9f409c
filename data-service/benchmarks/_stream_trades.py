"""How fast a day of trades streams beside Arrow Flight, and what it adds to the service's memory: `bench stream`."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Final

from _market import TRADES_PARTITION, TRADES_ROWS, TRADES_SERIES, trades
from _report import table
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

from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange

_DAY: Final = TRADES_PARTITION.range
_HOUR: Final = TimeRange(_DAY.start, _DAY.start + timedelta(hours=1))
_TIMES: Final = 8
_PAUSE_SECS: Final = 0.02  # of the slow client, after each message: some five seconds for the day

ABOUT: Final = f"A day of trades, {TRADES_ROWS:,} rows or 91 MB"


def store(rig: Rig) -> None:
    """Store the day."""
    rig.store(TRADES_SERIES, trades(), _DAY)


def bulk(rig: Rig, rounds: int) -> tuple[str, list[Goal]]:
    """Measure who transfers the whole day how fast, from the socket to an Arrow table."""
    with ExitStack() as running:
        enter = running.enter_context
        raw, flight = enter(rig.peer("raw", "arrow", Kind.TRADES)), enter(rig.peer("flight", "arrow", Kind.TRADES))
        parquet = enter(rig.peer("flight", "parquet", Kind.TRADES))
        services = {layout: enter(rig.service(layout)) for layout in LAYOUTS}
        transfers = Transfers({"job": "bulk", "times": _TIMES, "kind": Kind.TRADES, **ranged(_DAY)}, rig.token)
        tasks = {
            "raw socket": transfers.raw(raw),
            "Flight, from memory, table": transfers.flight(flight, "memory"),
            "Flight, from memory, batches": transfers.flight(flight, "memory", "generator"),
            "Flight, `arrow` files": transfers.flight(flight, "files"),
            "Flight, `parquet` files": transfers.flight(parquet, "files"),
            "SDK, `arrow` files": transfers.ours("sdk", services["arrow"]),
            "SDK, `parquet` files": transfers.ours("sdk", services["parquet"]),
            "`websockets`, `arrow` files": transfers.ours("stock", services["arrow"]),
        }
        found = Rounds()
        found.run(rig, tasks, rounds)
    sdk = "SDK, `arrow` files"
    goals = [
        Goal("trades: SDK from `arrow` files, x Flight from them", found.ratio(sdk, ["Flight, `arrow` files"]), 1.5),
        Goal("trades: SDK from `arrow` files, x Flight from memory", found.ratio(sdk, FLIGHT_MEMORY), 1.5),
    ]
    return bulk_table(found, tasks), goals


def memory(rig: Rig, _: int) -> tuple[str, list[Goal]]:
    """Measure what the day adds to what the service holds: read from the disk and once more, and read slowly."""
    of_trades = {"kind": Kind.TRADES}
    day = of_trades | ranged(_DAY)
    readers = {
        "twice, at first from the disk": {"job": "bulk", "who": "stock", "times": 1},
        "for a client that reads slowly": {"job": "slow", "pause_secs": _PAUSE_SECS},
        "for a client that never reads": {"job": "silent"},
    }
    rows, goals = [], []
    for layout in LAYOUTS:
        for reader, task in readers.items():
            rig.chill(layout)
            with rig.service(layout) as service:
                added = added_bytes(rig, service, of_trades | ranged(_HOUR), day | task) / MEBIBYTE
            rows.append([f"a day of trades {reader}, `{layout}`", f"{added:.1f}"])
            goals.append(Goal(f"memory of a day {reader}, `{layout}`", added, 25, is_upper=True, unit="MiB"))
    return table(["added to the service's memory", "MiB"], rows), goals
