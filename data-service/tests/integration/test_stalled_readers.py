"""Clients that ask for a long range and never read: what they cost the service's process, over real sockets."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nursery import Nursery, running_nursery
from real_service import MODULES, service_process
from service_harness import Client, at, historical, running_service

from cb_trade_simulator import ExchangeSimulator

YEAR = at("2023-01-01"), at("2024-01-01")
MONTH = at("2023-06-01"), at("2023-07-01")
NO_EXCHANGE = "http://127.0.0.1:1"  # everything is stored

STALLED_CLIENTS = 4
# What one may cost. Measured is less than 0.9 MB; the margin is for the allocator, which takes memory by the megabyte.
# Their answers as a whole would be 25 MB and more for each.
CLIENT_MAX_BYTES = 5_000_000
FULL_BYTES = 32 * 1024  # of a socket's buffer, whose size is the kernel's business

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory of a process is read from /proc")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with running_nursery(*MODULES) as running:
        yield running


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """A folder that holds a year of minutes: half a million bars, 25 MB as Arrow, more than twice that as JSON."""
    root = tmp_path_factory.mktemp("storage")

    async def fill() -> None:
        async with (
            ExchangeSimulator(venue="binance", seed=1).serve(host="127.0.0.1", port=0) as simulator,
            running_service(root, simulator.base_url) as service,
            service.client() as client,
        ):
            assert (await client.history(*YEAR, format="arrow")).last["gaps"] == []

    asyncio.run(fill())
    return root


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has in use."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def unread_bytes(client: Client) -> int:
    """Return how much waits in the kernel for *client* to read it."""
    answer = fcntl.ioctl(client.connection.transport.get_extra_info("socket"), termios.FIONREAD, bytes(4))
    return struct.unpack("i", answer)[0]


async def until_no_more_is_taken(stalled: list[Client], other: Client, wire_format: str) -> None:
    """Return once the kernel is full of what *stalled* do not read: nothing has come while *other* got a month."""
    before: list[int] = []
    while (now := [unread_bytes(each) for each in stalled]) != before or min(now) < FULL_BYTES:
        before = now
        await other.history(*MONTH, format=wire_format)


@pytest.mark.parametrize("wire_format", ["json", "json_columns", "arrow"])
async def test_clients_that_never_read_cost_little_memory_and_hold_up_nobody(nursery, storage, wire_format):
    """What is kept in memory for all clients is there before: the year was read once. The rest is the clients' own."""
    environment = {"CB_TRADE_STORAGE__BACKEND": "local", "CB_TRADE_STORAGE__ROOT": str(storage)}
    async with (
        service_process(nursery, environment, NO_EXCHANGE) as service,
        service.client() as other,
        AsyncExitStack() as connections,
    ):
        year = await other.history(*YEAR, format=wire_format)
        before_bytes = resident_bytes(service.pid)
        stalled = [await connections.enter_async_context(service.client()) for _ in range(STALLED_CLIENTS)]
        for client in stalled:
            client.connection.transport.pause_reading()
            await client.send(historical(*YEAR, format=wire_format))

        await until_no_more_is_taken(stalled, other, wire_format)
        grown_bytes, rows = [], []
        for _ in range(5):
            rows.append((await other.history(*MONTH, format=wire_format)).last["rows"])
            grown_bytes.append(resident_bytes(service.pid) - before_bytes)
        for client in stalled:
            client.connection.transport.abort()

    assert year.last["rows_from_storage"] == year.last["rows"] > 500_000
    assert rows == [30 * 1440] * 5
    assert max(grown_bytes) < STALLED_CLIENTS * CLIENT_MAX_BYTES
