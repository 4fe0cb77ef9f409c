"""A service in a process of its own that can be looked into: what it holds, and what it has logged."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import real_service
from nursery import Nursery
from service_harness import SECRET

MODULES = (*real_service.MODULES, "watched_service")


def serve(environment: dict[str, str], log: str) -> None:
    """Be the service, log into a file, and tell at SIGUSR1 what there is."""
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    signal.signal(signal.SIGUSR1, _tell)
    real_service.serve(environment)


def _tell(_: int, __: FrameType | None) -> None:
    gc.collect()
    tasks = asyncio.all_tasks(asyncio.get_running_loop())
    os.write(1, json.dumps({"tasks": len(tasks), "objects": len(gc.get_objects())}).encode() + b"\n")


@dataclass(frozen=True)
class Census:
    """What a process holds.

    Attributes:
        tasks: Of its event loop.
        objects: Those that Python's garbage collector knows of, garbage not among them.
        descriptors: Open files and sockets.
        memory_bytes: Memory of its own; mapped files belong to the operating system.
    """

    tasks: int
    objects: int
    descriptors: int
    memory_bytes: int


class WatchedService(real_service.ServiceProcess):
    """A service that can be looked into."""

    log: Path

    async def census(self) -> Census:
        """Count what it holds now."""
        self._child.send_signal(signal.SIGUSR1)
        told = json.loads(await asyncio.to_thread(self._child.said.readline))
        return Census(told["tasks"], told["objects"], _descriptors(self.pid), memory_bytes(self.pid))

    @property
    def is_alive(self) -> bool:
        """Whether it is there, under the id that it began with."""
        return Path(f"/proc/{self.pid}/exe").exists()


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def memory_bytes(pid: int) -> int:
    """Return how much memory of its own a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@asynccontextmanager
async def watched_service(
    nursery: Nursery, folder: Path, exchange_url: str, **settings: str
) -> AsyncIterator[WatchedService]:
    """Run a service over `data` in *folder*, with its log beside that.

    Args:
        settings: By the names of their variables, without the prefix.
    """
    log = folder / "service.log"
    environment = {
        "CB_TRADE_AUTH__SECRET": SECRET,
        "CB_TRADE_STORAGE__ROOT": str(folder / "data"),
        "CB_TRADE_EXCHANGES__BINANCE__BASE_URL": exchange_url,
        "CB_TRADE_LOG_LEVEL": "info",
        **{f"CB_TRADE_{name}": value for name, value in settings.items()},
    }
    child = nursery.spawn("watched_service:serve", environment=environment, log=str(log))
    line = (await asyncio.to_thread(child.said.readline)).decode()
    if "listening on" not in line:
        await asyncio.to_thread(child.kill)
        raise RuntimeError(f"the service did not start: {log.read_text()}")
    service = WatchedService(child, int(line.rsplit(":", 1)[1]))
    service.log = log
    try:
        yield service
    finally:
        await service.end()
