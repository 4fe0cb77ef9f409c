"""One request and the messages that answer it."""

from typing import Self

from cb_trade_client.connection import Connection
from cb_trade_client.errors import ProtocolError, ServiceUnavailableError
from cb_trade_client.fields import Message, read_text
from cb_trade_client.refusals import error_from_answer
from cb_trade_client.requests import Request

START = "historical_data_start"
CHUNK = "historical_data_chunk"
COMPLETE = "historical_data_complete"
LATEST = "current_timestamp_response"
PLAN = "plan_response"
ERROR = "error_response"
CANCELLED = "request_cancelled"

_KNOWN_TYPES = frozenset({START, CHUNK, COMPLETE, LATEST, PLAN, ERROR, CANCELLED})


class PendingRequest:
    """A request that was sent and is being answered; the only one open on its connection."""

    def __init__(self, connection: Connection, request_id: str) -> None:
        self._connection = connection
        self._request_id = request_id

    @classmethod
    async def send(cls, connection: Connection, request: Request) -> Self:
        """Send *request* and return it as pending."""
        await connection.send(request)
        return cls(connection, request["request_id"])

    async def next_answer(self, *expected_types: str) -> Message:
        """Return the next message of this answer, which must be of one of *expected_types*.

        Message types newer than this SDK are skipped, as the contract asks.

        Raises:
            CbTradeError: The service refused or gave up the request.
            ProtocolError: A known message came out of turn.
        """
        while True:
            message = await self._connection.receive()
            message_type = message.get("type")
            if message_type not in _KNOWN_TYPES or not self._is_ours(message):
                continue
            if message_type == ERROR:
                raise error_from_answer(message)
            if message_type == CANCELLED:
                raise ServiceUnavailableError(
                    "the service cancelled the request", code="request_cancelled", retryable=True
                )
            if message_type not in expected_types:
                expected = " or ".join(expected_types)
                raise ProtocolError(f"the service sent {message_type} where {expected} was due")
            return message

    def _is_ours(self, message: Message) -> bool:
        # The service could not tell which request it failed on; with one open request there is no doubt.
        if message["type"] == ERROR and message.get("request_id") is None:
            return True
        return read_text(message, "request_id") == self._request_id
