"""The simulated exchange as its user holds it: served over HTTP, and steered and questioned from the same process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from cb_trade_simulator.calls import Calls, Gates
from cb_trade_simulator.clock import SystemClock, to_milliseconds
from cb_trade_simulator.errors import SimulatorError, UnknownSymbolError, UnknownTimeframeError, UnknownVenueError
from cb_trade_simulator.faults import Faults
from cb_trade_simulator.markets.candle import to_floats
from cb_trade_simulator.markets.catalogue import MARKETS
from cb_trade_simulator.markets.history import History
from cb_trade_simulator.markets.timeframes import TIMEFRAMES
from cb_trade_simulator.server import Server
from cb_trade_simulator.venues import VENUES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime

    from cb_trade_simulator.clock import Clock
    from cb_trade_simulator.faults import Fault
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market

SHUTDOWN_TIMEOUT_SECS = 1.0


class ExchangeSimulator:
    """One exchange with its synthetic markets. Everything but `candles` belongs to the event loop that serves it.

    Args:
        venue: Whose wire format it speaks; a name in `VENUES`.
        seed: Which synthetic past it has. The same seed gives the same past, whatever is asked and in what order.
        clock: The time it believes it is; the machine's if not given.
        markets: The pairs it trades.

    Raises:
        UnknownVenueError: There is no such venue.
    """

    def __init__(
        self,
        venue: str = "binance",
        seed: int = 1,
        clock: Clock | None = None,
        markets: Iterable[Market] = MARKETS,
    ) -> None:
        if venue not in VENUES:
            raise UnknownVenueError(venue, VENUES)
        make_venue = VENUES[venue]
        self.clock: Clock = clock or SystemClock()
        self.calls = Calls()
        self._gates = Gates()
        self._faults = Faults()
        self._url: str | None = None
        self._histories = {market.symbol: History(market, make_venue.outages, seed) for market in markets}
        self._server = Server(make_venue(self._histories.values()), self.clock, self.calls, self._gates, self._faults)

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ExchangeSimulator]:
        """Listen until the block ends; port 0 takes any free one. Raises OSError if the port is taken."""
        runner = web.AppRunner(self._server.application(), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECS)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            self._url = f"http://{host}:{runner.addresses[0][1]}"
            yield self
        finally:
            self._url = None
            self._gates.open_all()
            await runner.cleanup()

    @property
    def url(self) -> str:
        """Where it listens: `http://127.0.0.1:PORT`."""
        if self._url is None:
            raise SimulatorError("the simulator is not serving; use `async with simulator.serve()`")
        return self._url

    @property
    def base_url(self) -> str:
        """What `https://` is replaced by in an exchange's addresses, less a slash: `http://127.0.0.1:PORT/h`."""
        return f"{self.url}/h"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The unified names of all markets, those not listed yet at the clock's time included."""
        return tuple(self._histories)

    def listed_at(self, symbol: str) -> datetime:
        """Return the open time of the market's first minute, aware UTC."""
        return self._history(symbol).market.listed

    def candles(self, symbol: str, timeframe: str, start: datetime, end: datetime) -> Rows:
        """Return the truth: every candle closed by the clock's now that opens in [start, end), oldest first.

        Args:
            symbol: A unified name, one of `symbols`.
            timeframe: `1m` … `1M`.
            start: First open time, inclusive; aware.
            end: Last open time, exclusive; aware.

        Returns:
            A structured array with the fields `timestamp` (open time, int64 milliseconds since 1970 UTC) and `open`,
            `high`, `low`, `close`, `volume` (float64, equal to `float()` of the text on the wire).

        Raises:
            UnknownSymbolError: There is no such market.
            UnknownTimeframeError: There is no such candle length.
            ValueError: A datetime without zone.
        """
        history = self._history(symbol)
        grid = TIMEFRAMES.get(timeframe)
        if grid is None:
            raise UnknownTimeframeError(timeframe, TIMEFRAMES)
        now_ms = to_milliseconds(self.clock.now())
        rows = history.candles(grid, to_milliseconds(start), to_milliseconds(end), now_ms)
        closed = grid.shift(rows["timestamp"], 1) <= now_ms
        return to_floats(rows[closed], history.market)

    def inject(self, fault: Fault, endpoint: str = "klines", times: int | None = 1) -> None:
        """Let the next *times* calls of *endpoint* meet *fault* (None: all until `clear_faults`)."""
        self._faults.inject(fault, endpoint, times)

    def clear_faults(self) -> None:
        """Forget all faults that have not been met yet."""
        self._faults.clear()

    def hold(self, endpoint: str, after: int = 0) -> None:
        """Let calls of *endpoint* wait unanswered until `release`, except the first *after* since the last reset.

        They count as arrived, and meet faults and the clock only when they go on.
        """
        self._gates.close(endpoint, after)

    def release(self, endpoint: str) -> None:
        """Let the held calls of *endpoint* go on, and hold no more."""
        self._gates.open(endpoint)

    async def wait_for_calls(self, endpoint: str, number: int) -> None:
        """Return once that many calls of *endpoint* have arrived since the last reset, answered or held."""
        await self.calls.wait_for(endpoint, number)

    def _history(self, symbol: str) -> History:
        history = self._histories.get(symbol)
        if history is None:
            raise UnknownSymbolError(symbol, self._histories)
        return history
