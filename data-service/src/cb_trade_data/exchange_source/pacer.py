"""How fast an exchange may be asked, as plain arithmetic: no clock, no queue, no waiting."""

from __future__ import annotations

import math
from typing import Final

from cb_trade_data.exchange_source.facts import Pace

_SLOWEST: Final = 1 / 20  # of the full rate
_RECOVERY_SECS: Final = 90.0  # from a standstill to the full rate, while calls succeed
_BACKOFF_SECS: Final = (1.0, 60.0)  # after a "too often" that says no time: the first and the longest
_PAUSE_MAX_SECS: Final = 3 * 86_400.0  # Binance's longest ban; what claims to be longer is asked again after this
_ROUNDING: Final = 1e-9  # of a call


class Pacer:
    """Tells how long the next call has to wait.

    A bucket of `burst` tokens that fills at the rate. A call takes as many as it costs and may overdraw, so that it
    begins as soon as one is there. In any span of T seconds calls that cost one begin at most `burst + rate * T` times.
    The rate is halved when the exchange finds it too much, and grows back while it does not.

    All times are seconds of one clock that never goes back.
    """

    def __init__(self, pace: Pace, now_secs: float) -> None:
        self.full_rate = self.rate = pace.calls_per_sec
        self._burst = float(pace.burst)
        self._tokens = self._burst
        self._counted_at = now_secs  # tokens are counted up to here; in the future during a pause
        self._slowed_at = -math.inf
        self._raised_at = now_secs
        self._backoffs = 0

    def paused_secs(self, now_secs: float) -> float:
        """Return how long the exchange wants to be left alone from now on; 0 where it does not."""
        return max(0.0, self._counted_at - now_secs)

    def wait_secs(self, now_secs: float) -> float:
        """Return after how long the next call may begin; 0 if at once."""
        self._count(now_secs)
        lacking = 1.0 - self._tokens
        return self.paused_secs(now_secs) + (lacking / self.rate if lacking > _ROUNDING else 0.0)

    def take(self, cost: float) -> None:
        """Pay for a call that begins now. Only where `wait_secs` was 0."""
        self._tokens -= cost

    def give_back(self, cost: float) -> None:
        """Undo a `take` whose call was not made."""
        self._tokens = min(self._burst, self._tokens + cost)

    def pause(self, now_secs: float, secs: float) -> None:
        """Let no call begin for *secs*. Tokens do not add up meanwhile: what follows a pause is no burst."""
        self._count(now_secs)
        secs = min(secs, _PAUSE_MAX_SECS)
        if secs > self.paused_secs(now_secs):
            self._counted_at = self._raised_at = now_secs + secs
            self._tokens = min(self._tokens, 1.0)

    def slow_down(self, now_secs: float, sent_at_secs: float, retry_after_secs: float | None) -> bool:
        """Halve the rate after an answer that says "too often", and pause for as long as it says.

        Answers to calls that were sent before the last slow-down say nothing new about the rate; their pause counts.

        Args:
            sent_at_secs: When the call was sent.
            retry_after_secs: The exchange's own word; None for a pause that doubles with each repeat.

        Returns:
            Whether the rate was up for a change.
        """
        is_news = sent_at_secs > self._slowed_at
        if is_news:
            self._count(now_secs)
            self._slowed_at = self._raised_at = now_secs
            self.rate = max(self.rate / 2, self.full_rate * _SLOWEST)
            if retry_after_secs is None:
                first, longest = _BACKOFF_SECS
                retry_after_secs = min(first * 2.0 ** min(self._backoffs, 16), longest)
                self._backoffs += 1
        self.pause(now_secs, retry_after_secs or 0.0)
        return is_news

    def recover(self, now_secs: float, sent_at_secs: float) -> bool:
        """Raise the rate after a success, by how long there was none of "too often"; tell whether it is full again."""
        if sent_at_secs <= self._slowed_at:
            return False
        self._backoffs = 0
        if self.rate == self.full_rate:
            return False
        self._count(now_secs)
        grown = self.full_rate * max(0.0, now_secs - self._raised_at) / _RECOVERY_SECS
        self.rate = min(self.full_rate, self.rate + grown)
        self._raised_at = max(self._raised_at, now_secs)
        return self.rate == self.full_rate

    def _count(self, now_secs: float) -> None:
        if now_secs > self._counted_at:
            self._tokens = min(self._burst, self._tokens + (now_secs - self._counted_at) * self.rate)
            self._counted_at = now_secs
