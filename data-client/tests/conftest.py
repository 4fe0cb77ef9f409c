"""A small honest service that speaks the wire contract over a real WebSocket, with faults to order."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from wire_contract import answer_problem, request_problem

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE_MS = 60_000
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
TIME = ("timestamp", pa.timestamp("ms", tz="UTC"))
SCHEMA = pa.schema([TIME, *((name, pa.float64()) for name in COLUMNS[1:])])
LEVEL = pa.list_(pa.field("item", pa.float64(), nullable=False), 2)
LEVELS = pa.list_(pa.field("item", LEVEL, nullable=False))
SCHEMAS = {
    "ohlcv": SCHEMA,
    "trades": pa.schema(
        [TIME, ("id", pa.string()), ("side", pa.string()), ("price", pa.float64()), ("amount", pa.float64())]
    ),
    "funding_rate": pa.schema([TIME, ("rate", pa.float64()), ("mark_price", pa.float64())]),
    "order_book": pa.schema([TIME, ("bids", LEVELS), ("asks", LEVELS), ("nonce", pa.int64())]),
}
GOOD_TOKEN = "good.token"


def start_ms() -> int:
    return int(START.timestamp()) * 1000


def bars(count: int) -> list[dict[str, Any]]:
    """Return *count* one-minute bars from 2024-01-01, each telling its own number in its prices."""
    return [
        {
            "timestamp": start_ms() + number * MINUTE_MS,
            "open": 100.0 + number,
            "high": 101.5 + number,
            "low": 99.25 + number,
            "close": 100.5 + number,
            "volume": 0.1 * number,
        }
        for number in range(count)
    ]


def trades(count: int) -> list[dict[str, Any]]:
    """Return *count* trades from 2024-01-01, three in each of their milliseconds, which are 20 s apart."""
    return [
        {
            "timestamp": start_ms() + number // 3 * 20_000,
            "id": str(8 + number),
            "side": "sell" if number % 2 else "buy",
            "price": 100.0 + number,
            "amount": 0.25 * number,
        }
        for number in range(count)
    ]


def funding(count: int) -> list[dict[str, Any]]:
    """Return *count* funding rates from 2024-01-01, eight hours and a millisecond apart, half without a mark price."""
    return [
        {
            "timestamp": start_ms() + number * (8 * 60 * MINUTE_MS + 1),
            "rate": 0.0001 * number,
            "mark_price": None if number % 2 else 42_000.5 + number,
        }
        for number in range(count)
    ]


def books(count: int) -> list[dict[str, Any]]:
    """Return *count* order books from 2024-01-01, a second apart; each has one bid more than the one before."""
    return [
        {
            "timestamp": start_ms() + number * 1000,
            "bids": [[99.5 - level, 0.5 + level] for level in range(number)],
            "asks": [[100.5, 1.0], [101.0, 2.25]],
            "nonce": 2**53 + number,
        }
        for number in range(count)
    ]


def batch_of(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    """Return rows as one batch of Arrow."""
    return pa.RecordBatch.from_arrays(
        [pa.array([row[field.name] for row in rows], field.type) for field in schema], schema=schema
    )


def filled(rows: list[dict[str, Any]], start_ms: int, end_ms: int, fill: str) -> list[dict[str, Any]]:
    """Return minute bars with synthetic ones between them, as a service does that knows nothing of the time before."""
    real = {row["timestamp"]: row for row in rows}
    told: list[dict[str, Any]] = []
    close = None
    for time in range(start_ms, end_ms, MINUTE_MS):
        if time in real:
            close = real[time]["close"]
            told.append(real[time] | {"synthetic": False})
        elif fill == "null":
            told.append({"timestamp": time, **dict.fromkeys(COLUMNS[1:]), "synthetic": True})
        elif close is not None:
            told.append({"timestamp": time, **dict.fromkeys(COLUMNS[1:5], close), "volume": 0.0, "synthetic": True})
    return told


def chunks_of(rows: list[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    """Return *rows* in chunks of about *size*; those of one time are in one."""
    chunks: list[list[dict[str, Any]]] = []
    for row in rows:
        if chunks and (len(chunks[-1]) < size or chunks[-1][-1]["timestamp"] == row["timestamp"]):
            chunks[-1].append(row)
        else:
            chunks.append([row])
    return chunks


@dataclass
class FakeService:
    """Serves `series` to whoever holds `GOOD_TOKEN`; the other fields order a fault or an oddity."""

    series: list[dict[str, Any]] = field(default_factory=list)
    other_kinds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # in place of `series`
    gaps: list[dict[str, Any]] = field(default_factory=list)
    chunk_rows: int = 100
    refuse_handshake: HTTPStatus | None = None
    refusal: dict[str, Any] = field(default_factory=dict)
    refusals: list[tuple[HTTPStatus, dict[str, Any]]] = field(default_factory=list)  # over HTTP, once each
    good_tokens: tuple[str, ...] = (GOOD_TOKEN,)
    error: dict[str, Any] | None = None
    error_after_chunks: int = 0
    lose_chunk: int | None = None
    close_after_chunks: tuple[int, int, str] | None = None
    drop_after_chunks: int | None = None
    hold_after_chunks: int | None = None
    drop_receipts: int = 0
    drop_answers: int = 0
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    stored_series: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    quality_pages: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 1000
    breaks_contract: bool = False
    redirect_to: str | None = None
    chosen: str | None = None  # the exchange that answers, where the request leaves that open
    derived_from: str | None = None
    edit: Callable[[dict[str, Any]], list[dict[str, Any] | str | bytes]] = lambda message: [message]
    edit_binary: Callable[[bytes], list[bytes | str]] = lambda binary: [binary]

    url: str = ""
    port: int = 0
    leave: Callable[[], None] = lambda: None  # closes its connections as a restart does, and answers no more
    sockets: list[ServerConnection] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    request_headers: list[Headers] = field(default_factory=list)
    request_paths: list[str] = field(default_factory=list)
    connection_ended: threading.Event = field(default_factory=threading.Event)
    contract_problems: list[str | None] = field(default_factory=list)

    def check_token(self, connection: ServerConnection, request: Request) -> Response | None:
        self.request_headers.append(request.headers)
        self.request_paths.append(request.path)
        if self.refuse_handshake:
            refusal = {"code": "token_expired", "message": "the token expired yesterday"} | self.refusal
            return connection.respond(self.refuse_handshake, json.dumps(refusal))
        if request.headers.get("Authorization") not in [f"Bearer {token}" for token in self.good_tokens]:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "no valid token")
        parts = urlsplit(request.path)
        if parts.path == "/ws/data":
            return None
        if not parts.path.startswith("/v1/"):
            return connection.respond(HTTPStatus.NOT_FOUND, "Not Found")
        if self.redirect_to:
            response = connection.respond(HTTPStatus.FOUND, "")
            response.headers["Location"] = self.redirect_to
            return response
        query = dict(parse_qsl(parts.query))
        self.requests.append(query)
        if self.refusals:
            status, facts = self.refusals.pop(0)
            return connection.respond(status, json.dumps(facts))
        if self.error:
            status = HTTPStatus.SERVICE_UNAVAILABLE if self.error.get("retryable") else HTTPStatus.BAD_REQUEST
            return connection.respond(status, json.dumps(self.error))
        answers = {
            "exchanges": self.tell_exchanges,
            "series": self.tell_series,
            "coverage": self.tell_coverage,
            "comparison": self.tell_comparison,
            "quality": self.tell_quality,
        }
        [edited] = self.edit(answers[parts.path.removeprefix("/v1/")](query))
        return connection.respond(HTTPStatus.OK, edited if isinstance(edited, str) else json.dumps(edited))

    def tell_exchanges(self, query: dict[str, str]) -> dict[str, Any]:
        return {"exchanges": self.exchanges}

    def tell_series(self, query: dict[str, str]) -> dict[str, Any]:
        first = int(query.get("after", 0))
        page = self.stored_series[first : first + self.page_size]
        more = first + len(page) < len(self.stored_series)
        return {"series": page, "next": str(first + len(page)) if more else None}

    def tell_coverage(self, query: dict[str, str]) -> dict[str, Any]:
        asked = query.get("start_time")
        start = 0 if asked is None else int(datetime.fromisoformat(asked).timestamp() * 1000)
        rest = [segment for segment in self.segments if segment["end_time"] > start]
        page = rest[: self.page_size]
        end = page[-1]["end_time"] if page else None

        def bars(is_counted: Callable[[str], bool]) -> int | None:
            counted = [segment["bars"] for segment in page if is_counted(segment["state"])]
            return sum(counted) if query["kind"] == "ohlcv" else None

        return {
            **{name: query.get(name) for name in ("exchange", "symbol", "kind", "timeframe")},
            "start_time": page[0]["start_time"] if page else None,
            "end_time": end,
            "segments": page,
            "bars_expected": bars(lambda state: state != "unlisted"),
            "bars_held": bars(lambda state: state == "held"),
            "next_start_time": end if len(rest) > len(page) else None,
        }

    def tell_comparison(self, query: dict[str, str]) -> dict[str, Any]:
        """Tell the page, of those ordered, that begins where it is asked for, or else the first one."""
        start = datetime.fromisoformat(query["start_time"]).timestamp() * 1000
        page = next((each for each in self.comparisons if each["start_time"] == start), self.comparisons[0])
        return {**{name: query[name] for name in ("exchange", "symbol", "timeframe")}, **page}

    def tell_quality(self, query: dict[str, str]) -> dict[str, Any]:
        """Tell the page, of those ordered, that begins where it is asked for, or else the first one."""
        asked = query.get("start_time")
        start = None if asked is None else datetime.fromisoformat(asked).timestamp() * 1000
        page = next((each for each in self.quality_pages if each["start_time"] == start), self.quality_pages[0])
        return {**{name: query[name] for name in ("exchange", "symbol", "timeframe")}, **page}

    def handle(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        try:
            for text in socket:
                request = json.loads(text)
                self.requests.append(request)
                self.contract_problems.append(request_problem(text))
                answer = {
                    "request_historical": self.answer_history,
                    "request_current_timestamp": self.answer_latest,
                    "plan_historical": self.answer_plan,
                }[request["type"]]
                answer(socket, request)
        except ConnectionClosed:
            pass
        finally:
            self.connection_ended.set()

    def send(self, socket: ServerConnection, request: dict[str, Any], message_type: str, **fields: Any) -> None:
        message = {"type": message_type, "request_id": request["request_id"], **fields}
        if not self.error and not self.breaks_contract:  # tests order errors that no service sends, too
            self.contract_problems.append(answer_problem(message))
        for edited in self.edit(message):
            socket.send(edited if isinstance(edited, str | bytes) else json.dumps(edited))

    def series_of(self, kind: str) -> list[dict[str, Any]]:
        return self.other_kinds.get(kind, self.series)

    def answer_history(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        if self.error and not self.error_after_chunks:
            self.send(socket, request, "error_response", **self.error)
            return
        asked = [datetime.fromisoformat(request[name]).timestamp() * 1000 for name in ("start_time", "end_time")]
        rows = [row for row in self.series_of(request["kind"]) if asked[0] <= row["timestamp"] < asked[1]]
        has_bars = request["kind"] == "ohlcv"
        end = min(asked[1], self.series[-1]["timestamp"] + MINUTE_MS) if self.series and has_bars else asked[1]
        span = {"start_time": int(asked[0]), "end_time": int(end)}
        fill = request.get("fill")
        if fill:
            rows = filled(rows, *span.values(), fill)
        schema = (
            SCHEMAS[request["kind"]].append(pa.field("synthetic", pa.bool_())) if fill else SCHEMAS[request["kind"]]
        )
        named = {name: request.get(name) for name in ("symbol", "kind", "timeframe", "format")}
        named["exchange"] = self.exchange_of(request)
        expected = {"estimated_rows": len(rows) if has_bars else None, "estimated_bytes": 0 if has_bars else None}
        viewed = {"fill": fill} if fill else {}
        viewed |= {"derived_from": self.derived_from} if self.derived_from else {}
        self.send(socket, request, "historical_data_start", **named, **span, **expected, **viewed)
        chunks = chunks_of(rows, request.get("chunk_rows", self.chunk_rows))
        for sequence, chunk in enumerate(chunks):
            if self.interrupt(socket, request, sequence):
                return
            if sequence == self.lose_chunk:
                continue
            data, binary = self.data_of(chunk, schema, request["format"], is_first=sequence == 0)
            self.send(
                socket,
                request,
                "historical_data_chunk",
                sequence=sequence,
                rows=len(chunk),
                start_time=chunk[0]["timestamp"],
                end_time=chunk[-1]["timestamp"] + (MINUTE_MS if has_bars else 1),
                **data,
            )
            for edited in self.edit_binary(binary) if binary is not None else []:
                socket.send(edited)
        if self.drop_receipts:
            self.drop_receipts -= 1
            socket.close_socket()
            return
        self.send(
            socket,
            request,
            "historical_data_complete",
            rows=len(rows),
            chunks=len(chunks),
            coverage=[{**span, "state": "held"}],
            coverage_truncated=False,
            gaps=self.gaps,
            rows_from_storage=0,
            rows_from_exchange=len(rows),
            exchange_calls=-(-len(rows) // 1000),
            elapsed_ms=12,
            **({"synthetic_rows": sum(row["synthetic"] for row in rows)} if fill else {}),
        )

    batch_of = staticmethod(batch_of)

    def data_of(
        self, rows: list[dict[str, Any]], schema: pa.Schema, wire_format: str, *, is_first: bool
    ) -> tuple[dict[str, Any], bytes | None]:
        if wire_format == "json":
            return {"data": rows}, None
        if wire_format == "json_columns":
            return {"data": {name: [row[name] for row in rows] for name in rows[0]}}, None
        binary = batch_of(rows, schema).serialize().to_pybytes()
        if is_first:
            binary = schema.serialize().to_pybytes() + binary
        return {"bytes": len(binary)}, binary

    def interrupt(self, socket: ServerConnection, request: dict[str, Any], sequence: int) -> bool:
        if self.error and sequence == self.error_after_chunks:
            self.send(socket, request, "error_response", **self.error)
            return True
        if self.close_after_chunks and sequence == self.close_after_chunks[0]:
            socket.close(*self.close_after_chunks[1:])
            return True
        if sequence == self.drop_after_chunks:
            socket.close_socket()
            return True
        # Being held ends when the client leaves: the caller's loop then waits for the next request in vain.
        return sequence == self.hold_after_chunks

    def exchange_of(self, request: dict[str, Any]) -> str:
        asked = request["exchange"]
        return asked if isinstance(asked, str) and asked != "any" else self.chosen or "binance"

    def answer_latest(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        if self.drop_answers:
            self.drop_answers -= 1
            socket.close_socket()
            return
        self.send(
            socket,
            request,
            "current_timestamp_response",
            exchange=self.exchange_of(request),
            **{name: request.get(name) for name in ("symbol", "timeframe")},
            timestamp=self.series[-1]["timestamp"] if self.series else None,
            closed_until=start_ms() + 1440 * MINUTE_MS,
            **({"derived_from": self.derived_from} if self.derived_from else {}),
        )

    def answer_plan(self, socket: ServerConnection, request: dict[str, Any]) -> None:
        missing = [{"start_time": start_ms(), "end_time": start_ms() + 1440 * MINUTE_MS}]
        self.send(
            socket,
            request,
            "plan_response",
            exchange=self.exchange_of(request),
            rows_in_storage=7,
            missing=missing,
            missing_truncated=False,
            exchange_calls=2,
            **({"derived_from": self.derived_from} if self.derived_from else {}),
        )


@pytest.fixture
def run_service() -> Iterator[Callable[..., FakeService]]:
    """Start a `FakeService` with the given fields, on a free port if none is given; it stops after the test.

    What it was sent, and what it sent before tests edited that, must keep the contract.
    """
    stops: list[Callable[[], None]] = []
    services: list[FakeService] = []

    def run(port: int = 0, **fields: Any) -> FakeService:
        service = FakeService(**fields)
        services.append(service)
        server = serve(
            service.handle, "127.0.0.1", port, process_request=service.check_token, compression=None, close_timeout=1
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stops.extend([thread.join, server.shutdown])
        service.port = server.socket.getsockname()[1]
        service.url = f"ws://127.0.0.1:{service.port}/ws/data"

        def leave() -> None:
            server.shutdown()
            thread.join()
            for socket in service.sockets:
                socket.close(1012)

        service.leave = leave
        return service

    yield run
    for stop in reversed(stops):
        stop()
    assert [problem for service in services for problem in service.contract_problems if problem] == []


@pytest.fixture
def minute_bars() -> Callable[[int], list[dict[str, Any]]]:
    """The bars of the first *n* minutes of 2024."""
    return bars


@pytest.fixture
def made_trades() -> Callable[[int], list[dict[str, Any]]]:
    """*n* trades, three in each millisecond that has any."""
    return trades


@pytest.fixture
def made_funding() -> Callable[[int], list[dict[str, Any]]]:
    """*n* funding rates, some without a mark price."""
    return funding


@pytest.fixture
def made_books() -> Callable[[int], list[dict[str, Any]]]:
    """*n* order books."""
    return books


@pytest.fixture
def start() -> datetime:
    """Where the bars begin: 2024-01-01T00:00Z."""
    return START


@pytest.fixture
def end() -> datetime:
    """A day after `start`: 1440 minutes fit."""
    return START + timedelta(days=1)


@pytest.fixture
def binance() -> dict[str, Any]:
    """An exchange as the service tells of it."""
    return {
        "name": "binance",
        "kinds": ["ohlcv"],
        "timeframes": ["1m", "1h"],
        "page_limit_bars": 1000,
        "settle_margin_ms": 2000,
        "state": "unused",
        "condition": {
            "breaker": "closed",
            "calls_per_sec": 24.25,
            "full_calls_per_sec": 48.5,
            "waiting": 7,
            "under_way": 2,
            "paused_secs": 0.0,
        },
    }
