"""The service reads the requests of `docs/protocol-messages`, and answers them byte for byte."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from golden_messages import CONVERSATIONS, asked, files_of, is_request, message_of
from scripted_client import settled
from unit_builders import rows_of, series, span, table, utc

from cb_trade_data.api.admission import Admission, AdmissionLimits
from cb_trade_data.api.connection import Connection, ConnectionLimits
from cb_trade_data.api.encoders import JsonColumns, JsonRows
from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.errors import ExchangeUnavailableError, UnknownSymbolError
from cb_trade_data.historical.choice import Choice, OpenQuestion
from cb_trade_data.historical.interfaces import CurrentState
from cb_trade_data.historical.planning import HistoryPlan
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.historical.views.filling import Filling
from cb_trade_data.models.component import Component
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.messages import Fill
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State

NOW = datetime.now(UTC)
IN_AN_HOUR = NOW + timedelta(hours=1)
PRINCIPAL = Principal("test", frozenset({"data:read"}), IN_AN_HOUR, IN_AN_HOUR)
FIVE_MINUTES = series(timeframe="5m")
TURN_OF_THE_YEAR = span("2023-12-31T23:50", "2024-01-01T00:10")
BARS = table(
    [
        (1_704_066_600_000, 42270.0, 42285.5, 42261.02, 42283.58, 35.92724),
        (1_704_066_900_000, 42283.58, 42298.62, 42280.0, 42280.0, 0.125),
        (1_704_067_200_000, 42280.0, 42280.0, 42280.0, 42280.0, 0.0),
        (1_704_067_500_000, 42281.25, 42310.0, 42275.75, 42309.99, 12.5),
    ]
)
TRADES = Series("binance", "BTC/USDT", Kind.TRADES, None)
MIDNIGHT = span("2023-12-31T23:59", "2024-01-01T00:01")
MIDNIGHT_TRADES = rows_of(
    Kind.TRADES,
    (1_704_067_199_100, "3330099", "sell", 42283.5, 0.00125),
    (1_704_067_200_004, "3330100", "buy", 42283.58, 0.25),
    (1_704_067_200_004, "3330101", "buy", 42283.59, 1.5),
    (1_704_067_200_004, "3330103", "sell", 42283.58, 0.004),
)
FUNDING = Series("binance", "BTC/USDT:USDT", Kind.FUNDING_RATE, None)
NEW_YEAR = span("2023-12-31T16:00", "2024-01-01T12:00")
RATES = rows_of(
    Kind.FUNDING_RATE,
    (1_704_038_400_000, 0.0001, None),
    (1_704_067_200_003, 0.00037409, 42324.9),
    (1_704_096_000_000, -0.0000125, 42615.5),
)
FOUR_HOURS = Series("coinbase", "BTC/USDT", Kind.OHLCV, Timeframe.parse("4h"), Timeframe.parse("2h"))
LAST_BAR = span("2024-01-01T00:05", "2024-01-01T00:10")
MORNING = span("2024-01-01", "2024-01-01T12:00")
FOUR_HOUR_BARS = table(
    [
        (1_704_067_200_000, 42280.0, 42610.0, 42174.25, 42475.23, 1803.5),
        (1_704_096_000_000, 42513.1, 42730.98, 42500.0, 42658.5, 961.25),
    ]
)
EIGHT_HOURS = span("2017-08-17", "2017-08-17T08:00")


class Answer(SimpleNamespace):
    """In place of the main job's `Answer`: the rows are there, or never come (None)."""

    def __init__(
        self,
        wanted: TimeRange,
        rows: Any,
        coverage: list[Segment],
        estimated_rows: int | None = 4,
        series: Series = FIVE_MINUTES,
        **costs: int,
    ) -> None:
        digest = AnswerDigest(series)
        if rows is not None:
            digest.add(wanted, rows)
        receipt = Receipt(**costs, digest=digest.text())
        receipt.enter(coverage)
        super().__init__(
            start=wanted.start,
            end=wanted.end,
            estimated_rows=estimated_rows,
            source_rows=estimated_rows,
            receipt=receipt,
            rows=rows,
        )

    async def stretches(self) -> AsyncIterator[Stretch]:
        if self.rows is None:
            await asyncio.Event().wait()
        elif self.rows.num_rows:
            yield Stretch(self.rows)


