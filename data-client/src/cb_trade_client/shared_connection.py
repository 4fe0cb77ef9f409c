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
                # It begins nothing new; what else was asked here is asked again, on the next one.
                if connection is self._connection:
                    await self.aclose()
                raise
            finally:
                connection.forget(request)

        return await with_retries(once, retries, is_loss)

    async def aclose(self) -> None:
        """End the connection, and with it what is still being asked."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _opened(self) -> Connection:
        async with self._opening:
            if self._connection is None or not self._connection.is_open:
                await self.aclose()  # what is left of the old one
                self._connection = await self._connector.open()
            return self._connection
