"""A breaker: whether what failed again and again is called at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal

import structlog

from cb_trade_data.errors import (
    ExchangeLimitError,
    ExchangeRefusalError,
    ExchangeUnavailableError,
)
from cb_trade_data.exchange_source.stopwatch import Stopwatch

_log = structlog.get_logger(__name__)

_FAILURES_TO_OPEN: Final = 5
# An outage is conclusive, and what is asked for has failed, after as many tries over this long.
_CONCLUSIVE_SECS: Final = 60.0
_OPEN_SECS: Final = 15.0
_OPEN_GROWTH: Final = 1.5  # probes after 15, 38 and 71 s: the third one is conclusive
_OPEN_MAX_SECS: Final = 60.0
# What was seen longer ago than this says nothing about now.
_FORGET_SECS: Final = 300.0

# Tells how what a breaker is for has failed, by the error that a call ended with; None where it is not to blame.
Blame = Callable[[ExchangeUnavailableError], str | None]


class Breaker:
    """Lets calls through until five have failed with no success between them; then one at a time.

    Open, it lets nobody through. After a while the next who comes is the probe, and all others wait for its outcome: a
    success closes the breaker, a failure keeps it open for longer. A probe that is cancelled, or that fails by somebody
    else's fault, says nothing, and the next one probes. That the exchange was asked too often is no failure, and a
    refusal is an answer.
    """

    def __init__(self, exchange: str, stopwatch: Stopwatch, market: str | None = None) -> None:
        """*market* is the symbol of the one market that it is for, as the log tells it; None for the whole exchange."""
        self._exchange = exchange
        self._market = market
        self._stopwatch = stopwatch
        self._failures = 0  # with no success between them
        self._failing_since_secs = self._failed_at_secs = 0.0
        self._reason = ""
        self._probe_at_secs: float | None = None  # None while closed
        self._open_secs = _OPEN_SECS
        self._is_probing = False
        self._failed_probes = 0
        self._under_way = 0
        self._is_shut_down = False
        self._changed = asyncio.Event()

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """`closed` while calls go through, `open` while none does, `half-open` while one finds out."""
        if self._probe_at_secs is None:
            return "closed"
        return "half-open" if self._is_probing else "open"

    @property
    def has_failures(self) -> bool:
        """Whether anything failed since the last success, and not too long ago."""
        return self._failures > 0 and not self._is_old()

    @property
    def is_idle(self) -> bool:
        """Whether a new one would do as well: it has no failures, and no call is under way that may become one."""
        return not self.has_failures and self._under_way == 0

    @property
    def is_conclusive(self) -> bool:
        """Whether the exchange has failed often and long enough for what was asked for to count as failed."""
        lasted_secs = self._failed_at_secs - self._failing_since_secs
        return self._probe_at_secs is not None and lasted_secs >= _CONCLUSIVE_SECS

    @property
    def reason(self) -> str:
        """Why the last call failed."""
        return self._reason

    def lets_through(self, later_secs: float = 0.0) -> bool:
        """Tell whether a call may be made now; *later_secs* is by how much it is to probe later than others may."""
        if self._probe_at_secs is None:
            return True
        return not self._is_probing and self._stopwatch.now_secs() >= self._probe_at_secs + later_secs

    async def passage(self, later_secs: Callable[[], float] = float) -> None:
        """Return once a call may be made; the caller looks again when it is about to.

        Args:
            later_secs: Called whenever something has changed; see `lets_through`.

        Raises:
            ExchangeUnavailableError: A probe found out meanwhile that it is of no use, or that is known already.
        """
        self._forget_what_is_old()
        seen = self._failed_probes
        while not self._is_shut_down and not self.lets_through(later_secs()):
            if self._failed_probes != seen or (self.is_conclusive and not self._is_probing):
                raise ExchangeUnavailableError(self._exchange, self._reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_probe_real_secs(later_secs())):
                    await self._changed.wait()
        if self._is_shut_down:
            raise ExchangeUnavailableError(self._exchange, "the service is stopping")

    @contextmanager
    def watching(self, blame: Blame) -> Iterator[None]:
        """Learn from how the call inside ends. Only where it `lets_through`, with no await in between.

        *blame* is asked about each error that may be a failure.
        """
        is_probe = self._probe_at_secs is not None
        self._is_probing = self._is_probing or is_probe
        self._under_way += 1
        try:
            yield
        except ExchangeRefusalError:
            self._on_success()
            raise
        except ExchangeLimitError:
            raise
        except ExchangeUnavailableError as error:
            if (reason := blame(error)) is not None:
                self._on_failure(reason, is_probe=is_probe)
            raise
        else:
            self._on_success()
        finally:
            self._under_way -= 1
            if is_probe:
                self._on_end_of_probe()

    def shut_down(self) -> None:
        """Send everybody home who waits, or comes later."""
        self._is_shut_down = True
        self._announce()

    def _on_success(self) -> None:
        if self._probe_at_secs is not None:
            secs = round(self._stopwatch.now_secs() - self._failing_since_secs, 1)
            _log.info("exchange.breaker_closed", exchange=self._exchange, market=self._market, down_secs=secs)
        self._reset()

    def _on_failure(self, reason: str, *, is_probe: bool) -> None:
        now_secs = self._stopwatch.now_secs()
        if self._failures == 0:
            self._failing_since_secs = now_secs
        self._failures += 1
        self._failed_at_secs = now_secs
        self._reason = reason
        if self._probe_at_secs is None:
            if self._failures >= _FAILURES_TO_OPEN:
                self._open(now_secs)
        elif is_probe:
            self._failed_probes += 1
            self._open_secs = min(self._open_secs * _OPEN_GROWTH, _OPEN_MAX_SECS)
            self._open(now_secs)

    def _on_end_of_probe(self) -> None:
        self._is_probing = False
        if self._probe_at_secs is not None:
            # Where it said nothing, the next one may probe from now on.
            self._probe_at_secs = max(self._probe_at_secs, self._stopwatch.now_secs())
        self._announce()

    def _open(self, now_secs: float) -> None:
        self._probe_at_secs = now_secs + self._open_secs
        _log.warning(
            "exchange.breaker_opened",
            exchange=self._exchange,
            market=self._market,
            failures=self._failures,
            reason=self._reason,
            open_secs=round(self._open_secs, 1),
        )

    def _reset(self) -> None:
        self._failures = 0
        self._open_secs = _OPEN_SECS
        if self._probe_at_secs is not None:
            self._probe_at_secs = None
            self._announce()

    def _forget_what_is_old(self) -> None:
        if self._failures and self._is_old():
            self._reset()

    def _is_old(self) -> bool:
        return not self._is_probing and self._stopwatch.now_secs() - self._failed_at_secs > _FORGET_SECS

    def _until_probe_real_secs(self, later_secs: float) -> float | None:
        """Return how long to wait for the time of the probe; None to wait for the outcome of the one under way."""
        if self._is_probing or self._probe_at_secs is None:
            return None
        # A millisecond more: a timer that comes early would make this a busy loop.
        return self._stopwatch.real_secs(self._probe_at_secs + later_secs - self._stopwatch.now_secs()) + 0.001

    def _announce(self) -> None:
        """Wake everybody who waits for something to change."""
        self._changed.set()
        self._changed = asyncio.Event()
