"""One request for a stretch of history, on a connection of its own, and the check that what answers it is whole."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Self

import pyarrow as pa

from cb_trade_client.answers import ChunkHeader, HistoryCompleted, HistoryStarted
from cb_trade_client.connection import Connection
from cb_trade_client.decoders import ChunkDecoder
from cb_trade_client.delivery import Delivery
from cb_trade_client.landing import Landing
from cb_trade_client.message_types import CHUNK, COMPLETE, START
from cb_trade_client.pending_request import PendingRequest
from cb_trade_client.requests import Request

OpenConnection = Callable[[], Awaitable[Connection]]


class Part:
    """An answer that is arriving. Made by `Part.open`; `aclose` ends the request together with its connection.

    Attributes:
        started: What the service announced.
        completed: The receipt; None before the end.
        size_bytes: How much of it has been taken from the wire.
    """

    def __init__(
        self, connection: Connection, pending: PendingRequest, started: HistoryStarted, decoder: ChunkDecoder
    ) -> None:
        self._connection = connection
        self._pending = pending
        self._decoder = decoder
        self._delivery = Delivery(started)
        self.started = started
        self.completed: HistoryCompleted | None = None
        self.size_bytes = 0

    @classmethod
    async def open(
        cls, open_connection: OpenConnection, request: Request, decoder: ChunkDecoder, landing: Landing
    ) -> Self:
        """Send *request* and return its answer as soon as the service begins it."""
        connection = await open_connection()
        try:
            pending = PendingRequest.send(connection, request, landing)
            started = HistoryStarted.from_message((await pending.next_answer(START)).message)
        except BaseException:
            await connection.aclose()
            raise
        return cls(connection, pending, started, decoder)

    @property
    def until(self) -> datetime | None:
        """Exclusive end of what was delivered; None before the first batch."""
        return self._delivery.until

    @property
    def chunks(self) -> int:
        """How many batches were delivered."""
        return self._delivery.chunks

    async def next_batch(self) -> pa.RecordBatch | None:
        """Return the next rows, or None after the last ones, when the receipt is there and matches them."""
        arrival = await self._pending.next_answer(CHUNK, COMPLETE)
        if arrival.message["type"] == COMPLETE:
            completed = HistoryCompleted.from_message(arrival.message)
            self._delivery.settle(completed)
            self.completed = completed
            return None
        batch = self._decoder.decode(arrival.message, arrival.binary)
        self._delivery.add(ChunkHeader.from_message(arrival.message), batch)
        self.size_bytes += arrival.size_bytes
        return batch

    async def aclose(self) -> None:
        """End the request and its connection; the service stops work that nobody else waits for. Idempotent."""
        await self._connection.aclose()
