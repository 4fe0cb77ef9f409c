"""The peers that streaming is measured beside, each a process of its own: `_stream_peers.py WHO FOLDER`.

Prints its port once it serves. FOLDER holds the same rows as files, `.arrow` or `.parquet`, all of one series: those of
a month as `year=…/month=…/part`, or those of a day as `year=…/month=…/part-DD`.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import pyarrow.parquet as pq
import uvicorn
from fastapi import FastAPI, WebSocket

_BATCH_ROWS: Final = 65_536  # at which Flight is fastest here
_RAW_BATCH_ROWS: Final = 16_384


def _files(folder: Path, start_ms: int, end_ms: int) -> list[Path]:
    """Return the files of the months or days that the range touches, oldest first."""
    first, last = np.array([start_ms, end_ms - 1], "datetime64[ms]")
    found = []
    for path in folder.rglob("part*"):
        keys = dict(part.split("=", 1) for part in path.parts if "=" in part)
        _, *day = path.stem.split("-")
        span = np.datetime64("-".join([keys["year"], keys["month"], *day]))
        if span.astype("datetime64[ms]") <= last and first < (span + 1).astype("datetime64[ms]"):
            found.append((span, path))
    return [path for _, path in sorted(found)]


def _read(path: Path) -> pa.Table:
    table = (
        pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        if path.suffix == ".arrow"
        else pq.ParquetFile(path, memory_map=True).read()
    )
    return table.replace_schema_metadata(None)


def _cut(rows: pa.Table, start_ms: int, end_ms: int) -> pa.Table:
    times = rows.column("timestamp").to_numpy().view(np.int64)
    first, end = np.searchsorted(times, [start_ms, end_ms]).tolist()
    return rows.slice(first, end - first)


class _Flight(flight.FlightServerBase):  # type: ignore[misc]
    """Answers tickets `{"start", "end", "from": "memory" | "files"}` with the rows of that range."""

    def __init__(self, folder: Path) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._folder = folder
        whole = pa.concat_tables(map(_read, _files(folder, 0, 2**42)))
        self._rows = whole.combine_chunks()
        self._times = self._rows.column("timestamp").to_numpy().view(np.int64)

    def do_get(self, _: Any, ticket: flight.Ticket) -> flight.FlightDataStream:
        asked = json.loads(ticket.ticket)
        start_ms, end_ms = asked["start"], asked["end"]
        if asked["from"] == "files":
            return flight.GeneratorStream(self._rows.schema, self._from_files(start_ms, end_ms))
        first, end = np.searchsorted(self._times, [start_ms, end_ms]).tolist()
        rows = self._rows.slice(first, end - first)
        if asked["how"] == "generator":
            return flight.GeneratorStream(rows.schema, iter(rows.to_batches(max_chunksize=_BATCH_ROWS)))
        return flight.RecordBatchStream(rows)

    def _from_files(self, start_ms: int, end_ms: int) -> Iterator[pa.RecordBatch]:
        for path in _files(self._folder, start_ms, end_ms):
            yield from _cut(_read(path), start_ms, end_ms).to_batches()


def _serve_raw(folder: Path) -> None:
    """Send the range asked for as one IPC stream behind its length: what the machine can do."""
    rows = pa.concat_tables(map(_read, _files(folder, 0, 2**42)))
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    known: dict[bytes, memoryview] = {}

    def serve(connection: socket.socket) -> None:
        while asked := connection.recv(16):
            start_ms, end_ms = np.frombuffer(asked, "<i8").tolist()
            if asked not in known:
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, rows.schema) as writer:
                    writer.write_table(_cut(rows, start_ms, end_ms), max_chunksize=_RAW_BATCH_ROWS)
                known[asked] = memoryview(sink.getvalue())
            connection.sendall(len(known[asked]).to_bytes(8, "little"))
            connection.sendall(known[asked])

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def _serve_naive(folder: Path) -> None:
    """Send rows as FastAPI's users first do: `send_json` of lists of dicts, a thousand at a time."""
    rows = pa.concat_tables(map(_read, _files(folder, 0, 2**42)))
    app = FastAPI()

    @app.websocket("/")
    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        async for asked in websocket.iter_json():
            wanted = _cut(rows, asked["start"], asked["end"])
            for first in range(0, wanted.num_rows, 1_000):
                part = wanted.slice(first, 1_000)
                times = part.column("timestamp").to_numpy().view(np.int64).tolist()
                data = [row | {"timestamp": time} for row, time in zip(part.to_pylist(), times, strict=True)]
                await websocket.send_json({"data": data})
            await websocket.send_json({"rows": wanted.num_rows})

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", ws_per_message_deflate=False)).run(sockets=[listener])


def main() -> None:
    who, folder = sys.argv[1], Path(sys.argv[2])
    if who == "raw":
        _serve_raw(folder)
    elif who == "naive":
        _serve_naive(folder)
    else:
        server = _Flight(folder)
        print(server.port, flush=True)
        server.serve()


if __name__ == "__main__":
    main()
