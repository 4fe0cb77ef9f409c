"""History as it arrives: one batch after the other, while the service is still fetching the rest."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import pyarrow as pa

from cb_trade_client.answers import HistoryCompleted, HistoryStarted
from cb_trade_client.decoders.choice import decoder_of
from cb_trade_client.errors import CbTradeError
from cb_trade_client.landing import Landing
from cb_trade_client.part import OpenConnection, Part
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

    def __init__(self, request: Request, schema: pa.Schema, landing: Landing, open_connection: OpenConnection) -> None:
        self._request = request
        self._schema = schema
        self._landing = landing
        self._open_connection = open_connection
        self._part: Part | None = None
        self._started: HistoryStarted | None = None
        self._completed: HistoryCompleted | None = None
        self._is_used = False
        self._is_read = False

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
        decoder = decoder_of(self._request["format"], self._schema)
        self._part = await Part.open(self._open_connection, self._request, decoder, self._landing)
        self._started = self._part.started
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
        part, self._part = self._part, None
        if part is not None:
            await part.aclose()

    async def _next_batch(self) -> pa.RecordBatch | None:
        if self._part is None:
            raise RuntimeError("the stream is closed")
        part = self._part
        try:
            batch = await part.next_batch()
        except CbTradeError as error:
            error.resume_from = part.until
            raise
        self._completed = part.completed
        return batch
