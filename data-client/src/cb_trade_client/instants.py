"""Instants as people write them, as Python holds them (aware UTC) and as the wire carries them (milliseconds)."""

from datetime import UTC, datetime, timedelta

from cb_trade_client.service_errors import InvalidValueError

Instant = datetime | str
"""An aware datetime, or ISO 8601 text with a zone (`2024-01-01T00:00:00Z`)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_utc(value: Instant, field: str) -> datetime:
    """Return *value* as an aware UTC datetime on a whole millisecond, the wire's resolution.

    A fraction of a millisecond is rounded up: for a start (inclusive) as for an end (exclusive) that selects exactly
    the same rows, since rows lie on whole milliseconds.

    Args:
        value: What the caller gave.
        field: The argument's name, for the error.

    Raises:
        InvalidValueError: *value* has no zone, so it could mean any of a day's worth of instants, or is no time at all.
    """
    moment = _parse(value, field) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise _refuse(field, value, "is neither a datetime nor ISO 8601 text")
    if moment.utcoffset() is None:
        raise _refuse(field, value, "has no time zone; give one, for example 2024-01-01T00:00:00Z or tzinfo=UTC")
    try:
        moment = moment.astimezone(UTC)
        return moment + timedelta(microseconds=-moment.microsecond % 1000)
    except OverflowError as error:
        raise _refuse(field, value, "is outside the years 1 to 9999 in UTC") from error


def to_text(moment: datetime) -> str:
    """Return *moment* as the ISO 8601 text that people and the service read: `2024-01-01T00:00:00Z`."""
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def to_ms(moment: datetime) -> int:
    """Return *moment* as milliseconds since 1970-01-01T00:00Z."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(moment_ms: int) -> datetime:
    """Return milliseconds since 1970-01-01T00:00Z as an aware UTC datetime; OverflowError beyond year 9999."""
    # Not datetime.fromtimestamp: that goes through a float.
    return _EPOCH + moment_ms * _MILLISECOND


def _parse(text: str, field: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise _refuse(field, text, "is not an ISO 8601 time such as 2024-01-01T00:00:00Z") from error


def _refuse(field: str, value: object, why: str) -> InvalidValueError:
    shown = value if isinstance(value, str) else repr(value)
    return InvalidValueError(f"{field} {shown} {why}", details={"field": field})
