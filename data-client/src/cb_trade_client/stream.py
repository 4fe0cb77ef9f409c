"""History as it arrives: one batch after the other, while the service is still fetching the rest."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from cb_trade_client.answers import CoverageSegment, HistoryCompleted, HistoryStarted
from cb_trade_client.connector import Connector
from cb_trade_client.decoders.choice import decoder_of
from cb_trade_client.digest import AnswerDigest, check_digest
from cb_trade_client.errors import CbTradeError, ProtocolError
from cb_trade_client.gap_policy import GapPolicy, apply_gap_policy
from cb_trade_client.history import History
from cb_trade_client.instants import from_ms, to_ms, to_text
from cb_trade_client.kinds import series_name
from cb_trade_client.landing import Landing, OneBlock, PieceByPiece
from cb_trade_client.part import Part
from cb_trade_client.progress import OnProgress, Progress
from cb_trade_client.requests import Request, resumed
from cb_trade_client.retrying import with_retries
from cb_trade_client.schemas import schema_of
from cb_trade_client.synthetic_rows import count_synthetic, real_rows

# Below this, a thread takes longer to wake than the hashing.
_HASHED_AT_ONCE_BYTES = 64 * 1024
_GAP_STATES = frozenset({"failed", "unavailable", "empty", "unknown"})


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How an answer is received; see `DataClient.stream`."""

    verify: bool
    on_gap: GapPolicy
    retries: int
    on_progress: OnProgress | None


