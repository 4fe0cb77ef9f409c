"""The stories of requests over HTTP: each ends in one line of the log and is counted, as one on the socket is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from fastapi import Request, Response

from cb_trade_data.api.handshake import host_of
from cb_trade_data.api.refusals import RefusalResponse
from cb_trade_data.api.story import RequestStory
from cb_trade_data.api.tally import Tally
from cb_trade_data.auth.interfaces import Principal
from cb_trade_data.errors import RequestError

_log = structlog.get_logger(__name__)


class HttpStories:
    """Tells what becomes of requests, also of those that are refused before anything is known of who asks."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def tell(self, type_: str, answer: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        """Return the *answer* to *request*, and tell what became of it.

        Args:
            type_: What is asked for: the path of a route as the code has it, never what a client wrote.
        """
        loop = asyncio.get_running_loop()
        story = RequestStory(type_, loop.time())
        story.outcome = "disconnected"  # unless there is an answer
        self._tally.open_requests += 1
        try:
            response = await answer(request)
            story.outcome = "ok"
            if isinstance(response, RefusalResponse):
                error = response.error
                story.outcome = error.code
                # What is wrong with a question quotes its address, into which people write tokens by mistake.
                story.error = None if isinstance(error, RequestError) else str(error)
            return response
        finally:
            self._tally.open_requests -= 1
            story.seconds = story.elapsed(loop.time())
            self._tally.add(story)
            principal: Principal | None = getattr(request.state, "principal", None)
            subject = None if principal is None else principal.subject
            _log.info("request", subject=subject, client=host_of(request), **story.fields())
