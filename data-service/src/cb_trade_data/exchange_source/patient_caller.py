"""Calls to one exchange: each in its turn, tried again while that may help, and not made at all when it is down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import stamina

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeNonsenseError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
)
from cb_trade_data.exchange_source.breakers import Breakers
from cb_trade_data.exchange_source.budget import Budget, Place
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import ExchangeCondition
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.models.past_error import PastError

# Waits of 1, 4, 16 and 40 s and jitter: five tries over at least a minute before something counts as failed.
_TRIES: Final = 5
_FIRST_WAIT_SECS: Final = 1.0
_WAIT_GROWTH: Final = 4.0
_LONGEST_WAIT_SECS: Final = 40.0
_JITTER_SECS: Final = 1.0

# As `ExchangeCondition.errors` counts them; all others are `unavailable`.
_ERROR_KINDS: Final[dict[type[ExchangeUnavailableError], str]] = {
    ExchangeLimitError: "limit",
    ExchangeRefusalError: "refusal",
    ExchangeNonsenseError: "nonsense",
}

T = TypeVar("T")


class PatientCaller:
    """The one way to an exchange: its budget, its breakers, and the patience to try again."""

    def __init__(self, facts: ExchangeFacts, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._budget = Budget(facts, stopwatch)
        self._breakers = Breakers(facts.id, stopwatch)
        self._problem: str | None = None  # why the last call failed for good
        self._is_closed = False
        self._calls = 0
        self._errors: Counter[str] = Counter()
        self._last_error: PastError | None = None

    async def call(
        self,
        begin: Callable[[], Awaitable[T] | None],
        urgency: Callable[[], int] = int,
        *,
        about: str | None = None,
        cost: float = 1,
        tries: int = _TRIES,
    ) -> tuple[T | None, int]:
        """Return what was answered, and how many calls that took; None and 0 where nothing was to be called.

        No place is held between two tries. Retry-After needs nothing here: the budget grants no place until then.

        Args:
            begin: Called at each turn. Returns the call to be awaited, or None to make none after all.
            urgency: Who goes first, see `Budget.place`.
            about: The symbol of the market that is asked about; None where it is the exchange itself.
            cost: In pages.
            tries: How often to try.

        Raises:
            ExchangeUnavailableError: Every try failed, or more of them are of no use; `tries` counts the calls.
        """
        calls, has_called = 0, False

        def begin_counted() -> Awaitable[T] | None:
            nonlocal calls, has_called
            under_way = begin()
            has_called = under_way is not None
            calls += has_called
            return under_way

        real_secs = self._stopwatch.real_secs
        try:
            async for attempt in stamina.retry_context(
                on=partial(self._may_help, about),
                attempts=tries,
                timeout=None,
                wait_initial=real_secs(_FIRST_WAIT_SECS),
                wait_exp_base=_WAIT_GROWTH,
                wait_max=real_secs(_LONGEST_WAIT_SECS),
                wait_jitter=real_secs(_JITTER_SECS),
            ):
                with attempt:
                    answer = await self._call_in_turn(begin_counted, urgency, about, cost)
        except ExchangeUnavailableError as error:
            self._problem = None if isinstance(error, ExchangeRefusalError) else error.reason
            error.tries = calls
            raise
        if has_called:  # the last time, not only before
            self._problem = None
        return answer, calls

    @property
    def is_at_rest(self) -> bool:
        """Whether a call would not go through now: it would wait for a probe, or for the end of a pause."""
        return self._breakers.exchange.state != "closed" or self._budget.paused_secs > 0

    def leaves_alone(self, about: str) -> bool:
        """Tell whether a call about that market would fail at once, or wait for somebody else's probe or its time."""
        return self._budget.is_paused_for_long or not self._breakers.lets_through(about)

    @property
    def condition(self) -> ExchangeCondition:
        """How the exchange is doing."""
        breaker = self._breakers.exchange.state
        return ExchangeCondition(
            status=self._problem or ("ok" if breaker == "closed" else self._breakers.exchange.reason),
            breaker=breaker,
            markets_held_up=self._breakers.markets_held_up,
            calls_per_sec=self._budget.rate,
            full_calls_per_sec=self._budget.full_rate,
            waiting=self._budget.waiting,
            under_way=self._budget.under_way,
            paused_secs=self._budget.paused_secs,
            calls=self._calls,
            errors=dict(self._errors),
            last_error=self._last_error,
        )

    def close(self) -> None:
        """End all waiting; whoever waits is told that the service is stopping."""
        self._is_closed = True
        self._breakers.shut_down()
        self._budget.close()

    async def _call_in_turn(
        self, begin: Callable[[], Awaitable[T] | None], urgency: Callable[[], int], about: str | None, cost: float
    ) -> T | None:
        while True:
            await self._breakers.passage(about)
            async with self._budget.place(urgency, cost) as place:
                # One may have opened, or somebody begun to probe, since then.
                if not self._breakers.lets_through(about):
                    place.is_unused = True
                    continue
                under_way = begin()
                if under_way is None:
                    place.is_unused = True
                    return None
                return await self._watched(under_way, about, place)

    async def _watched(self, under_way: Awaitable[T], about: str | None, place: Place) -> T:
        """Return the answer to a call; budget and breakers learn from how it ends."""
        self._calls += 1
        try:
            with self._breakers.watching(about):
                answer = await under_way
        except ExchangeLimitError as error:
            self._note(error)
            self._budget.slow_down(place, error.retry_after)
            raise
        except ExchangeUnavailableError as error:
            self._note(error)
            if error.retry_after is not None:
                self._budget.pause(error.retry_after)
            raise
        self._budget.recover(place)
        return answer

    def _note(self, error: ExchangeUnavailableError) -> None:
        self._errors[_ERROR_KINDS.get(type(error), "unavailable")] += 1
        if not isinstance(error, ExchangeRefusalError):
            self._last_error = PastError(error.reason)

    def _may_help(self, about: str | None, error: Exception) -> bool:
        """Tell whether another try may end otherwise."""
        return (
            isinstance(error, ExchangeUnavailableError)
            and not isinstance(error, ExchangeRefusalError)
            and not self._is_closed
            and not self._breakers.is_conclusive(about)
            and not self._budget.is_paused_for_long
        )
