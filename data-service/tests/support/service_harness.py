"""A real service on a free port and a real client for it, in the test's own event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import websockets
from pydantic import HttpUrl
from websockets.asyncio.client import ClientConnection
from wire_contract import answer_problem, request_problem

from cb_trade_data.api.connection import ConnectionLimits
from cb_trade_data.auth.module import create_token
from cb_trade_data.config import AuthSettings, ExchangeSettings, LimitSettings, Settings, StorageSettings, TlsSettings
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.listening import listening_socket
from cb_trade_data.main import create_app
from cb_trade_data.server import DataServer, server_config

SECRET = "a secret for tests that is long enough"
# A minute of patience with an exchange that is down takes 0.06 s.
HURRIED = Stopwatch(speed=1000)
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
# With these, and no others, the service refuses what the contract's schemas refuse.
SHAPE_CODES = {
    "bad_json",
    "bad_message",
    "unknown_type",
    "missing_field",
    "unknown_field",
    "invalid_value",
    "message_too_large",
}


def at(text: str) -> datetime:
    """Return the UTC instant written as 2024-01-01 or 2024-01-01T00:00."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def token(**changes: Any) -> str:
    """Return a good token, or one made bad by *changes*."""
    arguments: dict[str, Any] = {
        "secret": SECRET,
        "subject": "test",
        "scopes": ["data:read", "data:refresh"],
        "lifetime": timedelta(hours=1),
        "now": datetime.now(UTC),
    } | changes
    if arguments["lifetime"] > timedelta():
        # Its end is cut to a second: with one more, it is good for as long as it says.
        arguments["lifetime"] += timedelta(seconds=1)
    return create_token(**arguments)


@dataclass
class Reply:
    """Everything one request was answered with."""

    start: dict[str, Any] | None = None
    chunks: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> np.ndarray:
        """The rows of all chunks, whatever their format, in the form in which the simulator tells the truth."""
        dtype = [("timestamp", "i8"), *((name, "f8") for name in COLUMNS[1:])]
        if any("binary" in chunk for chunk in self.chunks):
            rows = pa.ipc.open_stream(b"".join(chunk["binary"] for chunk in self.chunks)).read_all()
            found = np.empty(rows.num_rows, dtype)
            for name in COLUMNS:
                found[name] = rows.column(name).to_numpy().view(found[name].dtype)
            return found
        cells = (
            zip(*(chunk["data"][name] for name in COLUMNS), strict=True)
            if isinstance(chunk["data"], dict)
            else (tuple(row[name] for name in COLUMNS) for row in chunk["data"])
            for chunk in self.chunks
        )
        return np.array([row for chunk in cells for row in chunk], dtype)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The rows of all chunks, of whatever kind and format, with times in epoch milliseconds."""
        if any("binary" in chunk for chunk in self.chunks):
            table = pa.ipc.open_stream(b"".join(chunk["binary"] for chunk in self.chunks)).read_all()
            return table.set_column(0, "timestamp", table.column("timestamp").cast(pa.int64())).to_pylist()
        rows: list[dict[str, Any]] = []
        for chunk in self.chunks:
            data = chunk["data"]
            columns = (
                (dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True))
                if isinstance(data, dict)
                else data
            )
            rows += columns
        return rows


def fewest_calls(times: np.ndarray, page_rows: int) -> int:
    """Return how often to ask for rows without a grid where a page holds so many from one end on.

    Nothing of the time at which a page was cut is lost: the next one begins with it.

    Args:
        times: Ascending; of an exchange that sends the newest first, negated and the other way round.
    """
    calls = 1
    while len(times) >= page_rows:
        times = times[int(np.searchsorted(times, times[page_rows - 1])) :]
        calls += 1
    return calls


class Client:
    """Speaks the wire contract with nothing in between, so that what is tested is the service.

    Each message of the service is held against the contract; and for each message of the client that breaks it, which
    tests of bad input send on purpose, the service owes a refusal.

    Attributes:
        refusals_due: What the contract has against messages that the service has not refused yet.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.refusals_due: list[str] = []

    async def send(self, message: Any) -> None:
        sent = message if isinstance(message, str | bytes) else json.dumps(message)
        if (problem := request_problem(sent)) is not None:
            self.refusals_due.append(problem)
        await self.connection.send(sent)

    async def receive(self) -> dict[str, Any]:
        """Return the next message, with the bytes that belong to it."""
        message = json.loads(await self.connection.recv(decode=True))
        problem = answer_problem(message)
        assert problem is None, problem
        if message.get("code") in SHAPE_CODES:
            assert self.refusals_due, f"refused, although the contract has nothing against it: {message['message']}"
            self.refusals_due.pop(0)
        if "bytes" in message:
            message["binary"] = await self.connection.recv(decode=False)
            assert len(message["binary"]) == message["bytes"]
        return message

    async def ask(self, message: Any) -> dict[str, Any]:
        """Send *message* and return the next answer."""
        await self.send(message)
        return await self.receive()

    async def receive_until(self, request_id: str, message: Any) -> dict[str, Any]:
        """Send *message* and return the first answer to *request_id*, dropping those to others."""
        await self.send(message)
        while (answer := await self.receive())["request_id"] != request_id:
            pass
        return answer

    async def close_code(self) -> int:
        """Read what was sent before the end of the connection, and return the code of the end."""
        try:
            while True:
                await self.receive()
        except websockets.ConnectionClosed as closed:
            self.refusals_due.clear()  # what was not refused before is refused with this
            return closed.rcvd.code

    async def rest(self, reply: Reply | None = None) -> Reply:
        """Read up to a request's last word. Only for one request at a time."""
        reply = reply or Reply()
        while True:
            message = await self.receive()
            match message["type"]:
                case "historical_data_start":
                    reply.start = message
                case "historical_data_chunk":
                    reply.chunks.append(message)
                case _:
                    reply.last = message
                    return reply

    async def history(self, start: datetime, end: datetime, **fields: Any) -> Reply:
        """Ask for a range and read the whole answer."""
        await self.send(historical(start, end, **fields))
        return await self.rest()

    async def history_when_back(self, start: datetime, end: datetime, **fields: Any) -> Reply:
        """Ask until nothing is `failed` any more: an exchange that was down is called again only after a while."""
        while True:
            reply = await self.history(start, end, **fields)
            if all(gap["state"] != "failed" for gap in reply.last["gaps"]):
                return reply
            await asyncio.sleep(0.01)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once *condition* holds, for things that nobody announces; the test's own timeout is the bound."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)