class HistoryStream:
    """The answer to one history request, to be read once.

    Iterate over it for `pyarrow.RecordBatch`es in time order. `async with` sends the request before the first batch
    (so that `started` is there) and ends it for certain, however the block is left:

        async with client.stream("binance", "BTC/USDT", "1m", start, end) as history:
            print(history.started.estimated_rows)
            async for batch in history:
                ...
            print(history.completed.gaps)

    Without it, `async for batch in client.stream(…)` does the same; after a `break` the request ends as soon as Python
    drops the iterator. The service sends no faster than batches are taken, so memory stays flat. A lost connection is
    opened again, and the answer goes on where it broke off: no row is skipped and none comes twice.

    With `verify`, what the service tells of the last part that brought rows, of everything where there was no loss, is
    compared with what arrived, or an error is raised. Where the receipt of those rows was lost, they are asked for once
    more to have their digest; what comes then is not delivered again.

    Every error a stream raises carries `resume_from`, the point to ask again from.
    """

    def __init__(
        self,
        request: Request,
        connector: Connector,
        ask_coverage: Callable[[Request, datetime, datetime], Awaitable[tuple[CoverageSegment, ...]]],
        options: StreamOptions,
    ) -> None:
        self._request = request
        self._is_filled = "fill" in request
        self._schema = schema_of(request["kind"], is_filled=self._is_filled)
        self._landing: Landing = PieceByPiece()
        self._connector = connector
        self._ask_coverage = ask_coverage
        self._options = options

        self._part: Part | None = None
        self._part_start: datetime | None = None  # None: it is the first one
        self._digest = self._new_digest() if options.verify else None
        # Over the last part that brought rows; until there is a second one, both are the same.
        self._part_digest = self._digest
        self._part_digest_start: datetime | None = None  # None: where the answer starts
        self._resumes = 0
        self._until: datetime | None = None
        self._last_real: datetime | None = None  # the newest row that no fill put in
        self._synthetic_rows = 0
        self._rows = self._chunks = self._size_bytes = 0
        self._started: HistoryStarted | None = None
        self._completed: HistoryCompleted | None = None
        self._is_used = False
        self._is_read = False
        self._is_closed = False

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._schema

    @property
    def started(self) -> HistoryStarted:
        """What the service announced: the clipped range and how many rows to expect. Known once entered."""
        if self._started is None:
            raise RuntimeError("the stream has not started; enter it with `async with` or begin to iterate")
        return self._started

    @property
    def completed(self) -> HistoryCompleted:
        """The receipt: rows, coverage, gaps, where the rows came from. Known after the last batch."""
        if self._completed is None:
            raise RuntimeError("the stream has not ended; read it to its last batch first")
        return self._completed

    async def __aenter__(self) -> Self:
        if self._is_used:
            raise RuntimeError("a stream can be read once; ask for a new one")
        self._is_used = True
        try:
            await with_retries(self._open_part, self._options.retries, self._can_resume)
        except BaseException:
            await self.aclose()
            raise
        self._tell_progress()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncGenerator[pa.RecordBatch, None]:
        if self._is_read:
            raise RuntimeError("a stream can be read once; ask for a new one")
        self._is_read = True
        if not self._is_used:
            await self.__aenter__()
        try:
            while (batch := await self._next_batch()) is not None:
                yield batch
        finally:
            await self.aclose()

    async def whole(self) -> History:
        """Return everything in one piece, as `DataClient.history` does. Instead of entering the stream or iterating."""
        self._landing = OneBlock()
        async with self:
            batches = [batch async for batch in self]
        return History(pa.Table.from_batches(batches, self._schema), self.started, self.completed)

    async def aclose(self) -> None:
        """End the request and its connection; the service stops work that nobody else waits for. Idempotent."""
        self._is_closed = True
        await self._close_part()

    async def _next_batch(self) -> pa.RecordBatch | None:
        try:
            batch = await with_retries(self._read, self._options.retries, self._can_resume)
            if batch is None:
                apply_gap_policy(self._options.on_gap, self._name(), self.completed.gaps)
        except CbTradeError as error:
            error.resume_from = self._until
            raise
        return batch

    async def _read(self) -> pa.RecordBatch | None:
        """Return the next batch, of a new part where the last one broke off; None after the last one."""
        if self._is_closed:
            raise RuntimeError("the stream is closed")
        if self._part is None:
            if self._until is not None and self._until >= self.started.end:
                # All rows came, only their receipt did not.
                await self._compare_again()
                self._completed = await self._merged(None, self._until)
                return None
            await self._open_part()
        try:
            return await self._read_part()
        except CbTradeError:
            if not self._is_closed:
                await self._close_part()
            raise

    async def _read_part(self) -> pa.RecordBatch | None:
        part = self._part
        if part is None:
            raise RuntimeError("the stream is closed")
        while True:
            before_bytes = part.size_bytes
            batch = await part.next_batch()
            if batch is None:
                await self._complete(part)
                return None
            if part.chunks == 1 and self._part_start is not None and self._options.verify:
                self._part_digest, self._part_digest_start = self._new_digest(), self._part_start
            delivered = self._not_delivered(batch)
            await _hash(self._digest, delivered)
            # After a resume two: over everything, and over what the receipt will speak of.
            if self._part_digest is not self._digest:
                await _hash(self._part_digest, batch)
            self._size_bytes += part.size_bytes - before_bytes
            if delivered.num_rows or not batch.num_rows:
                break
        self._until = part.until
        self._rows += delivered.num_rows
        self._chunks += 1
        self._note_synthetic(delivered)
        self._tell_progress()
        return delivered

    def _not_delivered(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of *batch* that did not come before: a part may have to begin earlier than it is needed."""
        if self._until is None or not batch.num_rows or batch.column("timestamp")[0].value >= to_ms(self._until):
            return batch
        is_new = pc.greater_equal(batch.column("timestamp"), pa.scalar(self._until, batch.schema.field(0).type))
        return batch.filter(is_new)

    def _note_synthetic(self, batch: pa.RecordBatch) -> None:
        if not self._is_filled:
            return
        self._synthetic_rows += count_synthetic(batch)
        real = real_rows(batch)
        if real.num_rows:
            self._last_real = from_ms(real.column("timestamp")[-1].value)

    def _new_digest(self) -> AnswerDigest:
        return AnswerDigest(self._request["kind"], self._request.get("timeframe"))

    async def _open_part(self) -> None:
        request, start = self._request, self._resume_start()
        if self._started is not None and start is not None:
            self._resumes += 1
            self._part_start = start if start > self._started.start else None
            # Its end, not the one asked for: bars that have closed since then belong to another answer.
            request = resumed(request, start, self._started.end)
        decoder = decoder_of(request["format"], self._schema)
        self._part = await Part.open(self._connector.open, request, decoder, self._landing)
        if self._started is None:
            self._started = self._part.started
            # Chosen by the service, if that was left open: what comes later is of the same one.
            self._request = self._request | {"exchange": self._started.exchange}
        elif start is not None:
            self._check_continuation(self._part.started, start)

    def _resume_start(self) -> datetime | None:
        """Return where the next part is to begin; None where it is the first one."""
        if self._started is None:
            return None
        if self._until is None:
            return self._started.start
        if self._request.get("fill") == "previous_close":
            # The close before a range is known only where all since then is held: the part brings it along.
            return self._last_real or self._started.start
        return self._until

    def _check_continuation(self, part: HistoryStarted, start: datetime) -> None:
        # Each part is checked by itself; that they fit together is checked here.
        if part.exchange != self.started.exchange:
            raise ProtocolError(f"asked to go on with {self.started.exchange}, the service answers for {part.exchange}")
        if part.derived_from != self.started.derived_from:
            raise ProtocolError(
                f"asked to go on with bars made of {self.started.derived_from}, the service has {part.derived_from}"
            )
        if part.start < start or part.end > self.started.end:
            raise ProtocolError(
                f"asked to go on from {to_text(start)} to {to_text(self.started.end)}, "
                f"the service answers from {to_text(part.start)} to {to_text(part.end)}"
            )

    async def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            await part.aclose()

    async def _complete(self, part: Part) -> None:
        receipt = part.completed
        if receipt is None:
            raise RuntimeError("a part that ended has a receipt")
        if part.chunks == 0 and self._part_start is not None:
            # It tells of no row; what tells of those before it was lost.
            await self._compare_again()
        elif self._part_digest is not None:
            check_digest(receipt.digest, self._part_digest)
        if self._part_start is None:
            self._completed = replace(receipt, resumes=self._resumes)
        else:
            self._completed = await self._merged(receipt, self._part_start)

    async def _compare_again(self) -> None:
        """Compare the last rows that came, whose receipt was lost, with what the service tells of them now."""
        if self._part_digest is None or self._until is None:
            return
        await self._close_part()
        request = resumed(self._request, self._part_digest_start or self.started.start, self._until)
        request.pop("refresh", None)  # what the exchange says by now is another question
        decoder = decoder_of(request["format"], self._schema)
        self._part = part = await Part.open(self._connector.open, request, decoder, PieceByPiece())
        try:
            while await part.next_batch() is not None:
                pass
        finally:
            await self._close_part()
        check_digest(part.completed.digest if part.completed else None, self._part_digest)

    async def _merged(self, receipt: HistoryCompleted | None, start: datetime) -> HistoryCompleted:
        """Return one receipt for everything: *receipt* speaks from *start* on, the service's coverage before that."""
        # Of derived bars nothing is known but by those that they are made of.
        told_of = self._request | ({"timeframe": self.started.derived_from} if self.started.derived_from else {})
        earlier = await self._ask_coverage(told_of, self.started.start, start)
        return HistoryCompleted(
            rows=self._rows,
            chunks=self._chunks,
            coverage=(*earlier, *(receipt.coverage if receipt else ())),
            coverage_truncated=receipt is not None and receipt.coverage_truncated,
            gaps=(*(each for each in earlier if each.state in _GAP_STATES), *(receipt.gaps if receipt else ())),
            rows_from_storage=None,
            rows_from_exchange=None,
            exchange_calls=None,
            elapsed_ms=None,
            digest=None if self._digest is None else self._digest.text(),
            resumes=self._resumes,
            synthetic_rows=self._synthetic_rows if self._is_filled else None,
        )

    def _can_resume(self, error: CbTradeError) -> bool:
        return not self._is_closed and self._connector.is_lost(error)

    def _tell_progress(self) -> None:
        if self._options.on_progress is not None:
            started = self.started
            until = self._until or started.start
            rows = (self._rows, self._size_bytes, started.estimated_rows)
            self._options.on_progress(Progress(*rows, started.start, started.end, until))

    def _name(self) -> str:
        started = self.started
        return series_name(started.exchange, started.symbol, started.kind, started.timeframe)


async def _hash(digest: AnswerDigest | None, batch: pa.RecordBatch) -> None:
    if digest is None:
        return
    if batch.nbytes < _HASHED_AT_ONCE_BYTES:
        digest.add(batch)
    else:
        await asyncio.to_thread(digest.add, batch)
