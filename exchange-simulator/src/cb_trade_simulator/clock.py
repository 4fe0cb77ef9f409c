"""The time an exchange believes it is: the machine's, or one that a test moves by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MS_NS = 1_000_000
"""The nanoseconds of a millisecond."""


class Clock(Protocol):
    """Anything that knows the time."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@runtime_checkable
class MovableClock(Clock, Protocol):
    """A clock that can be put forwards and back while the exchange is serving."""

    def set(self, now: datetime) -> None:
        """Move the clock to *now* (aware)."""
        ...

    def advance(self, step: timedelta) -> None:
        """Move the clock by *step*."""
        ...


class RunningClock:
    """A clock that runs as the machine's does and can be moved; right, unless it is told otherwise."""

    def __init__(self, now: datetime | None = None) -> None:
        self._ahead = timedelta(0)
        if now is not None:
            self.set(now)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def set(self, now: datetime) -> None:
        """Move the clock to *now* (aware); it runs on from there."""
        self._ahead = _aware(now) - datetime.now(UTC)

    def advance(self, step: timedelta) -> None:
        """Move the clock by *step*."""
        self._ahead += step


class ManualClock:
    """A clock that stands still until it is moved, forwards or backwards."""

    def __init__(self, now: datetime) -> None:
        self._now = _aware(now)

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        """Move the clock to *now* (aware)."""
        self._now = _aware(now)

    def advance(self, step: timedelta) -> None:
        """Move the clock by *step*."""
        self._now += step


def to_milliseconds(moment: datetime) -> int:
    """Return the milliseconds since 1970 UTC of an aware datetime, rounded down.

    Raises:
        ValueError: The datetime has no zone, so nobody can know which instant it means.
    """
    return (_aware(moment) - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(moment_ms: int) -> datetime:
    """Return the aware UTC datetime of milliseconds since 1970 UTC."""
    return EPOCH + timedelta(milliseconds=moment_ms)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; give an aware datetime")
    return moment.astimezone(UTC)
