"""How the service says no — in an answer, at the handshake, by closing — turned into our errors, in one place."""

import orjson

from cb_trade_client.errors import (
    AuthenticationError,
    CbTradeError,
    ConnectionLostError,
    ForbiddenError,
    ProtocolError,
    RequestError,
    ServiceUnavailableError,
)
from cb_trade_client.fields import Message
from cb_trade_client.service_errors import TokenInvalidError, TokenMissingError, class_of_code

HOW_TO_GET_ONE = "create one with: cb-trade token create"
HOW_TO_WIDEN_IT = f"{HOW_TO_GET_ONE}, with the scope this needs"
HOW_TO_START_IT = "start the service with ./platform.sh start or cb-trade serve, or check the URL"

_RETRYABLE_STATUSES = {408, 425, 429, 500, 502, 503, 504}


def check_token(token: str) -> None:
    """Raise AuthenticationError for what cannot be a token, before it is sent anywhere."""
    if not token:
        raise TokenMissingError(f"no token given; {HOW_TO_GET_ONE}")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise TokenInvalidError(f"the token holds characters no JWT has; {HOW_TO_GET_ONE}")


def error_of_no_answer(url: str, error: Exception, timeout_secs: float) -> CbTradeError:
    """Return the error for a service that could not be reached at *url*, an address that may be printed."""
    if isinstance(error, TimeoutError):
        why = f"no answer within {timeout_secs:g} s"
    elif isinstance(error, ConnectionRefusedError):
        why = "connection refused"
    else:
        why = str(error) or type(error).__name__
    return ServiceUnavailableError(f"no cb-trade service reachable at {url} ({why}); {HOW_TO_START_IT}", retryable=True)


def error_of_slow_answer(url: str, timeout_secs: float) -> CbTradeError:
    """Return the error for a question that the service at *url* took, but did not answer in time."""
    return ServiceUnavailableError(f"the service at {url} did not answer within {timeout_secs:g} s", code="no_answer")


def error_from_answer(answer: Message) -> CbTradeError:
    """Return the error an `error_response` message means; a code newer than this SDK keeps its own word."""
    code = str(answer.get("code") or "internal_error")
    retryable = answer.get("retryable") is True
    newer = ServiceUnavailableError if retryable else CbTradeError
    return class_of_code(code, newer)(
        str(answer.get("message") or "the service gave no reason"),
        code=code,
        retryable=retryable,
        retry_after_ms=_whole(answer.get("retry_after_ms")),
        details=_facts(answer.get("details")),
    )


def error_from_handshake(url: str, status: int, *, retry_after: str | None, body: bytes) -> CbTradeError:
    """Return the error for a WebSocket handshake that was answered with an HTTP *status* instead.

    Args:
        retry_after: The `Retry-After` header in seconds, if any.
        body: The answer's body; a JSON object with `code` and `message` is quoted.
    """
    said = _json_object(body)
    if (error := _error_of_status(url, status, said, retry_after)) is not None:
        return error
    return RequestError(
        f"{url} is no cb-trade WebSocket (HTTP {status}){_reason(said)}; the path is usually /ws/data",
        code=_code(said) or "invalid_url",
    )


def error_from_http(url: str, status: int, *, retry_after: str | None, body: bytes) -> CbTradeError:
    """Return the error for a question over HTTP that was answered with *status*; arguments as above."""
    said = _json_object(body)
    # Its own account of a failure is better than what a status says; of a token, we know what to do.
    if "code" in said and status not in {401, 403}:
        return error_from_answer(said)
    if (error := _error_of_status(url, status, said, retry_after)) is not None:
        return error
    return RequestError(
        f"{url} does not answer questions (HTTP {status}); is the service older than this SDK, or the URL wrong?",
        code="invalid_url",
    )


def error_from_close(close_code: int, reason: str) -> CbTradeError:
    """Return the error for a connection that the service closed before the answer ended.

    Args:
        close_code: The WebSocket close code; 1006 when there was none.
        reason: The text sent with it; the service puts its error code there.
    """
    because = f" ({reason})" if reason else ""
    code = reason if reason.isidentifier() else None
    match close_code:
        case 4401:
            return _authentication_error(f"the token is not or no longer valid{because}; {HOW_TO_GET_ONE}", code)
        case 4403:
            return ForbiddenError(f"the token does not allow this{because}; {HOW_TO_WIDEN_IT}", code=code)
        case 4408:
            return ConnectionLostError(
                "the service gave up because the batches were not read fast enough",
                code="reader_too_slow",
                retryable=True,
            )
        case 1012:
            return ConnectionLostError("the service is restarting", code="service_restarting", retryable=True)
        case 1009:
            return ProtocolError(f"a message was too large{because}", code="message_too_large")
        case _:
            return ConnectionLostError(
                f"the connection ended before the answer did, with close code {close_code}{because}", retryable=True
            )


def _error_of_status(url: str, status: int, said: Message, retry_after: str | None) -> CbTradeError | None:
    """Return the error for a status that says enough by itself, or None."""
    code, reason = _code(said), _reason(said)
    if status == 401:
        return _authentication_error(f"the service refused the token{reason}; {HOW_TO_GET_ONE}", code)
    if status == 403:
        return ForbiddenError(f"the token does not allow this{reason}; {HOW_TO_WIDEN_IT}", code=code)
    if status in _RETRYABLE_STATUSES:
        known = class_of_code(code, ServiceUnavailableError)
        in_header_ms = int(retry_after) * 1000 if retry_after and retry_after.isdecimal() else None
        return (known if issubclass(known, ServiceUnavailableError) else ServiceUnavailableError)(
            f"the service at {url} answered HTTP {status}{reason}; try again later",
            code=code,
            retryable=True,
            # In the body it is finer; a proxy on the way knows only the header.
            retry_after_ms=in_header_ms if (told_ms := _whole(said.get("retry_after_ms"))) is None else told_ms,
            details=_facts(said.get("details")),
        )
    return None


def _authentication_error(message: str, code: str | None) -> CbTradeError:
    known = class_of_code(code, AuthenticationError)
    return (known if issubclass(known, AuthenticationError) else AuthenticationError)(message, code=code)


def _code(said: Message) -> str | None:
    return str(said["code"]) if "code" in said else None


def _reason(said: Message) -> str:
    return f": {said['message']}" if "message" in said else ""


def _json_object(body: bytes) -> Message:
    try:
        return _facts(orjson.loads(body or b"{}"))
    except orjson.JSONDecodeError:
        return {}


def _facts(value: object) -> Message:
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return round(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
