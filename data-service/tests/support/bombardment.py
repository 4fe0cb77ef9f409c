"""Many hostile frames on one connection, each of which is to get its one answer; for the tests and for the bench."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from hostile_frames import Hostile
from raw_websocket import CLOSE, PONG, TEXT, RawConnection, frame

_FIRST_WORDS: Final = {"historical_data_start", "historical_data_chunk"}
_ANSWER_MAX_BYTES: Final = 16_384


class Bombardment:
    """One connection's frames, and what was answered to them.

    Attributes:
        codes: Of the errors, with how many there were.
    """

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self.codes: dict[str, int] = {}

    async def send(self, batch: list[Hostile]) -> None:
        """Send all of *batch* and read what is due for it, and that nothing else comes."""
        sending = asyncio.create_task(self._connection.send(b"".join(each.data for each in batch)))
        answers, pongs = sum(each.answers for each in batch), sum(each.pongs for each in batch)
        try:
            async with asyncio.timeout(30):
                await self._read(answers, pongs)
                await sending
                # Whatever was sent too often would come before the answer to this.
                await self._connection.send(frame(b'{"type":"cancel_request","request_id":"the end"}'))
                answer = await self._message()
        finally:
            sending.cancel()
        assert (answer["type"], answer["request_id"]) == ("request_cancelled", "the end"), answer

    async def _read(self, answers: int, pongs: int) -> None:
        while answers > 0 or pongs > 0:
            opcode, payload = await self._frame()
            if opcode == PONG:
                pongs -= 1
            elif opcode == TEXT:
                message = json.loads(payload)
                answers -= self._last_words(message)
                assert message["type"] in _FIRST_WORDS or len(payload) <= _ANSWER_MAX_BYTES, message
        assert (answers, pongs) == (0, 0)

    def _last_words(self, message: dict[str, Any]) -> int:
        if message["type"] == "error_response":
            self.codes[message["code"]] = self.codes.get(message["code"], 0) + 1
            assert message["message"]
        if message["type"] == "request_cancelled" and message["was_running"]:
            return 2  # and of the request that was cancelled
        return message["type"] not in _FIRST_WORDS

    async def _message(self) -> dict[str, Any]:
        while (found := await self._frame())[0] != TEXT:
            pass
        return json.loads(found[1])

    async def _frame(self) -> tuple[int, bytes]:
        found = await self._connection.frame()
        assert found is not None, "the connection was closed"
        assert found[0] != CLOSE, found
        return found
