"""The seconds in which patience with exchanges is counted."""

from __future__ import annotations

import time
from collections.abc import Callable


class Stopwatch:
    """Counts seconds that never jump, *speed* times as fast as real ones.

    Paces, pauses and the waits between tries are all counted by one of these. A trial or a test that has no minute to
    spare for an exchange that is down makes it run faster; nothing else about the behaviour changes.
    """

    def __init__(self, real_now_secs: Callable[[], float] = time.monotonic, speed: float = 1.0) -> None:
        """*real_now_secs* returns the seconds of a clock that is never set; which one does not matter."""
        if speed <= 0:
            raise ValueError(f"a speed is above zero, not {speed}")
        self._real_now_secs = real_now_secs
        self._speed = speed

    def now_secs(self) -> float:
        """Return the seconds since some moment."""
        return self._real_now_secs() * self._speed

    def real_secs(self, secs: float) -> float:
        """Return how long *secs* of this stopwatch last in real seconds, as timers count them."""
        return secs / self._speed
