"""The service, which writes down in the end how long it worked, and how long of that at judging rows."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cb_trade_client.main import main
from cb_trade_data.historical import paging
from cb_trade_data.storage.layouts import metadata

#: Names the file that it writes.
ACCOUNT = "BENCH_ACCOUNT"

_worked_secs = {"gate": 0.0, "inspection": 0.0, "everything": 0.0}
_begun_secs: list[float] = []


def _watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*arguments: Any) -> Any:
        if not _begun_secs:  # what went before is its start, and that of CCXT
            _begun_secs.append(time.process_time())
        begun_secs = time.thread_time()
        try:
            return work(*arguments)
        finally:
            _worked_secs[name] += time.thread_time() - begun_secs
            _worked_secs["everything"] = time.process_time() - _begun_secs[0]

    return watched


if __name__ == "__main__":
    paging.check_page = _watched("gate", paging.check_page)
    metadata.inspect = _watched("inspection", metadata.inspect)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # what is left of it when the server has ended
    try:
        main()
    finally:
        Path(os.environ[ACCOUNT]).write_text(json.dumps(_worked_secs))
