"""The simulated exchange as its user holds it: served over HTTP, and steered and questioned from the same process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from cb_trade_simulator.calls import Calls, Gates
from cb_trade_simulator.clock import MS_NS, MovableClock, RunningClock, to_milliseconds
from cb_trade_simulator.control import Control
from cb_trade_simulator.errors import (
    BadFaultError,
    SimulatorError,
    UnknownSymbolError,
    UnknownTimeframeError,
)
from cb_trade_simulator.faults import Faults, Injection, MarketEvent, parse
from cb_trade_simulator.limits import Limiter
from cb_trade_simulator.markets.candle import to_floats
from cb_trade_simulator.markets.funding import recorded_funding
from cb_trade_simulator.markets.history import History
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.trades import to_float_trades
from cb_trade_simulator.server import Server
from cb_trade_simulator.venues import find_venue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import datetime, timedelta

    from cb_trade_simulator.clock import Clock
    from cb_trade_simulator.faults import Fault
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market

SHUTDOWN_TIMEOUT_SECS = 1.0


class ExchangeSimulator:
    """One exchange with its synthetic markets.

    Everything but the truth (`candles`, `funding`, `trades`) belongs to the event loop that serves it.

    Args:
        venue: Whose wire format it speaks; a name in `VENUES`, or of a venue that an installed package offers.
        seed: Which synthetic past it has. The same seed gives the same past, whatever is asked and in what order.
        clock: The time it believes it is; the machine's if not given.
        markets: The pairs it trades; the venue's own choice if not given.

    Attributes:
        calls: What has been asked.
        limits: The venue's allowances: `limits.enforce()`, `limits.refused`. Nobody is turned away before that.
        faults: What is yet to go wrong, and how much has.

    Raises:
        UnknownVenueError: There is no such venue.
        BrokenVenueError: A package offers it, and it cannot be used.
    """

    def __init__(
        self,
        venue: str = "binance",
        seed: int = 1,
        clock: Clock | None = None,
        markets: Iterable[Market] | None = None,
    ) -> None:
        make_venue = find_venue(venue)
        self.clock: Clock = clock or RunningClock()
        self.calls = Calls()
        self.limits = Limiter(make_venue.allowances)
        self.faults = Faults(seed)
        self._gates = Gates()
        self._url: str | None = None
        self._timeframes = make_venue.timeframes
        self._histories = {
            market.symbol: History(
                market,
                make_venue.outages,
                seed,
                fills_quiet_minutes=make_venue.fills_quiet_minutes,
                funding_jitter_ms=make_venue.funding_jitter_ms,
            )
            for market in (make_venue.markets if markets is None else markets)
        }
        self._server = Server(
            make_venue(self._histories.values()), self.clock, self.calls, self._gates, self.faults, self.limits
        )

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ExchangeSimulator]:
        """Listen until the block ends; port 0 takes any free one. Raises OSError if the port is taken."""
        application = web.Application()
        application.add_routes([*self._server.routes(), *Control(self).routes()])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECS)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            self._url = f"http://{host}:{runner.addresses[0][1]}"
            yield self
        finally:
            self._url = None
            self._gates.open_all()
            self._server.let_go()
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

    @property
    def timeframes(self) -> tuple[str, ...]:
        """The candle lengths the venue offers, by unified name."""
        return tuple(self._timeframes)

    def set_clock(self, now: datetime) -> None:
        """Move the exchange's clock to *now* (aware). Raises SimulatorError if it cannot be moved."""
        self._movable_clock().set(now)

    def advance_clock(self, step: timedelta) -> None:
        """Move the exchange's clock by *step*. Raises SimulatorError if it cannot be moved."""
        self._movable_clock().advance(step)

    def listed_at(self, symbol: str) -> datetime:
        """Return the open time of the market's first minute, aware UTC."""
        return self._history(symbol).market.listed

    def candles(self, symbol: str, timeframe: str, start: datetime, end: datetime) -> Rows:
        """Return the truth: every candle closed by the clock's now that opens in [start, end), oldest first.

        It is what the venue has: without the minutes that it omits, with the outages that it had, with the values as
        restated by now. Quiet minutes that are still to be published late are in it.

        Args:
            symbol: A unified name, one of `symbols`.
            timeframe: One of `timeframes`.
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
        grid = self._timeframes.get(timeframe)
        if grid is None:
            raise UnknownTimeframeError(timeframe, self._timeframes)
        now_ms = to_milliseconds(self.clock.now())
        rows = history.candles(grid, to_milliseconds(start), to_milliseconds(end), now_ms, unpublished=True)
        closed = grid.shift(rows["timestamp"], 1) <= now_ms
        return to_floats(rows[closed], history.market)

    def funding(self, symbol: str, start: datetime, end: datetime) -> Rows:
        """Return the truth: all funding of a perpetual booked in [start, end) by the clock's now, oldest first.

        Args:
            symbol: A perpetual's unified name, one of `symbols`.
            start: First booking, inclusive; aware.
            end: Last booking, exclusive; aware.

        Returns:
            A structured array with the fields `timestamp` (int64 milliseconds since 1970 UTC), `rate` and `mark_price`
            (float64, equal to `float()` of the text on the wire). Recorded rows are told as they were given, those of
            one instant several times included; their mark price may be NaN.

        Raises:
            UnknownSymbolError: There is no such perpetual.
            ValueError: A datetime without zone.
        """
        now_ms = to_milliseconds(self.clock.now())
        return self._perpetual(symbol).funding.paid(to_milliseconds(start), to_milliseconds(end), now_ms).copy()

    def trades(self, symbol: str, start: datetime, end: datetime) -> Rows:
        """Return the truth: all trades in [start, end) up to the clock's now, oldest first.

        A busy market has some 800,000 a day, 40 bytes each.

        Args:
            symbol: A unified name, one of `symbols`.
            start: First instant, inclusive; aware.
            end: Last instant, exclusive; aware.

        Returns:
            A structured array with the fields `id` (int64; ascends with time, with gaps), `timestamp` (int64
            milliseconds since 1970 UTC; several trades may share one), `price`, `amount` (float64, in the base
            currency; equal to `float()` of the text on the wire, but for OKX's contracts) and
            `buyer_is_maker` (the seller was the taker).

        Raises:
            UnknownSymbolError: There is no such market.
            ValueError: A datetime without zone.
        """
        history = self._history(symbol)
        end_ms = min(to_milliseconds(end), to_milliseconds(self.clock.now()) + 1)
        rows = Tape(history).between(to_milliseconds(start) * MS_NS, end_ms * MS_NS)
        return to_float_trades(rows, history.market)

    def replay_funding(
        self,
        symbol: str,
        times_ms: Sequence[int],
        rates: Sequence[float],
        mark_prices: Sequence[float] | None = None,
    ) -> None:
        """Tell recorded funding of a perpetual from now on, instead of the made one.

        The venue serves it by its own rules, but for one: what it would keep for some months only it keeps for ever.

        Args:
            symbol: The perpetual's unified name.
            times_ms: When it was paid, milliseconds since 1970 UTC, in any order. Those of one instant stay
                in the order given.
            rates: The rate of each; as many.
            mark_prices: The mark price of each, if known; as many.

        Raises:
            UnknownSymbolError: There is no such perpetual.
            ValueError: There are not as many of one as of the other.
        """
        self._perpetual(symbol).changes.recorded_funding = recorded_funding(times_ms, rates, mark_prices)

    def inject(
        self,
        fault: Fault | MarketEvent | str,
        endpoint: str = "klines",
        times: int | None = 1,
        probability: float = 1.0,
    ) -> None:
        """Let something go wrong.

        Args:
            fault: What: an object of `cb_trade_simulator.faults`, or its spelling (`"429=7:0.1"`), which then also
                says the endpoint and the probability. An event of a market happens once, and to all its calls.
            endpoint: Whose calls meet it; `*` for all.
            times: How many calls meet it, from the next one on (None: all until `clear_faults`).
            probability: How likely such a call meets it, by chance that follows the seed.

        Raises:
            BadFaultError: The spelling makes no sense, or the event is none that the market can have.
            UnknownSymbolError: The event is about a market that does not exist.
        """
        label = fault if isinstance(fault, str) else None
        asked = parse(fault) if isinstance(fault, str) else fault
        if isinstance(asked, Injection):
            self.faults.inject(asked.fault, asked.endpoint, times, asked.probability, label)
        elif isinstance(asked, MarketEvent):
            self._decree(asked)
        else:
            self.faults.inject(asked, endpoint, times, probability)

    def clear_faults(self) -> None:
        """Forget all faults that have not been met yet. What has befallen a market stays."""
        self.faults.clear()

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

    def _decree(self, event: MarketEvent) -> None:
        try:
            event.apply(self._histories)
        except KeyError as unknown:
            raise UnknownSymbolError(str(unknown.args[0]), self._histories) from unknown
        except ValueError as problem:
            raise BadFaultError(repr(event), str(problem)) from problem

    def _movable_clock(self) -> MovableClock:
        if not isinstance(self.clock, MovableClock):
            raise SimulatorError("this clock cannot be moved; use a ManualClock or a RunningClock")
        return self.clock

    def _perpetual(self, symbol: str) -> History:
        history = self._histories.get(symbol)
        if history is None or not history.market.is_perpetual:
            raise UnknownSymbolError(symbol, (name for name, h in self._histories.items() if h.market.is_perpetual))
        return history

    def _history(self, symbol: str) -> History:
        history = self._histories.get(symbol)
        if history is None:
            raise UnknownSymbolError(symbol, self._histories)
        return history
