"""Clients that send what no client should: nothing breaks, nothing stays behind, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from bombardment import Bombardment
from hostile_frames import answerable, breaches
from nursery import Nursery, running_nursery
from raw_websocket import CONT, PING, PONG, TEXT, RawConnection, frame, handshake
from service_harness import at, historical, token
from watched_service import MODULES, Census, WatchedService, memory_bytes, watched_service

from cb_trade_data.api.connection import ConnectionLimits

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a process is looked into through /proc"),
    pytest.mark.timeout(300),
]

SEED = 20_240_101
ANSWERABLE_FRAMES, BREACHES = 19_000, 1_000
BATCH_FRAMES = 500
RANGE = at("2024-01-01"), at("2024-01-01T00:10")
LAST_WORDS = {"error_response", "historical_data_complete"}
# What the allocator may keep of what was returned to it, and Python of what it may need again.
SLACK_BYTES, SLACK_OBJECTS = 8 * 1024 * 1024, 1_000
# Of connections to the exchange that are kept open, and of a thread's.
SLACK_DESCRIPTORS = 8
LOG_LINE_MAX_BYTES = 4_096


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with running_nursery(*MODULES) as running:
        yield running


@pytest.fixture
async def watched(nursery, simulator, tmp_path) -> AsyncIterator[WatchedService]:
    """A service of which no more than a thousand rows can be asked at once, so that no frame asks for decades."""
    async with watched_service(nursery, tmp_path, simulator.base_url, LIMITS__REQUEST_ROWS_MAX="1000") as service:
        yield service


async def is_as_before(service: WatchedService, before: Census) -> None:
    """Return when the process holds what it held *before*; what does not return fails with the test's timeout."""
    async with asyncio.timeout(20):
        while not _has_let_go(now := await service.census(), before):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
    assert now.objects <= before.objects + SLACK_OBJECTS, (before, now)
    assert now.memory_bytes <= before.memory_bytes + SLACK_BYTES, (before, now)


def _has_let_go(now: Census, before: Census) -> bool:
    return now.tasks <= before.tasks and now.descriptors <= before.descriptors + SLACK_DESCRIPTORS


async def is_well(service: WatchedService) -> None:
    """Return if it is the same process, it answers, and its log tells of no defect and no secret."""
    assert service.is_alive
    async with aiohttp.ClientSession() as http, http.get(f"{service.http_url}/health/live") as response:
        assert response.status == 200
    async with service.client() as client:
        assert (await client.history(*RANGE)).last["rows"] == 10
    log = service.log.read_text(errors="replace")
    assert "request.defect" not in log, re.search(r".*request\.defect.*", log).group()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3_000]
    assert not re.search(r"eyJ[\w-]+\.", log)
    assert max(map(len, log.splitlines())) <= LOG_LINE_MAX_BYTES


