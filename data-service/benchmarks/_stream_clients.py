"""Those who ask, in a fresh process for each measurement: `_stream_clients.py '{"who": …}'`; prints JSON.

The state of a client's heap moves results more than the protocol does: nobody may inherit another one's.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import numpy as np
import orjson
import picows
import pyarrow as pa
import pyarrow.flight as flight
import uvloop
import websockets

from cb_trade_client import DataClient

_RAW_PIECE_BYTES: Final = 256 * 1024
_DAY_MS: Final = 86_400_000
_LAST: Final = b'{"type":"historical_data_complete"'
_ERROR: Final = b'{"type":"error_response"'


def _series(task: dict[str, Any]) -> dict[str, Any]:
    kind = task.get("kind", "ohlcv")
    return {"kind": kind, "timeframe": "1m" if kind == "ohlcv" else None}


def question(task: dict[str, Any], start_ms: int, end_ms: int) -> bytes:
    return orjson.dumps(
        {
            "type": "request_historical",
            "request_id": "r",
            "exchange": "binance",
            "symbol": "BTC/USDT",
            **_series(task),
            "start_time": start_ms,
            "end_time": end_ms,
            "format": task.get("format", "arrow"),
        }
    )


def _cpu_secs() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# --- All of a range, once after the other ---


def raw(task: dict[str, Any]) -> Callable[[], int]:
    connection = socket.create_connection(("127.0.0.1", task["port"]))
    asked = np.array([task["start"], task["end"]], "<i8").tobytes()

    def transfer() -> int:
        connection.sendall(asked)
        size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "little")
        buffer = np.empty(size, np.uint8)
        view, got = buffer.data, 0
        while got < size:
            got += connection.recv_into(view[got : got + _RAW_PIECE_BYTES])
        rows: int = pa.ipc.open_stream(pa.py_buffer(buffer)).read_all().num_rows
        return rows

    return transfer


def ask_flight(task: dict[str, Any]) -> Callable[[], int]:
    client = flight.connect(f"grpc://127.0.0.1:{task['port']}")
    asked = {name: task[name] for name in ("start", "end", "from", "how")}

    def transfer() -> int:
        rows: int = client.do_get(flight.Ticket(orjson.dumps(asked))).read_all().num_rows
        return rows

    return transfer


async def sdk(task: dict[str, Any]) -> Callable[[], Awaitable[int]]:
    client = DataClient(task["url"], token=task["token"])
    start, end = (np.datetime64(task[name], "ms").item().isoformat() + "Z" for name in ("start", "end"))

    async def transfer() -> int:
        history = await client.history("binance", "BTC/USDT", start=start, end=end, **_series(task))
        rows: int = history.to_arrow().num_rows
        return rows

    return transfer


async def stock(task: dict[str, Any]) -> Callable[[], Awaitable[int]]:
    """The `websockets` package, and what its documentation shows."""
    headers = {"Authorization": f"Bearer {task['token']}"}
    connection = await websockets.connect(task["url"], additional_headers=headers, compression=None)
    asked, wire_format = question(task, task["start"], task["end"]), task.get("format", "arrow")

    async def transfer() -> int:
        await connection.send(asked.decode())
        parts: list[Any] = []
        while True:
            message = await connection.recv(decode=False)
            if message.startswith(_LAST):
                break
            if message.startswith(_ERROR):
                sys.exit(message.decode())
            if wire_format != "arrow":
                parts.append(orjson.loads(message).get("data", []))
            elif not message.startswith(b"{"):
                parts.append(message)
        if wire_format == "json":
            return len([row for part in parts for row in part])
        if wire_format == "json_columns":
            return sum(pa.table(part).num_rows for part in parts if part)
        # The first message begins with the schema; each of the others is one batch, taken as it lies there.
        first = pa.ipc.open_stream(parts[0])
        batches = [*first, *(pa.ipc.read_record_batch(part, first.schema) for part in parts[1:])]
        rows: int = pa.Table.from_batches(batches).num_rows
        return rows

    return transfer


async def naive(task: dict[str, Any]) -> Callable[[], Awaitable[int]]:
    connection = await websockets.connect(f"ws://127.0.0.1:{task['port']}/", compression=None)

    async def transfer() -> int:
        await connection.send(json.dumps({"start": task["start"], "end": task["end"]}))
        rows: list[Any] = []
        while "data" in (message := json.loads(await connection.recv())):
            rows += message["data"]
        return len(rows)

    return transfer


WAITING: Final[dict[str, Callable[[dict[str, Any]], Callable[[], int]]]] = {"raw": raw, "flight": ask_flight}
ASYNC: Final = {"sdk": sdk, "stock": stock, "naive": naive}


async def bulk(task: dict[str, Any]) -> dict[str, Any]:
    """Transfer a range again and again; the first time is told apart."""
    who = task["who"]
    waiting = WAITING[who](task) if who in WAITING else None
    transfer = None if waiting else await ASYNC[who](task)
    secs, rows, cpu = [], 0, 0.0
    for number in range(1 + task["times"]):
        if number == 1:
            cpu = _cpu_secs()
        began = time.perf_counter()
        if waiting is not None:
            rows = waiting()
        elif transfer is not None:
            rows = await transfer()
        secs.append(time.perf_counter() - began)
    cpu = (_cpu_secs() - cpu) / task["times"]
    return {"first": secs[0], "secs": statistics.median(secs[1:]), "rows": rows, "cpu": cpu}


async def stream(task: dict[str, Any]) -> dict[str, Any]:
    """Transfer a range again and again until told to end; print a line as soon as the first one is there.

    When each of the others began and ended is told by the clock that all processes share.
    """
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    transfer = await ASYNC[task["who"]](task)
    await transfer()
    print("{}", flush=True)
    spans = []
    while not told.is_set():
        began = time.monotonic()
        await transfer()
        spans.append((began, time.monotonic()))
    return {"spans": spans}


# --- Days, many at once ---


class _Days(picows.WSListener):
    """Collects the binary messages of one answer after the other."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.answered: asyncio.Future[None] | None = None

    def on_ws_frame(self, _: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.parts.append(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.TEXT:
            assert self.answered is not None
            text = frame.get_payload_as_bytes()
            if text.startswith(_LAST):
                self.answered.set_result(None)
            elif text.startswith(_ERROR):
                self.answered.set_exception(RuntimeError(text.decode()))


async def days_of_ours(task: dict[str, Any]) -> dict[str, Any]:
    """Ask for random days on many connections for a while, each for the next one when it has the last."""
    secs: list[float] = []

    async def ask(number: int) -> None:
        headers = {"Authorization": f"Bearer {task['token']}"}
        connected: tuple[Any, Any] = await picows.ws_connect(_Days, task["url"], extra_headers=headers)
        transport, listener = connected
        for start_ms in _random_days(task, number, until):
            listener.parts, listener.answered = [], asyncio.get_running_loop().create_future()
            began = time.monotonic()
            transport.send(picows.WSMsgType.TEXT, question(task, start_ms, start_ms + _DAY_MS))
            await listener.answered
            rows = pa.ipc.open_stream(b"".join(listener.parts)).read_all().num_rows
            secs.append(time.monotonic() - began)
            assert rows == _DAY_MS // 60_000
        transport.disconnect()

    began = time.monotonic()
    until = began + task["secs"]
    await asyncio.gather(*(ask(number) for number in range(task["connections"])))
    return _rates(secs, began)


async def days_of_flight(task: dict[str, Any]) -> dict[str, Any]:
    secs: list[float] = []

    def ask(number: int) -> None:
        client = flight.connect(f"grpc://127.0.0.1:{task['port']}")
        for start_ms in _random_days(task, number, until):
            asked = {"start": start_ms, "end": start_ms + _DAY_MS, "from": "memory", "how": "table"}
            began = time.monotonic()
            rows = client.do_get(flight.Ticket(orjson.dumps(asked))).read_all().num_rows
            secs.append(time.monotonic() - began)
            assert rows == _DAY_MS // 60_000

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(task["connections"])]
    began = time.monotonic()
    until = began + task["secs"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _rates(secs, began)


def _random_days(task: dict[str, Any], number: int, until: float) -> Iterator[int]:
    """Yield the starts of the days that connection *number* asks for, until that time of the clock."""
    chosen = np.random.default_rng((task["seed"], number)).permutation((task["end"] - task["start"]) // _DAY_MS)
    for day in itertools.cycle(chosen.tolist()):
        if time.monotonic() >= until:
            return
        yield task["start"] + day * _DAY_MS


def _rates(secs: list[float], began: float) -> dict[str, Any]:
    ended, ordered = time.monotonic(), sorted(secs)
    return {
        "span": (began, ended),
        "per_sec": len(secs) / (ended - began),
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[int(len(ordered) * 0.99)],
    }


# --- The first rows ---


async def first_chunk(task: dict[str, Any]) -> dict[str, Any]:
    """Time from the question to the first rows; the rest is cancelled."""
    headers = {"Authorization": f"Bearer {task['token']}"}
    secs = []
    async with websockets.connect(task["url"], additional_headers=headers, compression=None) as connection:
        for _ in range(1 + task["times"]):
            began = time.perf_counter()
            await connection.send(question(task, task["start"], task["end"]).decode())
            while (await connection.recv(decode=False)).startswith(b"{"):
                pass
            secs.append(time.perf_counter() - began)
            await connection.send('{"type":"cancel_request","request_id":"r"}')
            while not (await connection.recv(decode=False)).startswith(b'{"type":"request_cancelled"'):
                pass
    return {"first": secs[0], "secs": statistics.median(secs[1:])}


async def silent(task: dict[str, Any]) -> dict[str, Any]:
    """Ask for a range, and never read a byte of the answer."""
    headers = {"Authorization": f"Bearer {task['token']}"}
    async with websockets.connect(task["url"], additional_headers=headers, compression=None) as connection:
        connection.transport.pause_reading()
        await connection.send(question(task, task["start"], task["end"]).decode())
        print("{}", flush=True)
        await asyncio.sleep(3)  # by then the service has written what there is room for
        os._exit(0)


async def slow(task: dict[str, Any]) -> dict[str, Any]:
    """Take the rows of a range as they come, one message at a time with a pause after each."""
    headers = {"Authorization": f"Bearer {task['token']}"}
    messages = 0
    async with websockets.connect(task["url"], additional_headers=headers, compression=None) as connection:
        await connection.send(question(task, task["start"], task["end"]).decode())
        while not (message := await connection.recv(decode=False)).startswith(_LAST):
            if message.startswith(_ERROR):
                sys.exit(message.decode())
            if not message.startswith(b"{"):
                messages += 1
                await asyncio.sleep(task["pause_secs"])
    return {"messages": messages}


JOBS: Final = {
    "bulk": bulk,
    "stream": stream,
    "days": days_of_ours,
    "flight_days": days_of_flight,
    "first_chunk": first_chunk,
    "silent": silent,
    "slow": slow,
}


def main() -> None:
    task = json.loads(sys.argv[1])
    print(json.dumps(uvloop.run(JOBS[task["job"]](task))))


if __name__ == "__main__":
    main()