def historical(start: datetime, end: datetime, **fields: Any) -> dict[str, Any]:
    message = {
        "type": "request_historical",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "1m",
        "start_time": ms(start),
        "end_time": ms(end),
    }
    return message | fields


@dataclass
class RunningService:
    """A service under test."""

    port: int

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/data"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def client(self, bearer: str | None = None, **options: Any) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {bearer or token()}"}
        # A client that leaves with much unread would wait for the server's farewell behind all that.
        options = {"compression": None, "max_size": None, "close_timeout": 1, **options}
        async with websockets.connect(self.socket_url, additional_headers=headers, **options) as connection:
            client = Client(connection)
            yield client
            assert client.refusals_due == []


def _always_looked_at(storage: StorageSettings) -> StorageSettings:
    """Return the settings with which what tests do to storage behind a service's back is seen at once."""
    return storage.model_copy(
        update={"recheck_after_ms": storage.recheck_after_ms if "recheck_after_ms" in storage.model_fields_set else 0}
    )


@asynccontextmanager
async def running_service(
    storage: Path | StorageSettings,
    exchanges: str | Mapping[str, str | ExchangeSettings],
    limits: ConnectionLimits | None = None,
    stopwatch: Stopwatch = HURRIED,
    port: int = 0,
    quotas: LimitSettings | None = None,
    drain_secs: float = 0,
    auth: AuthSettings | None = None,
    tls: TlsSettings | None = None,
    preference: Sequence[str] = (),
) -> AsyncIterator[RunningService]:
    """Run the service over *storage* (a folder, or settings); stop it for good.

    Args:
        exchanges: Where each exchange is, by name, or all that is set of it; one address alone is Binance's.
        stopwatch: What the patience with exchanges is counted by.
        drain_secs: How long what is under way may go on when it stops.
        quotas: What the settings say of limits; None for the usual.
        port: Where to listen, for a service that comes back where another was; 0 takes any free one.
        auth: How tokens are checked; None for the secret of `token`, and no leeway.
        tls: Its certificate; None for plain text.
        preference: The exchanges that come first where a request leaves open which one answers.
    """
    addresses = {"binance": exchanges} if isinstance(exchanges, str) else exchanges
    settings = Settings(
        _env_file=None,
        storage=_always_looked_at(StorageSettings(root=storage) if isinstance(storage, Path) else storage),
        auth=auth or AuthSettings(secret=SECRET, leeway_secs=0),
        limits=quotas or LimitSettings(),
        exchange_preference=tuple(preference),
        exchanges={
            name: each if isinstance(each, ExchangeSettings) else ExchangeSettings(base_url=HttpUrl(each))
            for name, each in addresses.items()
        },
    )
    started = asyncio.Event()

    class Server(DataServer):
        async def main_loop(self) -> None:
            """As uvicorn's, which looks only ten times a second whether it is to end."""
            while not await self.on_tick(0):  # noqa: ASYNC110 - a signal, too, sets nothing but an attribute
                await asyncio.sleep(0.01)

    app = create_app(settings, limits, stopwatch)
    server = Server(server_config(app, tls), app.state.admission, drain_secs, started.set)
    listener = listening_socket("127.0.0.1", port)  # also where connections of its predecessor linger
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield RunningService(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        listener.close()
