"""Steering a running simulator over HTTP: `/_calls`, `/_clock`, `/_faults` and `/_limits`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from cb_trade_simulator.clock import from_milliseconds, to_milliseconds
from cb_trade_simulator.errors import SimulatorError

if TYPE_CHECKING:
    from cb_trade_simulator.simulator import ExchangeSimulator


class Control:
    """The addresses beside the venue's own. None of their calls are counted. Nonsense is a 400 that says why."""

    def __init__(self, simulator: ExchangeSimulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the web application."""
        return [
            web.get("/_calls", self._tell_calls),
            web.delete("/_calls", self._reset_calls),
            web.post("/_calls/reset", self._reset_calls),
            web.get("/_clock", self._tell_clock),
            web.post("/_clock", self._move_clock),
            web.get("/_faults", self._tell_faults),
            web.post("/_faults", self._inject),
            web.delete("/_faults", self._clear_faults),
            web.get("/_limits", self._tell_limits),
            web.post("/_limits", self._set_limits),
        ]

    async def _tell_calls(self, _request: web.Request) -> web.Response:
        calls = self._simulator.calls
        refused = self._simulator.limits.refused
        return web.json_response({"total": calls.total, "by_endpoint": calls.by_endpoint, "refused": refused})

    async def _reset_calls(self, _request: web.Request) -> web.Response:
        self._simulator.calls.reset()
        self._simulator.limits.refused.clear()
        return web.Response(status=204)

    async def _tell_clock(self, _request: web.Request) -> web.Response:
        now = self._simulator.clock.now()
        return web.json_response({"now": now.isoformat(), "now_ms": to_milliseconds(now)})

    async def _move_clock(self, request: web.Request) -> web.Response:
        """Move the clock: `{"now": "2024-05-01T12:00:00Z"}` (or milliseconds) or `{"advance_secs": 60}`."""
        wish = await _document(request)
        try:
            if "now" in wish:
                now = wish["now"]
                self._simulator.set_clock(
                    from_milliseconds(now) if isinstance(now, int) else datetime.fromisoformat(now)
                )
            else:
                self._simulator.advance_clock(timedelta(seconds=wish["advance_secs"]))
        except (KeyError, TypeError, ValueError, SimulatorError) as problem:
            raise web.HTTPBadRequest(text=f"send now or advance_secs: {problem}") from problem
        return await self._tell_clock(request)

    async def _tell_faults(self, _request: web.Request) -> web.Response:
        faults = self._simulator.faults
        return web.json_response({"pending": faults.described(), "met": faults.met})

    async def _inject(self, request: web.Request) -> web.Response:
        """Inject a fault: `{"fault": "429=7:0.1", "times": 3}`; without `times`, until they are cleared."""
        wish = await _document(request)
        try:
            self._simulator.inject(wish["fault"], times=wish.get("times"))
        except (KeyError, TypeError, ValueError, SimulatorError) as problem:
            raise web.HTTPBadRequest(text=f"send a fault: {problem}") from problem
        return await self._tell_faults(request)

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._simulator.clear_faults()
        return web.Response(status=204)

    async def _tell_limits(self, _request: web.Request) -> web.Response:
        limits = self._simulator.limits
        return web.json_response({"enforced": limits.enforced, "refused": limits.refused})

    async def _set_limits(self, request: web.Request) -> web.Response:
        """Switch the limits: `{"enforced": true, "speed": 1}`."""
        wish = await _document(request)
        try:
            if wish["enforced"]:
                self._simulator.limits.enforce(speed=float(wish.get("speed", 1)))
            else:
                self._simulator.limits.stop()
        except (KeyError, TypeError, ValueError) as problem:
            raise web.HTTPBadRequest(text=f"send enforced and perhaps speed: {problem}") from problem
        return await self._tell_limits(request)


async def _document(request: web.Request) -> dict[str, Any]:
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError as problem:
        raise web.HTTPBadRequest(text=f"send JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise web.HTTPBadRequest(text="send a JSON object")
    return document
