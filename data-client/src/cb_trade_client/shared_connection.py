"""One connection for all small requests of a client: opened when first needed, and again after a drop."""

import asyncio
from collections.abc import Callable

from cb_trade_client.connection import Connection
from cb_trade_client.connector import Connector
from cb_trade_client.errors import CbTradeError
from cb_trade_client.fields import Message
from cb_trade_client.landing import PieceByPiece
from cb_trade_client.pending_request import PendingRequest
from cb_trade_client.requests import Request
from cb_trade_client.retrying import with_retries
from cb_trade_client.service_errors import ShuttingDownError


class SharedConnection:
    """Any number of requests may be asked at the same time; each hears only its own answer."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._connection: Connection | None = None
        self._left: set[Connection] = set()  # they begin nothing new, and still answer what they have begun
        self._opening = asyncio.Lock()

    async def ask(
        self, request: Request, answer_type: str, retries: int, is_loss: Callable[[CbTradeError], bool]
    ) -> Message:
        """Return the one message, of *answer_type*, that answers *request*.

        It is asked again, up to *retries* times, after what *is_loss* calls so: the answer changes nothing.
        """

        async def once() -> Message:
            connection = await self._opened()
            try:
                pending = PendingRequest.send(connection, request, PieceByPiece())
                return (await pending.next_answer(answer_type)).message
            except ShuttingDownError:
                if connection is self._connection:
                    self._leave(connection)
                raise
            finally:
                connection.forget(request)
                if connection in self._left and not connection.is_asked:
                    self._left.discard(connection)
                    await connection.aclose()

        return await with_retries(once, retries, is_loss)

    async def aclose(self) -> None:
        """End the connection, and those it came after, and with them what is still being asked."""
        if self._connection is not None:
            self._leave(self._connection)
        while self._left:
            await self._left.pop().aclose()

    def _leave(self, connection: Connection) -> None:
        """Have the next request open another one; who still waits for an answer here gets it."""
        self._connection = None
        self._left.add(connection)

    async def _opened(self) -> Connection:
        async with self._opening:
            if self._connection is not None and not self._connection.is_open:
                ended, self._connection = self._connection, None
                await ended.aclose()  # what is left of it
            if self._connection is None:
                self._connection = await self._connector.open()
            return self._connection
