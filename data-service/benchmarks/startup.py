"""How long the service takes until it accepts requests: five starts, each over a folder with nothing in it."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from _load_rig import running_rig
from _report import machine, parser, table, write

_STARTS: Final = 5
_GOAL_SECS: Final = 3.0
_WORKERS: Final = (1, 2)


def main() -> None:
    arguments = parser("startup", __doc__).parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="cb-trade-bench-") as folder, running_rig(Path(folder)) as rig:
        for workers in _WORKERS:
            secs = []
            for number in range(_STARTS):
                print(f"start {number + 1} of {_STARTS}, workers: {workers}", file=sys.stderr, flush=True)
                rig.end()
                began = time.monotonic()
                rig.start(WORKERS=str(workers), STORAGE__ROOT=f"{folder}/{workers}-{number}")
                secs.append(time.monotonic() - began)
            shown = " / ".join(f"{each:.1f}" for each in (min(secs), sorted(secs)[_STARTS // 2], max(secs)))
            reached = "yes" if max(secs) < _GOAL_SECS else "**no**"
            rows.append([f"CB_TRADE_WORKERS={workers}", f"{shown} s", f"< {_GOAL_SECS:g} s", reached])
    text = f"{machine('uvicorn')}.\n\n" + table(["service", "fastest / median / slowest", "goal", "reached"], rows)
    print(text)
    if not arguments.no_write:
        write("startup", text)


if __name__ == "__main__":
    main()
