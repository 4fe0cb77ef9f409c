"""Programs that people start, as processes of their own beside the service of a test."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from service_harness import RunningService, token

CB_TRADE = Path(sys.executable).with_name("cb-trade")


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it wrote."""

    exit_code: int | None
    stdout: str
    stderr: str


async def run_program(service: RunningService, *arguments: str | Path, folder: Path) -> Ended:
    """Run a program in *folder* to its end; it finds the service and a token where `cb-trade` looks for them."""
    access = {"CB_TRADE_CLIENT__URL": service.socket_url, "CB_TRADE_CLIENT__TOKEN": token()}
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=folder,
        env=os.environ | access,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(process.returncode, stdout.decode(), stderr.decode())
