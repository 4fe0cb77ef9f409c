"""Carrying a venue's answers over HTTP, and letting calls be counted, held back, refused and spoilt on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from cb_trade_simulator.clock import to_milliseconds
from cb_trade_simulator.faults.kinds import Asked
from cb_trade_simulator.venues.venue import Answer, Ending, Question

if TYPE_CHECKING:
    from cb_trade_simulator.calls import Calls, Gates
    from cb_trade_simulator.clock import Clock
    from cb_trade_simulator.faults import Faults
    from cb_trade_simulator.limits import Limiter
    from cb_trade_simulator.venues.venue import Venue

UNKNOWN = "unknown"
"""The endpoint name under which calls to addresses the venue does not have are counted."""


class Server:
    """The HTTP side of one simulated venue, under `/h/{host}/`."""

    def __init__(
        self, venue: Venue, clock: Clock, calls: Calls, gates: Gates, faults: Faults, limiter: Limiter
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._calls = calls
        self._gates = gates
        self._faults = faults
        self._limiter = limiter
        self._stopping = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the web application."""
        self._stopping.clear()
        return [web.get("/h/{host}/{path:.*}", self._ask_venue)]

    def let_go(self) -> None:
        """Reset the connections of calls that hang."""
        self._stopping.set()

    async def _ask_venue(self, request: web.Request) -> web.StreamResponse:
        question = Question(request.match_info["host"], "/" + request.match_info["path"], dict(request.query))
        endpoint = self._venue.endpoint(question) or UNKNOWN
        number = self._calls.arrive(endpoint, question.query, question.path)
        await self._gates.passed(endpoint, number)
        return await self._send(request, await self._answer(question, endpoint))

    async def _answer(self, question: Question, endpoint: str) -> Answer:
        now_ms = to_milliseconds(self._clock.now())
        wait_secs = self._limiter.retry_after_secs(endpoint, self._venue.cost(question))
        if wait_secs is not None:
            return self._venue.refuse_too_many(question, now_ms, wait_secs)

        async def venue_answer() -> Answer:
            now_ms = to_milliseconds(self._clock.now())
            return await asyncio.to_thread(self._venue.answer, question, now_ms)

        fault = self._faults.take(endpoint)
        return await (fault.answer(venue_answer, Asked(self._venue, question, now_ms)) if fault else venue_answer())

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        headers = {"Content-Type": f"{answer.content_type};charset=UTF-8", **answer.headers}
        if answer.ending is Ending.WHOLE:
            return web.Response(body=answer.body, status=answer.status, headers=headers)
        if answer.ending is Ending.HANG:
            await self._stopping.wait()
        if answer.ending is Ending.CUT:
            headers["Content-Length"] = str(len(answer.body))
            half = web.StreamResponse(status=answer.status, headers=headers)
            await half.prepare(request)
            await half.write(answer.body[: len(answer.body) // 2])
            _close(request, abort=False)
            return half
        _close(request, abort=True)
        return web.Response()


def _close(request: web.Request, *, abort: bool) -> None:
    """Close the client's connection: politely after what has been written, or with a reset."""
    transport = request.transport
    if transport is None:  # the client has left
        return
    if abort:
        transport.abort()
    else:
        transport.close()