async def test_each_of_nineteen_thousand_hostile_frames_gets_its_one_answer_and_leaves_nothing_behind(watched):
    frames, before = answerable(SEED), None
    async with await RawConnection.opened(watched.port, token(scopes=["data:read"])) as connection:
        bombardment = Bombardment(connection)
        for number in range(ANSWERABLE_FRAMES // BATCH_FRAMES):
            try:
                await bombardment.send(list(islice(frames, BATCH_FRAMES)))
            except BaseException as error:
                error.add_note(f"seed {SEED}, in the frames from {number * BATCH_FRAMES} on")
                raise
            if number == 9:  # by now it has met everything once
                before = await watched.census()

    await is_as_before(watched, before)
    await is_well(watched)
    assert {"bad_json", "bad_message", "unknown_type", "missing_field", "unknown_field"} < bombardment.codes.keys()
    assert {"invalid_value", "message_too_large", "empty_range"} < bombardment.codes.keys()
    assert {"unknown_exchange", "unknown_symbol", "unknown_timeframe"} < bombardment.codes.keys()
    assert "internal_error" not in bombardment.codes


async def test_what_breaks_the_framing_ends_its_connection_with_the_right_code_and_no_other(watched):
    bearer = token(scopes=["data:read"])
    async with watched.client(bearer) as bystander:
        before = None
        for number, breach in enumerate(islice(breaches(SEED), BREACHES)):
            async with await RawConnection.opened(watched.port, bearer) as connection:
                sending = asyncio.create_task(connection.send(breach.data))
                code = await connection.close_code()
            await asyncio.gather(sending, return_exceptions=True)  # it may end before all is sent

            assert code in breach.codes, (breach.name, code, f"seed {SEED}, number {number}")
            if number % 100 == 0:
                assert (await bystander.history(*RANGE)).last["rows"] == 10
            if number == 100:
                before = await watched.census()
    await is_as_before(watched, before)
    await is_well(watched)


# What a client sends of these below is several times as much as the kernel holds for both sides.
PINGS, FRAGMENTS = 250_000, 300_000


async def test_a_client_that_pings_and_reads_no_pong_costs_no_memory(watched):
    ping = frame(bytes(125), PING)
    async with watched.client() as bystander, await RawConnection.opened(watched.port, token()) as connection:
        await bystander.history(*RANGE)
        before = memory_bytes(watched.pid)
        for _ in range(PINGS // 1_000):
            await connection.send(ping * 1_000)
        await bystander.history(*RANGE)  # by now it has read what the kernel did not have room for

        assert memory_bytes(watched.pid) <= before + SLACK_BYTES


async def test_a_message_in_very_many_fragments_costs_what_its_bytes_do(watched):
    """The last of the fragments is not sent, so that all of them are held."""
    first, ping = frame(b" ", TEXT, fin=False), frame(b"all are there", PING)
    async with watched.client() as bystander, await RawConnection.opened(watched.port, token()) as connection:
        await bystander.history(*RANGE)
        before = memory_bytes(watched.pid)
        await connection.send(first + frame(b" ", CONT, fin=False) * FRAGMENTS + ping)
        assert (await connection.frame())[0] == PONG

        assert memory_bytes(watched.pid) <= before + SLACK_BYTES
        await connection.send(frame(b"{}", CONT))
        assert json.loads((await connection.frame())[1])["code"] == "message_too_large"


# --- Connections that come and go ---

CONNECTS = 10_000
STATUSES = {b"101", b"401", b"429", b"503"}


def come_and_go(port: int, number: int, requests: list[bytes]) -> None:
    """Connect, get as far as *number* says, and vanish."""
    how_far = number % 5
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", number % 2, 0))  # every other: RST
        if how_far == 0:
            return
        request = requests[number % len(requests)]
        connection.sendall(request[: number % len(request)] if how_far == 1 else request)
        if how_far > 2:
            assert connection.recv(4_096).split(b" ", 2)[1] in STATUSES
        if how_far == 4:
            with suppress(ConnectionError):  # those that were refused
                connection.sendall(frame(json.dumps(historical(*RANGE)).encode()) * 3)


async def test_ten_thousand_that_connect_and_vanish_leave_nothing_behind(watched):
    """Before and in the handshake, after it, in the middle of answers; with a good token, with a bad one, with none."""
    bearers = ({"Authorization": f"Bearer {each}"} for each in (token(), token(secret="of somebody else " * 3)))
    requests = [handshake(headers=headers) for headers in (*bearers, {})]
    before = None
    for number in range(CONNECTS):
        await asyncio.to_thread(come_and_go, watched.port, number, requests)
        if number == 1_000:
            before = await watched.census()

    await is_as_before(watched, before)
    await is_well(watched)


# --- Requests without end ---

QUEUED = 40_000
OPEN = ConnectionLimits().open_requests


async def test_of_requests_without_end_so_many_are_kept_and_the_others_refused(watched, simulator):
    """The exchange does not answer, so that none of them ends; the bench asks a million times."""
    simulator.hold("klines")
    request = json.dumps(historical(at("2024-02-01"), at("2024-02-01T00:10"))).encode()
    async with watched.client() as bystander, await RawConnection.opened(watched.port, token()) as connection:
        await bystander.ask({"type": "cancel_request", "request_id": "none"})
        before = memory_bytes(watched.pid)
        sending = asyncio.create_task(connection.send(frame(request) * QUEUED))
        codes = [(await next_message(connection, LAST_WORDS))["code"] for _ in range(QUEUED - OPEN)]
        await sending
        assert set(codes) == {"too_many_requests"}
        assert memory_bytes(watched.pid) <= before + SLACK_BYTES

        simulator.release("klines")
        for _ in range(OPEN):
            assert (await next_message(connection, LAST_WORDS))["rows"] == 10
    await is_well(watched)


async def next_message(connection: RawConnection, types: set[str]) -> dict[str, Any]:
    """Return the next message of one of these *types*."""
    while True:
        opcode, payload = await connection.frame()
        if opcode == TEXT and (message := json.loads(payload))["type"] in types:
            return message
