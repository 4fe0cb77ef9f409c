"""One class for each code with which the service refuses or fails: catch as finely as you like.

The code is the name: `UnknownSymbolError` is `unknown_symbol`. `forbidden` and `internal_error` have theirs in
`errors`.
"""

from cb_trade_client.errors import (
    AuthenticationError,
    CbTradeError,
    ForbiddenError,
    InternalServiceError,
    RequestError,
    ServiceUnavailableError,
)


class BadJsonError(RequestError):
    """What was sent is not JSON."""

    default_code = "bad_json"


class BadMessageError(RequestError):
    """What was sent is JSON, but no message."""

    default_code = "bad_message"


class UnknownTypeError(RequestError):
    """The service knows no message of this type; is it older than this SDK?"""

    default_code = "unknown_type"


class MissingFieldError(RequestError):
    """A field that the service needs is absent."""

    default_code = "missing_field"


class UnknownFieldError(RequestError):
    """The service does not know a field; is it older than this SDK?"""

    default_code = "unknown_field"


class InvalidValueError(RequestError):
    """A value is of the wrong type or outside what is allowed; `details` names the field."""

    default_code = "invalid_value"


class DuplicateRequestIdError(RequestError):
    """A request of this id is still open on the connection."""

    default_code = "duplicate_request_id"


class MessageTooLargeError(RequestError):
    """What was sent is larger than the service takes."""

    default_code = "message_too_large"


class UnknownExchangeError(RequestError):
    """No exchange goes by this name; `details` lists those that do."""

    default_code = "unknown_exchange"


class UnknownSymbolError(RequestError):
    """The exchange has no such market; symbols are spelled as CCXT does: `BTC/USDT`."""

    default_code = "unknown_symbol"


class UnknownTimeframeError(RequestError):
    """The exchange has no bars of this length; `details` lists those it has."""

    default_code = "unknown_timeframe"


class UnsupportedKindError(RequestError):
    """This kind of data cannot be had."""

    default_code = "unsupported_kind"


class EmptyRangeError(RequestError):
    """The range ends before, or when, it starts."""

    default_code = "empty_range"


class RangeInFutureError(RequestError):
    """The range starts in the future."""

    default_code = "range_in_future"


class RangeTooLargeError(RequestError):
    """The range is longer than one request may be."""

    default_code = "range_too_large"


class UnknownPathError(RequestError):
    """The service answers no question at this address; is it older than this SDK?"""

    default_code = "unknown_path"


class MethodNotAllowedError(RequestError):
    """The service does not take a question of this method at this address."""

    default_code = "method_not_allowed"


class TokenMissingError(AuthenticationError):
    """There was no token."""

    default_code = "token_missing"


class TokenInvalidError(AuthenticationError):
    """The token is malformed, signed with another secret, or lacks a claim."""

    default_code = "token_invalid"


class TokenExpiredError(AuthenticationError):
    """The token was good once."""

    default_code = "token_expired"


class TooManyRequestsError(ServiceUnavailableError):
    """Too many requests are open on the connection."""

    default_code = "too_many_requests"


class QuotaExceededError(ServiceUnavailableError):
    """What this token may ask for is used up for now."""

    default_code = "quota_exceeded"


class OverloadedError(ServiceUnavailableError):
    """The service as a whole has as much to do as it may."""

    default_code = "overloaded"


class ShuttingDownError(ServiceUnavailableError):
    """The service ends, and begins nothing new: the next connection finds its successor."""

    default_code = "shutting_down"


class AuthenticationUnavailableError(ServiceUnavailableError):
    """The service cannot have the keys that tokens are checked with."""

    default_code = "auth_unavailable"


class ExchangeUnavailableError(ServiceUnavailableError):
    """The exchange does not answer, or not believably."""

    default_code = "exchange_unavailable"


class StorageUnavailableError(ServiceUnavailableError):
    """The service cannot read what only its storage can tell."""

    default_code = "storage_unavailable"


class CorruptObjectError(InternalServiceError):
    """A stored object does not read back as what was written."""

    default_code = "corrupt_object"


class NewerFormatError(InternalServiceError):
    """A stored object was written by a later release of the service."""

    default_code = "newer_format"


_CLASSES: tuple[type[CbTradeError], ...] = (
    ForbiddenError,
    InternalServiceError,
    BadJsonError,
    BadMessageError,
    UnknownTypeError,
    MissingFieldError,
    UnknownFieldError,
    InvalidValueError,
    DuplicateRequestIdError,
    MessageTooLargeError,
    UnknownExchangeError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UnsupportedKindError,
    EmptyRangeError,
    RangeInFutureError,
    RangeTooLargeError,
    UnknownPathError,
    MethodNotAllowedError,
    TokenMissingError,
    TokenInvalidError,
    TokenExpiredError,
    TooManyRequestsError,
    QuotaExceededError,
    OverloadedError,
    ShuttingDownError,
    AuthenticationUnavailableError,
    ExchangeUnavailableError,
    StorageUnavailableError,
    CorruptObjectError,
    NewerFormatError,
)
_CLASS_OF_CODE = {each.default_code: each for each in _CLASSES}


def class_of_code(code: str | None, default: type[CbTradeError]) -> type[CbTradeError]:
    """Return the class of *code*; *default* for a code newer than this SDK, and for no code at all."""
    return _CLASS_OF_CODE.get(code or "", default)
