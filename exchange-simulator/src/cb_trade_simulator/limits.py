"""How much an exchange lets be asked, and turning away what is too much."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Gauge(Protocol):
    """What has been used of one allowance."""

    def use(self, weight: int, now_secs: float) -> float:
        """Use *weight* if it is there and return 0; else use nothing and return after how many seconds it will be."""
        ...


class Allowance(Protocol):
    """How much may be used in how much time."""

    @property
    def per_second(self) -> float:
        """The weight that may be used in the long run."""
        ...

    def gauge(self) -> Gauge:
        """Return a gauge of which nothing has been used."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """So much in each stretch of time, the stretches one after the other: Binance's minutes, OKX's two seconds."""

    weight: int
    secs: float

    @property
    def per_second(self) -> float:
        return self.weight / self.secs

    def gauge(self) -> Gauge:
        return _WindowGauge(self)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A reserve of so much, refilled steadily: Kraken's counter, Coinbase's burst."""

    reserve: int
    per_second: float

    def gauge(self) -> Gauge:
        return _BucketGauge(self)


class Limiter:
    """The allowances of one venue, enforced when switched on. Belongs to the event loop that serves the venue.

    Args:
        allowances: By the name of what is counted together.
        now_secs: The time by which calls are counted: the machine's, not the exchange's, for politeness is felt in
            real seconds even where the exchange's clock stands still.

    Attributes:
        allowances: By the name of what is counted together.
        used: The weight of all calls so far, by that name, enforced or not.
        refused: The calls that were turned away, by endpoint.
    """

    def __init__(self, allowances: Mapping[str, Allowance], now_secs: Callable[[], float] = time.monotonic) -> None:
        self.allowances = allowances
        self._now_secs = now_secs
        self._gauges: dict[str, Gauge] = {}
        self._speed = 1.0
        self.enforced = False
        self.used: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def enforce(self, *, speed: float = 1.0) -> None:
        """Turn away what is too much from now on, with all allowances fresh and *speed* times as large per second."""
        if speed <= 0:
            raise ValueError(f"a speed is above zero, not {speed}")
        self._speed = speed
        self._gauges = {name: allowance.gauge() for name, allowance in self.allowances.items()}
        self.enforced = True

    def stop(self) -> None:
        """Turn away nobody."""
        self.enforced = False

    def retry_after_secs(self, endpoint: str, cost: tuple[str, int]) -> int | None:
        """Count and use up a call's cost; if that is too much, count it as refused and return the seconds to wait."""
        name, weight = cost
        self.used[name] += weight
        if not self.enforced or name not in self._gauges:
            return None
        wait = self._gauges[name].use(weight, self._now_secs() * self._speed) / self._speed
        if wait <= 0:
            return None
        self.refused[endpoint] += 1
        return max(1, math.ceil(wait))


class _WindowGauge:
    def __init__(self, window: Window) -> None:
        self._window = window
        self._number = -1
        self._used = 0

    def use(self, weight: int, now_secs: float) -> float:
        number = int(now_secs // self._window.secs)
        if number != self._number:
            self._number, self._used = number, 0
        if self._used + weight > self._window.weight:
            return (number + 1) * self._window.secs - now_secs
        self._used += weight
        return 0.0


class _BucketGauge:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._left = float(bucket.reserve)
        self._at_secs: float | None = None

    def use(self, weight: int, now_secs: float) -> float:
        if self._at_secs is not None:
            refilled = self._left + (now_secs - self._at_secs) * self._bucket.per_second
            self._left = min(float(self._bucket.reserve), refilled)
        self._at_secs = now_secs
        if self._left < weight:
            return (weight - self._left) / self._bucket.per_second
        self._left -= weight
        return 0.0
