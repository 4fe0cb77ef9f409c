"""Instants are aware UTC datetimes; milliseconds exist only in columns, on the wire and at the exchange's edge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(instant: datetime) -> int:
    """Return the whole milliseconds from the epoch to *instant*, rounded down; exact, no floating point."""
    return (instant - EPOCH) // _MILLISECOND


def to_ms_ceil(instant: datetime) -> int:
    """Return the whole milliseconds from the epoch to *instant*, rounded up: the first that is not before it."""
    return -((EPOCH - instant) // _MILLISECOND)


def from_ms(milliseconds: int) -> datetime:
    """Return the instant *milliseconds* after the epoch.

    Raises:
        OverflowError: The instant lies outside the years 1 to 9999.
    """
    return EPOCH + timedelta(milliseconds=milliseconds)


def utc_now() -> datetime:
    """Return this machine's idea of the present."""
    return datetime.now(UTC)
