"""Carrying a venue's answers over HTTP, and letting calls be counted, held back and spoilt on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from cb_trade_simulator.clock import to_milliseconds
from cb_trade_simulator.venues.venue import Question

if TYPE_CHECKING:
    from cb_trade_simulator.calls import Calls, Gates
    from cb_trade_simulator.clock import Clock
    from cb_trade_simulator.faults import Faults
    from cb_trade_simulator.venues.venue import Answer, Venue

UNKNOWN = "unknown"
"""The endpoint name under which calls to addresses the venue does not have are counted."""


class Server:
    """The HTTP side of one simulated venue."""

    def __init__(self, venue: Venue, clock: Clock, calls: Calls, gates: Gates, faults: Faults) -> None:
        self._venue = venue
        self._clock = clock
        self._calls = calls
        self._gates = gates
        self._faults = faults

    def application(self) -> web.Application:
        """Return the web application: the venue under `/h/{host}/`, the counts under `/_calls`."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/h/{host}/{path:.*}", self._ask_venue),
                web.get("/_calls", self._tell_calls),
                web.delete("/_calls", self._reset_calls),
                web.post("/_calls/reset", self._reset_calls),
            ]
        )
        return application

    async def _ask_venue(self, request: web.Request) -> web.Response:
        question = Question(request.match_info["host"], "/" + request.match_info["path"], dict(request.query))
        endpoint = self._venue.endpoint(question) or UNKNOWN
        number = self._calls.arrive(endpoint, question.query)
        await self._gates.passed(endpoint, number)

        async def venue_answer() -> Answer:
            now_ms = to_milliseconds(self._clock.now())
            return await asyncio.to_thread(self._venue.answer, question, now_ms)

        fault = self._faults.take(endpoint)
        answer = await (fault.answer(venue_answer) if fault else venue_answer())
        content_type = f"{answer.content_type};charset=UTF-8"
        return web.Response(
            body=answer.body, status=answer.status, headers={"Content-Type": content_type, **answer.headers}
        )

    async def _tell_calls(self, _request: web.Request) -> web.Response:
        return web.json_response({"total": self._calls.total, "by_endpoint": self._calls.by_endpoint})

    async def _reset_calls(self, _request: web.Request) -> web.Response:
        self._calls.reset()
        return web.Response(status=204)
