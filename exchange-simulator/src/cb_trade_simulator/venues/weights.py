"""Counting what clients use up of an exchange's allowance, minute by minute."""

from __future__ import annotations

import threading

from cb_trade_simulator.clock import MINUTE_MS


class WeightPerMinute:
    """The weight used in the current minute of the venue's clock. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = 0
        self._used = 0

    def use(self, weight: int, now_ms: int) -> int:
        """Add a call's weight and return what has been used in its minute, this call included."""
        with self._lock:
            minute = now_ms // MINUTE_MS
            if minute != self._minute:
                self._minute, self._used = minute, 0
            self._used += weight
            return self._used
