from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cb_trade_data.api.admission import Admission, AdmissionLimits
from cb_trade_data.api.connection import Connection, ConnectionLimits
from cb_trade_data.auth.interfaces import Principal

NOW = datetime(2024, 1, 1, tzinfo=UTC)
MESSAGES = 1_000


class FloodingClient:
    """A socket on which the next message has always come and nothing that is sent waits.

    Attributes:
        left: How many messages are still to be read.
    """

    client = None  # its address is not known

    def __init__(self, message: str) -> None:
        self._message = message
        self.left = MESSAGES

    async def receive(self) -> dict[str, Any]:
        if self.left == 0:
            return {"type": "websocket.disconnect", "code": 1005}
        self.left -= 1
        return {"type": "websocket.receive", "text": self._message}

    async def send_text(self, _: str) -> None:
        pass


@pytest.mark.parametrize("message", ["{", '{"type":"cancel_request","request_id":"none"}'], ids=["nonsense", "cancel"])
async def test_a_client_whose_messages_never_end_leaves_the_others_their_turns(message):
    client = FloodingClient(message)
    end = NOW + timedelta(hours=1)
    principal = Principal("test", frozenset(), end, end)
    with Admission(AdmissionLimits()).connection("test") as guest:
        connection = Connection(client, principal, None, guest, None, ConnectionLimits(), lambda: NOW)
        serving = asyncio.create_task(connection.serve())

        for _ in range(10):
            await asyncio.sleep(0)

        assert MESSAGES - 20 < client.left < MESSAGES
        await serving