class Manager:
    """In place of the main job: gives what it was told to, and remembers what it was asked for."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome
        self.asked: list[Any] = []

    def series_or_derived(
        self, exchange: str, symbol: str, kind: str, timeframe: str | None, *, derive: bool
    ) -> Series:
        asked = Series(exchange, symbol, Kind(kind), None if timeframe is None else Timeframe.parse(timeframe))
        return FOUR_HOURS if (timeframe, derive) == ("4h", False) else asked

    async def choose(self, question: OpenQuestion, *, may_ask: bool) -> Choice:
        self.asked.append(("choose", question.exchanges, question.wanted, may_ask))
        return Choice(Series("binance", question.symbol, Kind(question.kind), Timeframe.parse(question.timeframe)), {})

    async def open(self, series: Series, wanted: TimeRange, *, refresh: bool, fill: Fill) -> Any:
        return self._give("open", series, wanted, refresh, *(() if fill is Fill.NONE else (fill,)))

    async def plan(self, series: Series, wanted: TimeRange, *, refresh: bool, rows_max: int | None = None) -> Any:
        return self._give("plan", series, wanted, refresh)

    async def current(self, series: Series) -> Any:
        return self._give("current", series)

    def _give(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Auth(IAuthenticationModule):
    """In place of authentication: knows the newer token of the conversation, which is good for long."""

    async def authenticate(self, token: str | None) -> Principal:
        assert token == asked("authenticate")["token"]
        return replace(PRINCIPAL, expires_at=utc("2100-01-01"), ends_at=utc("2100-01-01"))

    def condition(self) -> Component:
        return Component()

    async def close(self) -> None:
        pass


class Socket:
    """In place of a client that speaks as *conversation* has it: the next request when all before it was answered."""

    def __init__(self, conversation: str) -> None:
        files = files_of(conversation)
        # What is wrong with a message that is no request does not matter: it is not on record.
        self._due = [(0, "[]")] if not is_request(files[0]) else []
        answers = 0
        for file in files:
            if is_request(file):
                self._due.append((answers, message_of(file)))
            else:
                answers += 1
        self._answers = answers
        self._news = asyncio.Event()
        self.sent: list[str | bytes] = []

    client = None  # its address is not known

    async def receive(self) -> dict[str, Any]:
        answers, request = self._due.pop(0) if self._due else (self._answers, None)
        while len(self.sent) < answers:
            self._news.clear()
            await self._news.wait()
        if request is None:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": request}

    async def send_text(self, text: str) -> None:
        self.sent.append(text)
        self._news.set()

    async def send_bytes(self, data: memoryview) -> None:
        self.sent.append(bytes(data))
        self._news.set()


def whole_answer() -> Answer:
    held = [Segment(TURN_OF_THE_YEAR, State.HELD)]
    return Answer(TURN_OF_THE_YEAR, BARS, held, rows_from_exchange=4, exchange_calls=1)


def midnight_trades() -> Answer:
    held = [Segment(MIDNIGHT, State.HELD)]
    return Answer(MIDNIGHT, MIDNIGHT_TRADES, held, None, TRADES, rows_from_exchange=4, exchange_calls=1)


def new_year_rates() -> Answer:
    held = [Segment(NEW_YEAR, State.HELD)]
    return Answer(NEW_YEAR, RATES, held, None, FUNDING, rows_from_storage=3)


def gaps() -> Answer:
    coverage = [
        Segment(span("2017-08-17", "2017-08-17T04:00"), State.UNLISTED),
        Segment(span("2017-08-17T04:00", "2017-08-17T05:00"), State.EMPTY, utc("2024-01-05T12:00"), asks=2),
        Segment(
            span("2017-08-17T05:00", "2017-08-17T08:00"),
            State.FAILED,
            utc("2024-01-05T12:00:01.5"),
            reason="binance is unavailable: HTTP 503",
        ),
    ]
    return Answer(EIGHT_HOURS, BARS.slice(0, 0), coverage, exchange_calls=7)


def derived() -> Answer:
    failed = Segment(
        span("2024-01-01T04:00", "2024-01-01T08:00"),
        State.FAILED,
        utc("2024-01-05T12:00:01.5"),
        reason="coinbase is unavailable: HTTP 503",
    )
    coverage = [
        Segment(span("2024-01-01", "2024-01-01T04:00"), State.HELD),
        failed,
        Segment(span("2024-01-01T08:00", "2024-01-01T12:00"), State.HELD),
    ]
    costs = {"rows_from_storage": 2, "rows_from_exchange": 2, "exchange_calls": 6}
    return Answer(MORNING, FOUR_HOUR_BARS, coverage, 3, FOUR_HOURS, **costs)


def filled(fill: Fill) -> Answer:
    """Two bars and what stands between them; the digest is that of the two."""
    filling = Filling(FIVE_MINUTES.grid, fill, lambda each: each.state is State.HELD, TURN_OF_THE_YEAR.start)
    coverage = [Segment(TURN_OF_THE_YEAR, State.HELD)]
    filling.see(coverage, [])
    real = pa.concat_tables([BARS.slice(0, 1), BARS.slice(3)])
    answer = Answer(TURN_OF_THE_YEAR, real, coverage, rows_from_storage=2)
    answer.rows = pa.concat_tables(filling.add(real))
    answer.receipt.synthetic_rows = filling.synthetic_rows
    return answer


HISTORY = ("open", FIVE_MINUTES, TURN_OF_THE_YEAR, False)
#: Of each conversation what the main job gives, and what it is asked for.
INSIDE: dict[str, tuple[Any, list[Any]]] = {
    "history_json": (whole_answer(), [HISTORY]),
    "history_json_columns": (whole_answer(), [HISTORY]),
    "history_arrow": (whole_answer(), [HISTORY]),
    "resume": (
        Answer(LAST_BAR, BARS.slice(3), [Segment(LAST_BAR, State.HELD)], 1, rows_from_storage=1),
        [("open", FIVE_MINUTES, LAST_BAR, False)],
    ),
    "choice": (
        Answer(LAST_BAR, BARS.slice(3), [Segment(LAST_BAR, State.HELD)], 1, rows_from_storage=1),
        [("choose", ["kraken", "binance"], LAST_BAR, True), ("open", FIVE_MINUTES, LAST_BAR, False)],
    ),
    "gaps": (gaps(), [("open", series(timeframe="1h"), EIGHT_HOURS, False)]),
    "trades": (midnight_trades(), [("open", TRADES, MIDNIGHT, False)]),
    "trades_arrow": (midnight_trades(), [("open", TRADES, MIDNIGHT, False)]),
    "funding_rates": (new_year_rates(), [("open", FUNDING, NEW_YEAR, False)]),
    "derived": (derived(), [("open", FOUR_HOURS, MORNING, False)]),
    "filled": (filled(Fill.PREVIOUS_CLOSE), [(*HISTORY, Fill.PREVIOUS_CLOSE)]),
    "filled_arrow": (filled(Fill.PREVIOUS_CLOSE), [(*HISTORY, Fill.PREVIOUS_CLOSE)]),
    "filled_null": (filled(Fill.NULL), [(*HISTORY, Fill.NULL)]),
    "cancel": (Answer(TURN_OF_THE_YEAR, None, []), [HISTORY]),
    "plan": (HistoryPlan(3, (LAST_BAR,), 1), [("plan", *HISTORY[1:])]),
    "latest": (CurrentState(LAST_BAR.start, utc("2024-01-01T00:15")), [("current", FIVE_MINUTES)]),
    "error": (
        UnknownSymbolError("binance", "BTCUSDT"),
        [("open", series("BTCUSDT", "5m"), TURN_OF_THE_YEAR, False)],
    ),
    "error_to_retry": (
        ExchangeUnavailableError("binance", "HTTP 429", timedelta(seconds=30)),
        [("current", FIVE_MINUTES)],
    ),
    "error_without_request": (None, []),
    "authenticate": (None, []),
}


def with_recorded_duration(conversation: str, message: str | bytes) -> str | bytes:
    """Return *message* with the duration that the conversation has on record: it is another one every time."""
    if isinstance(message, bytes):
        return message
    recorded = re.search(r'"elapsed_ms":\d+', "".join(str(message_of(file)) for file in files_of(conversation)))
    return message if recorded is None else re.sub(r'"elapsed_ms":\d+', recorded[0], message)


async def serve(socket: Socket, manager: Manager) -> None:
    with Admission(AdmissionLimits()).connection(PRINCIPAL.subject) as guest:
        await Connection(socket, PRINCIPAL, Auth(), guest, manager, ConnectionLimits(), lambda: NOW).serve()


@pytest.mark.parametrize("conversation", CONVERSATIONS)
async def test_the_service_holds_a_recorded_conversation_byte_for_byte(conversation):
    outcome, asked = INSIDE[conversation]
    manager, socket = Manager(outcome), Socket(conversation)

    await serve(socket, manager)

    answers = [message_of(file) for file in files_of(conversation) if not is_request(file)]
    assert [with_recorded_duration(conversation, message) for message in socket.sent] == answers
    assert manager.asked == asked


@pytest.mark.parametrize(("conversation", "on_the_loop"), [("history_json", False), ("history_json_columns", True)])
async def test_rows_of_json_are_written_beside_the_event_loop(monkeypatch, conversation, on_the_loop):
    outcome, _ = INSIDE[conversation]
    written_by: list[bool] = []
    for encoder in (JsonRows, JsonColumns):

        def data(self, rows, write=encoder._data):
            written_by.append(threading.current_thread() is threading.main_thread())
            return write(self, rows)

        monkeypatch.setattr(encoder, "_data", data)

    await serve(Socket(conversation), Manager(outcome))

    assert set(written_by) == {on_the_loop}


class SlowSocket(Socket):
    """Asks for rows in `arrow`, takes the first chunk, and cancels before it takes the rows."""

    def __init__(self) -> None:
        super().__init__("history_arrow")
        self._due.append((2, '{"type":"cancel_request","request_id":"r1"}'))
        self._answers = 3
        self.takes_rows = asyncio.Event()

    async def send_bytes(self, data: memoryview) -> None:
        await self.takes_rows.wait()
        await super().send_bytes(data)


async def test_rows_that_were_announced_come_before_the_word_that_their_request_was_cancelled():
    """A client that was told of so many bytes takes the next message for them."""
    socket = SlowSocket()
    serving = asyncio.create_task(serve(socket, Manager(whole_answer())))

    await settled()
    socket.takes_rows.set()
    await serving

    start_chunk_and_rows = [message_of(file) for file in files_of("history_arrow")[1:4]]
    last_word = '{"type":"request_cancelled","request_id":"r1","was_running":true}'
    assert socket.sent == [*start_chunk_and_rows, last_word]
