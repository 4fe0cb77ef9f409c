"""One request and the messages that answer it."""

from typing import Self

from cb_trade_client.connection import Connection
from cb_trade_client.errors import ProtocolError, ServiceUnavailableError
from cb_trade_client.inbox import Arrival, Inbox
from cb_trade_client.landing import Landing
from cb_trade_client.message_types import CANCELLED, ERROR
from cb_trade_client.refusals import error_from_answer
from cb_trade_client.requests import Request


class PendingRequest:
    """A request that was sent and is being answered."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    @classmethod
    def send(cls, connection: Connection, request: Request, landing: Landing) -> Self:
        """Send *request* and return it as pending; binary messages of the answer come to lie in *landing*."""
        return cls(connection.ask(request, landing))

    async def next_answer(self, *expected_types: str) -> Arrival:
        """Return the next message of this answer, which must be of one of *expected_types*.

        Raises:
            CbTradeError: The service refused or gave up the request, or the connection ended.
            ProtocolError: A known message came out of turn.
        """
        arrival = await self._inbox.take()
        message_type = arrival.message["type"]
        if message_type == ERROR:
            raise error_from_answer(arrival.message)
        if message_type == CANCELLED:
            raise ServiceUnavailableError("the service cancelled the request", code="request_cancelled", retryable=True)
        if message_type not in expected_types:
            expected = " or ".join(expected_types)
            raise ProtocolError(f"the service sent {message_type} where {expected} was due")
        return arrival
