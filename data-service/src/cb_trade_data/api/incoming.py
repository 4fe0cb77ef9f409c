"""From a text message to a checked client message, or to the error that says what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from pydantic import ValidationError

from cb_trade_data.errors import EmptyRangeError, ErrorCode, MessageError
from cb_trade_data.models.messages import MESSAGE_TYPES, ClientMessage
from cb_trade_data.models.time_range import TimeRange

MESSAGE_MAX_BYTES: Final = 64 * 1024
_REQUEST_ID_MAX_CHARACTERS: Final = 64
_SHOWN_MAX_CHARACTERS: Final = 64
_PROBLEM_MAX_CHARACTERS: Final = 200  # some of Python's own texts quote the whole value

_CODES: Final = {"missing": ErrorCode.MISSING_FIELD, "extra_forbidden": ErrorCode.UNKNOWN_FIELD}


def parse_json(text: str) -> dict[str, Any]:
    """Return the JSON object in *text*.

    Raises:
        MessageError: It is too large, no JSON, or no object.
    """
    # No character takes more than four bytes.
    if len(text) > MESSAGE_MAX_BYTES // 4 and len(text.encode(errors="surrogatepass")) > MESSAGE_MAX_BYTES:
        raise MessageError(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"a message may have at most {MESSAGE_MAX_BYTES} bytes",
            limit_bytes=MESSAGE_MAX_BYTES,
        )
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MessageError(ErrorCode.BAD_JSON, f"the message is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise MessageError(ErrorCode.BAD_MESSAGE, "a message is a JSON object with a type")
    return fields


def request_id_of(fields: dict[str, Any]) -> str | None:
    """Return the request's id where it has a usable one, to be named in the answer whatever else is wrong."""
    request_id = fields.get("request_id")
    usable = isinstance(request_id, str) and 1 <= len(request_id) <= _REQUEST_ID_MAX_CHARACTERS
    return request_id if usable else None


def check_message(fields: dict[str, Any]) -> ClientMessage:
    """Return *fields* as the message they are meant to be.

    Raises:
        MessageError: A field is missing, unknown or has a value it cannot have; all such are listed in the details.
    """
    kind = fields.get("type")
    if kind is None:
        raise MessageError(ErrorCode.MISSING_FIELD, "every message has a type", field="type")
    if not isinstance(kind, str) or kind not in MESSAGE_TYPES:
        shown = repr(kind[:_SHOWN_MAX_CHARACTERS]) if isinstance(kind, str) else f"a {type(kind).__name__}"
        raise MessageError(
            ErrorCode.UNKNOWN_TYPE,
            f"no message is of type {shown}; known: {', '.join(MESSAGE_TYPES)}",
            known=list(MESSAGE_TYPES),
        )
    try:
        return MESSAGE_TYPES[kind].model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid_fields(found) from error
    except RecursionError as error:
        raise MessageError(ErrorCode.INVALID_VALUE, "a value is nested too deep to be looked at") from error


def check_range(start: datetime, end: datetime) -> TimeRange:
    """Return the range from *start* (inclusive) to *end* (exclusive).

    Raises:
        EmptyRangeError: It is none.
    """
    if end <= start:
        raise EmptyRangeError(start, end)
    return TimeRange(start, end)


def invalid_fields(found: Sequence[Mapping[str, Any]], *, place: int = 0) -> MessageError:
    """Return the error for what pydantic *found*.

    Args:
        place: Where in a `loc` the field's name stands.
    """
    problems = [
        {
            "code": _CODES.get(details["type"], ErrorCode.INVALID_VALUE),
            "field": ".".join(str(part) for part in details["loc"][place : place + 1])[:_SHOWN_MAX_CHARACTERS],
            "problem": details["msg"].removeprefix("Value error, ")[:_PROBLEM_MAX_CHARACTERS],
        }
        for details in found
    ]
    first = problems[0]
    message = "; ".join(f"{problem['field'] or 'message'}: {problem['problem']}" for problem in problems[:5])
    return MessageError(ErrorCode(first["code"]), message, field=first["field"], problems=problems[:20])
