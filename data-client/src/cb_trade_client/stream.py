"""History as it arrives: one batch after the other, while the service is still fetching the rest."""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

import pyarrow as pa

from cb_trade_client.answers import ChunkHeader, HistoryCompleted, HistoryStarted
from cb_trade_client.connection import Connection
from cb_trade_client.decoders import ChunkDecoder
from cb_trade_client.delivery import Delivery
from cb_trade_client.errors import CbTradeError
from cb_trade_client.pending_request import CHUNK, COMPLETE, START, PendingRequest
from cb_trade_client.requests import Request


class HistoryStream:
    """The answer to one history request, to be read once.

    Iterate over it for `pyarrow.RecordBatch`es in time order. `async with` sends the request before the first batch
    (so that `started` is there for a progress bar) and ends it for certain, however the block is left:

        async with client.stream("binance", "BTC/USDT", "1m", start, end) as history:
            print(history.started.estimated_rows)
            async for batch in history:
                ...
            print(history.completed.gaps)

    Without it, `async for batch in client.stream(…)` does the same; after a `break` the request ends as soon as Python
    drops the iterator. The service sends no faster than batches are taken, so memory stays flat.

    Every error a stream raises carries `resume_from`, the point to ask again from.
    """

    def __init__(
        self, request: Request, decoder: ChunkDecoder, open_connection: Callable[[], Awaitable[Connection]]
    ) -> None:
        self._request = request
        self._decoder = decoder
        self._open_connection = open_connection
        self._connection: Connection | None = None
        self._pending: PendingRequest | None = None
        self._started: HistoryStarted | None = None
        self._completed: HistoryCompleted | None = None
        self._delivery: Delivery | None = None
        self._is_used = False
        self._is_read = False

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._decoder.schema

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
        self._connection = await self._open_connection()
        try:
            self._pending = await PendingRequest.send(self._connection, self._request)
            self._started = HistoryStarted.from_message(await self._pending.next_answer(START))
            self._delivery = Delivery(self._started)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
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

    async def aclose(self) -> None:
        """End the request and its connection; the service stops work that nobody else waits for. Idempotent."""
        connection, self._connection, self._pending = self._connection, None, None
        if connection is not None:
            await connection.aclose()

    async def _next_batch(self) -> pa.RecordBatch | None:
        if self._pending is None or self._delivery is None:
            raise RuntimeError("the stream is closed")
        try:
            message = await self._pending.next_answer(CHUNK, COMPLETE)
            if message["type"] == COMPLETE:
                completed = HistoryCompleted.from_message(message)
                self._delivery.settle(completed)
                self._completed = completed
                return None
            batch = self._decoder.decode(message)
            self._delivery.add(ChunkHeader.from_message(message), batch)
        except CbTradeError as error:
            error.resume_from = self._delivery.until
            raise
        return batch
