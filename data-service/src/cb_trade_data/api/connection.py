"""One client's connection: its requests run side by side and fairly, each ending with exactly one last word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, cast
from uuid import uuid4

import pyarrow as pa
import structlog
from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from cb_trade_data.api import outgoing
from cb_trade_data.api.admission import Guest
from cb_trade_data.api.encoders import ENCODERS, Chunk, ChunkEncoder
from cb_trade_data.api.handshake import CLOSE_UNAUTHENTICATED, host_of
from cb_trade_data.api.incoming import check_message, check_range, parse_json, request_id_of
from cb_trade_data.api.story import RequestStory
from cb_trade_data.api.tally import Tally
from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.errors import (
    CbTradeError,
    ErrorCode,
    MessageError,
    OtherSubjectError,
    RangeTooLargeError,
    TooManyRequestsError,
)
from cb_trade_data.historical.choice import OpenQuestion
from cb_trade_data.historical.interfaces import IHistoricalDataManager
from cb_trade_data.models.messages import (
    Authenticate,
    CancelRequest,
    ClientMessage,
    PlanHistorical,
    RangeMessage,
    RequestCurrentTimestamp,
    RequestHistorical,
    SeriesMessage,
)
from cb_trade_data.models.series import ANY_EXCHANGE, Series
from cb_trade_data.models.time_range import TimeRange

_log = structlog.get_logger(__name__)

CLOSE_READER_STOPPED: Final = 4408
CLOSE_RESTARTING: Final = 1012
CLOSE_ABNORMAL: Final = 1006

# How late at most a reader is given up: a twentieth of the time that it has.
_LOOKS_PER_SEND_TIMEOUT: Final = 20


_REFUSALS_TOLD_EVERY_SECS: Final = 1.0


@dataclass(frozen=True)
class ConnectionLimits:
    """How much one connection may ask for, and how long it may take to listen."""

    running_requests: int = 32
    open_requests: int = 256  # running or queued
    send_timeout_secs: float = 60.0
    request_rows: int = 50_000_000  # that a range has room for


class Connection:
    """Reads messages, runs requests, and is the only one who writes to the socket."""

    def __init__(
        self,
        websocket: WebSocket,
        principal: Principal,
        auth: IAuthenticationModule,
        guest: Guest,
        manager: IHistoricalDataManager,
        limits: ConnectionLimits,
        now: Callable[[], datetime],
        tally: Tally | None = None,
    ) -> None:
        """
        Args:
            principal: Whoever opened the connection.
            auth: Tells whether another token renews it.
            tally: What is counted in, with all other connections; None for one of its own.
        """
        self._websocket = websocket
        self._principal = principal
        self._auth = auth
        self._guest = guest
        self._manager = manager
        self._now = now
        self._limits = limits
        self._tally = tally or Tally()
        self._requests: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(limits.running_requests)
        self._sending = asyncio.Lock()
        self._sending_since: float | None = None  # loop time
        self._untold_refusals = 0
        self._told_of_refusal_at = float("-inf")  # loop time
        self._closing: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._log = _log.bind(subject=principal.subject, connection_id=uuid4().hex[:12])

    async def serve(self) -> None:
        """Serve until the client leaves, its token expires, it stops reading, or the service ends; then end all its
        requests."""
        loop = asyncio.get_running_loop()
        opened = loop.time()
        self._tally.opened_connections += 1
        host = host_of(self._websocket)
        self._log.info("connection.opened", client=host, expires_at=self._principal.expires_at)
        self._end_with_the_token()
        self._guest.when_to_leave(partial(self._close, CLOSE_RESTARTING, ErrorCode.SHUTTING_DOWN))
        reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch_reader())
        try:
            awaited: set[asyncio.Future[Any]] = {reading, self._closing}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._expiry.cancel()
            tasks = [reading, watching, *self._tasks]
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            code, reason = self._why_it_ended(reading)
            seconds = round(loop.time() - opened, 3)
            self._log.info("connection.closed", code=code, reason=reason, seconds=seconds)
        if self._closing.done():
            with suppress(WebSocketDisconnect, WebSocketDisconnected):
                await self._websocket.close(*self._closing.result())
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
                raise outcome

    def _end_with_the_token(self) -> None:
        secs_left = (self._principal.ends_at - self._now()).total_seconds()
        self._expiry = asyncio.get_running_loop().call_later(
            secs_left, self._close, CLOSE_UNAUTHENTICATED, ErrorCode.TOKEN_EXPIRED
        )

    def _close(self, code: int, reason: str) -> None:
        if not self._closing.done():
            self._log.info("connection.closing", code=code, reason=reason)
            self._closing.set_result((code, reason))

    def _why_it_ended(self, reading: asyncio.Task[int]) -> tuple[int, str]:
        if self._closing.done():
            return self._closing.result()
        if not reading.cancelled() and reading.exception() is None:
            return reading.result(), "the client left"
        return CLOSE_ABNORMAL, "the connection broke"

    # --- Reading -----------------------------------------------------------------------------------------------------

    async def _read(self) -> int:
        """Read until the client leaves; return the code that it left with."""
        while True:
            event = await self._websocket.receive()
            if event["type"] == "websocket.disconnect":
                return int(event.get("code", CLOSE_ABNORMAL))
            request_id = message = None
            try:
                try:
                    text = event.get("text")
                    if text is None:
                        raise MessageError(ErrorCode.BAD_MESSAGE, "messages are JSON text, not binary")
                    fields = parse_json(text)
                    request_id = request_id_of(fields)
                    message = check_message(fields)
                finally:
                    self._count(message)
                await self._dispatch(message)
            except CbTradeError as error:
                self._tally.refused_messages[error.code] += 1
                self._tell_of_refusal(request_id, error)
                # An open request gets its one last word later: this error must not look like it.
                in_use = request_id in self._requests
                await self._send(outgoing.error_response(None if in_use else request_id, error))
                # Nothing of this waits while the client keeps up: give all the others their turn.
                await asyncio.sleep(0)

    def _count(self, message: ClientMessage | None) -> None:
        """Count *message*, None for one without sense, towards what its subject may ask in a second.

        To end what is open is never one too many: each request is ended once at most, and was counted itself.

        Raises:
            QuotaExceededError: It is one too many; that is then told in place of what else is wrong with it.
        """
        if not (isinstance(message, CancelRequest) and message.request_id in self._requests):
            self._guest.count_question()

    def _tell_of_refusal(self, request_id: str | None, error: CbTradeError) -> None:
        """Log it, but no more than one a second: a line is all that a message without sense costs whoever sends it."""
        self._untold_refusals += 1
        now = asyncio.get_running_loop().time()
        if now < self._told_of_refusal_at + _REFUSALS_TOLD_EVERY_SECS:
            return
        count, self._untold_refusals, self._told_of_refusal_at = self._untold_refusals, 0, now
        self._log.info("request.refused", request_id=request_id, code=error.code, count=count)

    async def _dispatch(self, message: ClientMessage) -> None:
        if isinstance(message, CancelRequest):
            await self._cancel(message.request_id)
            return
        request_id = message.request_id or uuid4().hex
        if request_id in self._requests:
            raise MessageError(
                ErrorCode.DUPLICATE_REQUEST_ID, f"a request {request_id!r} is open", open_request_id=request_id
            )
        if isinstance(message, Authenticate):
            await self._renew(message)
            return
        if len(self._tasks) >= self._limits.open_requests:
            raise TooManyRequestsError(self._limits.open_requests)
        self._guest.begin_request()
        story = RequestStory(message.type, asyncio.get_running_loop().time())
        task = asyncio.create_task(self._run(request_id, message, story))
        self._requests[request_id] = task
        self._tasks.add(task)
        self._tally.open_requests += 1
        task.add_done_callback(partial(self._forget, request_id, story))

    def _forget(self, request_id: str, story: RequestStory, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._tally.open_requests -= 1
        self._guest.end_request()
        if not story.outcome:
            # It was cut short, perhaps before it began; one that the client cancels has no id any more.
            story.outcome = "disconnected" if request_id in self._requests else "cancelled"
            self._conclude(request_id, story)

    async def _cancel(self, request_id: str) -> None:
        async with self._sending:  # so that a chunk that is on its way is followed by its rows
            task = self._requests.pop(request_id, None)
            if task is not None:
                task.cancel()
        if task is not None:
            await asyncio.wait([task])
        await self._send(outgoing.request_cancelled(request_id, was_running=task is not None))
        await asyncio.sleep(0)  # as after a refusal

    async def _renew(self, message: Authenticate) -> None:
        """Go on with a newer token; a bad one changes nothing. Meanwhile requests run on, but no message is read."""
        principal = await self._auth.authenticate(message.token)
        principal.require("data:read")
        if principal.subject != self._principal.subject:
            raise OtherSubjectError
        self._principal = principal
        self._expiry.cancel()
        self._end_with_the_token()
        self._log.info("connection.renewed", expires_at=principal.expires_at)
        await self._send(outgoing.authenticated(message.request_id, principal.expires_at))
        # Nothing of this waits while the client keeps up: give all others their turn.
        await asyncio.sleep(0)

    # --- Requests ----------------------------------------------------------------------------------------------------

    async def _run(self, request_id: str, message: ClientMessage, story: RequestStory) -> None:
        """Give *message* its answer; whatever goes wrong, the request gets its last word and the connection lives."""
        # A request keeps its place until its last word is out: a client that does not read gets no new ones started.
        with suppress(WebSocketDisconnect):
            async with self._places:
                last_word = await self._last_word(request_id, message, story)
                # From here on the request is over: its id may be used again, and a cancel finds nothing running.
                self._requests.pop(request_id, None)
                self._conclude(request_id, story)
                await self._send(last_word)

    async def _last_word(self, request_id: str, message: ClientMessage, story: RequestStory) -> bytes:
        """Do what *message* asks for and return the last message of its answer, which may be an error."""
        try:
            last_word = await self._answer(request_id, message, story)
        except CbTradeError as error:
            story.outcome, story.error = error.code, str(error)
            return outgoing.error_response(request_id, error)
        except WebSocketDisconnect:
            raise
        except Exception:
            log = self._log.bind(request_id=request_id, type=message.type)
            log.exception("request.defect")
            defect = outgoing.defect()
            story.outcome = defect.code
            return outgoing.error_response(request_id, defect)
        story.outcome = "ok"
        return last_word

    def _conclude(self, request_id: str, story: RequestStory) -> None:
        """Tell the story, and count it."""
        story.seconds = story.elapsed(asyncio.get_running_loop().time())
        self._tally.add(story)
        self._log.info("request", request_id=request_id, **story.fields())

    async def _answer(self, request_id: str, message: ClientMessage, story: RequestStory) -> bytes:
        """Do what *message* asks for and return the last message of its answer."""
        match message:
            case RequestHistorical():
                return await self._stream(request_id, message, story)
            case PlanHistorical():
                story.series = series = await self._series(message, story)
                wanted = _range(message)
                story.start, story.end = wanted.start, wanted.end
                plan = await self._manager.plan(
                    series, wanted, refresh=message.refresh, rows_max=self._limits.request_rows
                )
                story.exchange_calls = plan.exchange_calls
                return outgoing.plan_response(request_id, series, plan)
            case RequestCurrentTimestamp():
                story.series = series = await self._series(message, story)
                return outgoing.current_timestamp_response(request_id, series, await self._manager.current(series))
        raise TypeError(f"no answer to {type(message).__name__}")

    async def _stream(self, request_id: str, message: RequestHistorical, story: RequestStory) -> bytes:
        if message.refresh:
            self._principal.require("data:refresh")
        story.series = series = await self._series(message, story)
        wanted = _range(message)
        story.start, story.end = wanted.start, wanted.end
        answer = await self._manager.open(series, wanted, refresh=message.refresh, fill=message.fill)
        story.end = answer.end
        self._refuse_too_many(answer.source_rows or 0)
        encoder = ENCODERS[message.format](request_id, series, message.chunk_rows)
        story.format, story.receipt = encoder.format, answer.receipt
        start = outgoing.historical_data_start(
            request_id, series, answer, message.format, encoder.typical_row_bytes, message.fill
        )
        await self._send(start)

        chunks, loop = 0, asyncio.get_running_loop()
        async with aclosing(answer.stretches()) as stretches:
            async for stretch in stretches:
                self._refuse_too_many(story.rows + stretch.rows.num_rows)
                made = encoder.chunks(stretch)
                while (chunk := await _next(made, encoder)) is not None:
                    if chunks:
                        # Sending does not yield while the client keeps up: give the other requests their turn.
                        await asyncio.sleep(0)
                    await self._send(chunk.text, chunk.binary)
                    if not chunks:
                        story.first_chunk_seconds = story.elapsed(loop.time())
                    chunks += 1
                    story.rows += chunk.rows
                    story.sent_bytes += chunk.size_bytes

        elapsed_ms = round((loop.time() - story.started) * 1000)
        return outgoing.historical_data_complete(
            request_id, rows=story.rows, chunks=chunks, receipt=answer.receipt, elapsed_ms=elapsed_ms
        )

    def _refuse_too_many(self, rows: int) -> None:
        # Of kinds without bars, nobody knows before.
        if rows > self._limits.request_rows:
            raise RangeTooLargeError(rows, self._limits.request_rows)

    async def _series(self, message: SeriesMessage, story: RequestStory) -> Series:
        """Return the series of the exchange that *message* names, or of one of those that it leaves to choose from."""
        exchange = message.exchange
        if isinstance(exchange, str) and exchange != ANY_EXCHANGE:
            self._principal.require_exchange(exchange)
            return self._manager.series_or_derived(
                exchange, message.symbol, message.kind, message.timeframe_or_default, derive=message.derive
            )
        story.chosen_from = exchange
        question = OpenQuestion(
            None if isinstance(exchange, str) else exchange,
            message.symbol,
            message.kind,
            message.timeframe_or_default,
            self._principal.may_use,
            derive=message.derive,
        )
        if isinstance(message, RangeMessage):
            question = replace(question, wanted=_range(message), refresh=message.refresh)
        choice = await self._manager.choose(question, may_ask=not isinstance(message, PlanHistorical))
        story.passed_over = choice.passed_over
        return choice.series

    # --- Writing -----------------------------------------------------------------------------------------------------

    async def _send(self, text: bytes, binary: pa.Buffer | bytes | None = None) -> None:
        """Send a message, and one that belongs to it and follows at once; the only place that waits for the client.

        Raises:
            WebSocketDisconnect: The client has left.
        """
        async with self._sending:
            self._sending_since = asyncio.get_running_loop().time()
            try:
                await self._websocket.send_text(text.decode())
                if binary is not None:
                    # Whatever has a buffer will do for the server, which copies it behind its header.
                    await self._websocket.send_bytes(cast("bytes", memoryview(binary)))
            except WebSocketDisconnected as error:
                raise WebSocketDisconnect(CLOSE_ABNORMAL) from error
            finally:
                self._sending_since = None

    async def _watch_reader(self) -> None:
        """Give the client up when a message has not gone out for too long; one clock for all messages costs least."""
        loop, timeout_secs = asyncio.get_running_loop(), self._limits.send_timeout_secs
        while self._sending_since is None or loop.time() < self._sending_since + timeout_secs:  # noqa: ASYNC110
            await asyncio.sleep(timeout_secs / _LOOKS_PER_SEND_TIMEOUT)
        self._close(CLOSE_READER_STOPPED, "the client stopped reading")


async def _next(chunks: Iterator[Chunk], encoder: ChunkEncoder) -> Chunk | None:
    return await asyncio.to_thread(next, chunks, None) if encoder.takes_long else next(chunks, None)


def _range(message: RangeMessage) -> TimeRange:
    return check_range(message.start_time, message.end_time)
