"""The budget: whose turn it is to call an exchange, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.pacer import Pacer
from cb_trade_data.exchange_source.stopwatch import Stopwatch

_log = structlog.get_logger(__name__)

# Nobody is kept waiting for a pause that is longer than this: it is told how long it is.
_PAUSE_WORTH_WAITING_SECS: Final = 120.0
# The finest step of an event loop's timers; a shorter one would be a busy loop until the time has come.
_TIMER_MIN_SECS: Final = 0.001


@dataclass(eq=False)
class Place:
    """The turn of one call.

    Attributes:
        granted_at_secs: When it came, by the budget's stopwatch.
        cost: In pages.
        is_unused: Set by whoever makes no call after all; the budget then takes back what it cost.
    """

    granted_at_secs: float
    cost: float
    is_unused: bool = False


@dataclass(eq=False)
class _Waiter:
    urgency: Callable[[], int]
    cost: float
    turn: asyncio.Future[Place] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Budget:
    """What we allow ourselves with one exchange: places for calls at once, a pace, and an order among who waits.

    A waiter that is cancelled leaves no trace: neither its place nor its token is taken. A timer runs only while
    somebody waits for a token.
    """

    def __init__(self, facts: ExchangeFacts, stopwatch: Stopwatch) -> None:
        self._exchange = facts.id
        self._places = facts.concurrent_calls
        self._stopwatch = stopwatch
        self._pacer = Pacer(facts.pace, stopwatch.now_secs())
        self._waiters: dict[_Waiter, None] = {}  # in the order in which they came
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_secs = 0.0  # loop time
        self._is_closed = False

    @asynccontextmanager
    async def place(self, urgency: Callable[[], int], cost: float = 1) -> AsyncIterator[Place]:
        """Wait for a turn, and hold the place as long as the context lasts.

        Args:
            urgency: Called whenever a place is granted; of all who wait, the smallest goes first, then who came first.
            cost: In pages. Of one that costs more, only the first has to be there; those who follow wait for the rest.

        Raises:
            ExchangeUnavailableError: The exchange wants to be left alone for longer than is worth waiting for, or the
                budget was closed.
        """
        place = await self._turn(urgency, cost)
        try:
            yield place
        finally:
            self._leave(place)

    @property
    def rate(self) -> float:
        """Calls a second that are allowed now."""
        return self._pacer.rate

    @property
    def full_rate(self) -> float:
        """Calls a second that are allowed while the exchange does not find it too much."""
        return self._pacer.full_rate

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiters)

    @property
    def under_way(self) -> int:
        """How many hold a place."""
        return self._under_way

    @property
    def paused_secs(self) -> float:
        """How long the exchange wants to be left alone from now on."""
        return self._pacer.paused_secs(self._stopwatch.now_secs())

    @property
    def is_paused_for_long(self) -> bool:
        """Whether that is longer than is worth waiting for."""
        return self.paused_secs > _PAUSE_WORTH_WAITING_SECS

    def slow_down(self, place: Place, retry_after: timedelta | None) -> None:
        """Take in that the exchange found the call of *place* one too many."""
        after_secs = None if retry_after is None else retry_after.total_seconds()
        if self._pacer.slow_down(self._stopwatch.now_secs(), place.granted_at_secs, after_secs):
            _log.warning(
                "exchange.slowed",
                exchange=self._exchange,
                calls_per_sec=round(self.rate, 3),
                paused_secs=round(self.paused_secs, 1),
            )
        self._turn_away_if_paused_for_long()

    def pause(self, retry_after: timedelta) -> None:
        """Take in that the exchange wants to be left alone for a while, for another reason than our calls."""
        self._pacer.pause(self._stopwatch.now_secs(), retry_after.total_seconds())
        self._turn_away_if_paused_for_long()

    def recover(self, place: Place) -> None:
        """Take in that the exchange answered the call of *place*."""
        if self._pacer.recover(self._stopwatch.now_secs(), place.granted_at_secs):
            _log.info("exchange.recovered", exchange=self._exchange, calls_per_sec=round(self.rate, 3))

    def close(self) -> None:
        """Send everybody home who waits, or comes later."""
        self._is_closed = True
        self._turn_away(self._closed_error)

    async def _turn(self, urgency: Callable[[], int], cost: float) -> Place:
        if self._is_closed:
            raise self._closed_error()
        if self.is_paused_for_long:
            raise self._paused_error()
        waiter = _Waiter(urgency, cost)
        self._waiters[waiter] = None
        self._grant()
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                # Its turn came, and it was cancelled before it could see that.
                unused = waiter.turn.result()
                unused.is_unused = True
                self._leave(unused)
            raise
        finally:
            if waiter in self._waiters:
                del self._waiters[waiter]
                self._grant()

    def _leave(self, place: Place) -> None:
        self._under_way -= 1
        if place.is_unused:
            self._pacer.give_back(place.cost)
        self._grant()

    def _grant(self) -> None:
        """Give places to those who are to have one now, and see to it that the next one is given in time."""
        while self._waiters and self._under_way < self._places:
            now_secs = self._stopwatch.now_secs()
            wait_secs = self._pacer.wait_secs(now_secs)
            if wait_secs > 0:
                self._grant_again_in(wait_secs)
                return
            waiter = min(self._waiters, key=lambda each: each.urgency())
            del self._waiters[waiter]
            if waiter.turn.done():
                continue  # It was cancelled, and has not noticed yet.
            self._pacer.take(waiter.cost)
            self._under_way += 1
            waiter.turn.set_result(Place(now_secs, waiter.cost))
        self._stop_timer()

    def _grant_again_in(self, secs: float) -> None:
        loop = asyncio.get_running_loop()
        delay_secs = max(self._stopwatch.real_secs(secs), _TIMER_MIN_SECS)
        at_secs = loop.time() + delay_secs
        if self._timer is not None and self._timer_at_secs <= at_secs:
            return  # It looks again by itself, should it be too early.
        self._stop_timer()
        # When it is due is kept here: uvloop's handles for the shortest of times cannot tell.
        self._timer, self._timer_at_secs = loop.call_later(delay_secs, self._on_time), at_secs

    def _on_time(self) -> None:
        self._timer = None
        self._grant()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn_away_if_paused_for_long(self) -> None:
        if self.is_paused_for_long:
            self._turn_away(self._paused_error)

    def _turn_away(self, error: Callable[[], ExchangeUnavailableError]) -> None:
        for waiter in self._waiters:
            if not waiter.turn.done():
                waiter.turn.set_exception(error())
        self._waiters.clear()
        self._stop_timer()

    def _paused_error(self) -> ExchangeUnavailableError:
        secs = self.paused_secs
        return ExchangeUnavailableError(
            self._exchange, f"it wants to be left alone for {secs:.0f} s", timedelta(seconds=secs)
        )

    def _closed_error(self) -> ExchangeUnavailableError:
        return ExchangeUnavailableError(self._exchange, "the service is stopping")
