"""Reading single fields of an answer, where a missing or odd one is a broken contract and never a guess.

Unknown fields are simply not read: the service may add some at any time.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cb_trade_client.errors import ProtocolError
from cb_trade_client.instants import from_ms

Message = Mapping[str, Any]
"""One JSON object as it came."""


def read_text(message: Message, name: str) -> str:
    """Return the text at *name*."""
    value = message.get(name)
    if not isinstance(value, str):
        raise _broken(message, name, "text")
    return value


def read_optional_text(message: Message, name: str) -> str | None:
    """Return the text at *name*, or None when it is null or absent."""
    return None if message.get(name) is None else read_text(message, name)


def read_count(message: Message, name: str) -> int:
    """Return the whole number, zero or more, at *name*."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _broken(message, name, "a whole number")
    return value


def read_optional_count(message: Message, name: str) -> int | None:
    """Return the whole number at *name*, or None when it is null or absent."""
    return None if message.get(name) is None else read_count(message, name)


def read_milliseconds(message: Message, name: str) -> float:
    """Return the duration in milliseconds, whole or not, at *name*."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _broken(message, name, "a number of milliseconds")
    return value


def read_number(message: Message, name: str) -> float:
    """Return the number, whole or not, at *name*."""
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _broken(message, name, "a number")
    return value


def read_optional_number(message: Message, name: str) -> float | None:
    """Return the number at *name*, or None when it is null or absent."""
    return None if message.get(name) is None else read_number(message, name)


def read_counts(message: Message, name: str) -> Mapping[str, int]:
    """Return the object of whole numbers at *name*; empty when it is null or absent."""
    counts = message.get(name)
    if counts is None:
        return {}
    if not isinstance(counts, dict):
        raise _broken(message, name, "an object of whole numbers")
    return {each: read_count(counts, each) for each in counts}


def read_instant(message: Message, name: str) -> datetime:
    """Return the instant at *name*, sent as epoch milliseconds or as ISO 8601 text with a zone."""
    value = message.get(name)
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return from_ms(value)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.utcoffset() is not None:
                return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _broken(message, name, "an instant") from error
    raise _broken(message, name, "an instant")


def read_optional_instant(message: Message, name: str) -> datetime | None:
    """Return the instant at *name*, or None when it is null or absent."""
    return None if message.get(name) is None else read_instant(message, name)


def read_texts(message: Message, name: str) -> tuple[str, ...]:
    """Return the list of texts at *name*."""
    value = message.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _broken(message, name, "a list of texts")
    return tuple(value)


def read_object(message: Message, name: str) -> Message:
    """Return the JSON object at *name*."""
    value = message.get(name)
    if not isinstance(value, dict):
        raise _broken(message, name, "an object")
    return value


def read_objects(message: Message, name: str) -> list[Message]:
    """Return the list of JSON objects at *name*."""
    value = message.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _broken(message, name, "a list of objects")
    return value


def read_optional_objects(message: Message, name: str) -> list[Message]:
    """Return the list of JSON objects at *name*; empty when it is null or absent."""
    return [] if message.get(name) is None else read_objects(message, name)


def _broken(message: Message, name: str, expected: str) -> ProtocolError:
    kind = message.get("type", "answer")
    found = "is missing" if name not in message else f"is {str(message[name])[:60]!r}"
    return ProtocolError(f"{kind}: {name} should be {expected} but {found}", details={"field": name})
