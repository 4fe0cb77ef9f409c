"""Our programs as processes of their own, on ports that are free."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CB_TRADE: Final = Path(sys.executable).with_name("cb-trade")
_PATIENCE_SECS: Final = 15.0


@contextmanager
def running(
    arguments: list[str], environment: dict[str, str], folder: Path, program: tuple[Path, ...] = (_CB_TRADE,)
) -> Iterator[tuple[int, str]]:
    """Run `cb-trade`, or another *program* that takes its arguments, and tell its process id and where it listens."""
    log_file = folder / f"{arguments[0]}.log"
    with log_file.open("w") as log:
        command = [*map(str, program), *arguments, "--port", "0"]
        process = subprocess.Popen(  # noqa: S603 - our own program
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if "listening on" not in line:
            sys.exit(f"{' '.join(command)} did not start: {line}{log_file.read_text()}")
        yield process.pid, line.rsplit(" ", 1)[1].strip()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
