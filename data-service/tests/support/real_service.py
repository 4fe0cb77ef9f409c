"""The service as a process of its own: `cb-trade serve`, in a child of a nursery."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nursery import Child, Nursery
from service_harness import SECRET, RunningService

from cb_trade_data import server  # noqa: F401 - imported once, in the nursery, for all children
from cb_trade_data.commands.serve import serve as serve_command

MODULES = (
    "real_service",
    "cb_trade_data.storage.implementations.azure_blob_storage",
    "cb_trade_data.exchange_source.plugins.distrustful",  # and with it CCXT
    "crashing_writer",
)


def serve(environment: dict[str, str]) -> None:
    """Be the service, until a signal ends it."""
    os.environ.update(environment)
    serve_command()


class ServiceProcess(RunningService):
    """A service that can be stopped, continued and killed."""

    def __init__(self, child: Child, port: int) -> None:
        super().__init__(port)
        self._child = child
        self.pid = child.pid

    def stop(self) -> None:
        self._child.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        await asyncio.to_thread(self._child.kill)

    def tell_to_end(self) -> None:
        """Ask it to end, as the operator does."""
        self._child.send_signal(signal.SIGTERM)

    async def end(self) -> None:
        """Ask it to end, as the operator does, and wait for that."""
        self.tell_to_end()
        await asyncio.to_thread(self._child.wait)


async def started(
    nursery: Nursery, environment: dict[str, str], exchange_url: str, exchange: str = "binance"
) -> ServiceProcess:
    """Start a service with its storage set up by *environment* and its one *exchange* at *exchange_url*."""
    settings = {
        "CB_TRADE_AUTH__SECRET": SECRET,
        f"CB_TRADE_EXCHANGES__{exchange.upper()}__BASE_URL": exchange_url,
        "CB_TRADE_LOG_LEVEL": "warning",
        "CB_TRADE_PORT": "0",
    }
    child = nursery.spawn("real_service:serve", environment=settings | environment)
    line = (await asyncio.to_thread(child.said.readline)).decode()
    if "listening on" not in line:
        await asyncio.to_thread(child.kill)
        raise RuntimeError(f"the service did not start: {line!r}")
    return ServiceProcess(child, int(line.rsplit(":", 1)[1]))


@asynccontextmanager
async def service_process(
    nursery: Nursery, environment: dict[str, str], exchange_url: str, exchange: str = "binance"
) -> AsyncIterator[ServiceProcess]:
    """Run a service that ends with the context."""
    service = await started(nursery, environment, exchange_url, exchange)
    try:
        yield service
    finally:
        await service.end()
