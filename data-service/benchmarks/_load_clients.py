"""The clients of `bench load`, in processes of their own: each does one job, and prints what it found as JSON."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import websockets
from _load_mixed import mixed
from bombardment import Bombardment
from hostile_frames import answerable, breaches
from raw_websocket import TEXT, RawConnection, frame, handshake

_BATCH_FRAMES: Final = 500
_CONNECTING_AT_ONCE: Final = 50
DAY_MS: Final = 86_400_000
DAY_START_MS: Final = 1_704_067_200_000  # 2024-01-01


def say(text: str) -> None:
    print(text, flush=True)


async def idle(task: dict[str, Any]) -> dict[str, Any]:
    """Hold connections until told to go."""
    held: list[RawConnection] = []
    while len(held) < task["connections"]:
        count = min(_CONNECTING_AT_ONCE, task["connections"] - len(held))
        held += await asyncio.gather(*(RawConnection.opened(task["port"], task["token"]) for _ in range(count)))
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    for connection in held:
        connection.vanish()
    return {"connections": len(held)}


async def active(task: dict[str, Any]) -> dict[str, Any]:
    """Ask once a second on each connection; tell how many milliseconds each answer took from when it was due."""
    url = f"ws://127.0.0.1:{task['port']}/ws/data"
    headers = {"Authorization": f"Bearer {task['token']}"}
    chance = random.Random(1)  # noqa: S311
    times_ms: list[float] = []
    began = time.monotonic() + 2

    async def one(offset_secs: float) -> None:
        async with websockets.connect(url, additional_headers=headers, compression=None, max_size=None) as connection:
            for number in range(task["secs"]):
                due = began + offset_secs + number
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await connection.send(json.dumps(day_of_bars(chance.randrange(task["days"]))))
                while json.loads(await connection.recv(decode=True))["type"] != "historical_data_complete":
                    pass
                times_ms.append((time.monotonic() - due) * 1000)

    await asyncio.gather(*(one(chance.random()) for _ in range(task["clients"])))
    return {"times_ms": times_ms}


def day_of_bars(number: int) -> dict[str, Any]:
    """Return a request for one day of 5-minute bars."""
    start_ms = DAY_START_MS + number * DAY_MS
    return {
        "type": "request_historical",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "5m",
        "start_time": start_ms,
        "end_time": start_ms + DAY_MS,
        "format": "json_columns",
    }


def rejected(task: dict[str, Any]) -> dict[str, Any]:
    """Come with a token that opens nothing, again and again."""
    request = handshake(headers={"Authorization": f"Bearer {task['token']}"})
    statuses: Counter[str] = Counter()
    began = time.monotonic()
    while time.monotonic() < began + task["secs"]:
        with socket.create_connection(("127.0.0.1", task["port"])) as connection:
            connection.sendall(request)
            answer = bytearray()
            while data := connection.recv(4_096):
                answer += data
            statuses[answer.split(b" ", 2)[1].decode()] += 1
    return {"statuses": statuses, "secs": time.monotonic() - began}


async def fuzz(task: dict[str, Any]) -> dict[str, Any]:
    """Send frames that no client should."""
    frames, codes = answerable(task["seed"]), Counter[str]()
    async with await RawConnection.opened(task["port"], task["token"]) as connection:
        bombardment = Bombardment(connection)
        for _ in range(task["frames"] // _BATCH_FRAMES):
            await bombardment.send(list(islice(frames, _BATCH_FRAMES)))
        codes.update(bombardment.codes)
    wrong = 0
    for breach in islice(breaches(task["seed"]), task["breaches"]):
        async with await RawConnection.opened(task["port"], task["token"]) as connection:
            sending = asyncio.create_task(connection.send(breach.data))
            wrong += await connection.close_code() not in breach.codes
        await asyncio.gather(sending, return_exceptions=True)
    return {"codes": codes, "wrong_closes": wrong}


async def queue(task: dict[str, Any]) -> dict[str, Any]:
    """Send requests on one connection as fast as they are taken, and read what comes."""
    codes: Counter[str] = Counter()
    request = frame(json.dumps({**day_of_bars(0), "start_time": DAY_START_MS + DAY_MS - 600_000}).encode())
    async with await RawConnection.opened(task["port"], task["token"]) as connection:

        async def send() -> None:
            for _ in range(task["requests"] // 1_000):
                await connection.send(request * 1_000)

        sending, answers = asyncio.create_task(send()), 0
        while answers < task["requests"] // 1_000 * 1_000 and (found := await connection.frame()) is not None:
            if found[0] == TEXT and (message := json.loads(found[1]))["type"] in {
                "error_response",
                "historical_data_complete",
            }:
                answers += 1
                codes[message.get("code", "answered")] += 1
        await sending
    return {"codes": codes}


def main() -> None:
    task = json.loads(sys.argv[1])
    with suppress(KeyboardInterrupt):
        match task["job"]:
            case "rejected":
                found = rejected(task)
            case job:
                jobs = {"idle": idle, "active": active, "fuzz": fuzz, "queue": queue, "mixed": mixed}
                found = asyncio.run(jobs[job](task))
        say(json.dumps(found))


if __name__ == "__main__":
    main()
