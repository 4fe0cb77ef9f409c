"""Everything that can go wrong here, grouped by what a handler would do about it.

Codes are stable: they may be added to, never renamed; clients and operators match on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """The stable name of each failure, as it travels on the wire and in logs."""

    # Fix the request.
    BAD_JSON = "bad_json"
    BAD_MESSAGE = "bad_message"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_VALUE = "invalid_value"
    DUPLICATE_REQUEST_ID = "duplicate_request_id"
    MESSAGE_TOO_LARGE = "message_too_large"
    UNKNOWN_EXCHANGE = "unknown_exchange"
    UNKNOWN_SYMBOL = "unknown_symbol"
    UNKNOWN_TIMEFRAME = "unknown_timeframe"
    UNSUPPORTED_KIND = "unsupported_kind"
    EMPTY_RANGE = "empty_range"
    RANGE_IN_FUTURE = "range_in_future"
    RANGE_TOO_LARGE = "range_too_large"
    UNKNOWN_PATH = "unknown_path"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    # Log in, or ask for more rights.
    TOKEN_MISSING = "token_missing"  # noqa: S105 - a code, not a secret
    TOKEN_INVALID = "token_invalid"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    FORBIDDEN = "forbidden"
    # Wait and retry.
    TOO_MANY_REQUESTS = "too_many_requests"
    QUOTA_EXCEEDED = "quota_exceeded"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    AUTH_UNAVAILABLE = "auth_unavailable"
    EXCHANGE_UNAVAILABLE = "exchange_unavailable"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    # Call us.
    CORRUPT_OBJECT = "corrupt_object"
    NEWER_FORMAT = "newer_format"
    INTERNAL_ERROR = "internal_error"
    # Fix the settings.
    INVALID_SETTINGS = "invalid_settings"


class CbTradeError(Exception):
    """The root of the tree. `details` holds the facts, ready for the wire; the text is made from the same facts."""

    code = ErrorCode.INTERNAL_ERROR
    retryable = False
    retry_after: timedelta | None = None

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message


# --- Fix the request -------------------------------------------------------------------------------------------------


class RequestError(CbTradeError):
    """The request can never succeed as it stands."""


class MessageError(RequestError):
    """A message is not of the agreed form. The code says in which way, `details["field"]` where."""

    def __init__(self, code: ErrorCode, message: str, **details: object) -> None:
        super().__init__(message, **details)
        self.code = code


class UnknownExchangeError(RequestError):
    """No plugin goes by that name."""

    code = ErrorCode.UNKNOWN_EXCHANGE

    def __init__(self, exchange: str, known: list[str]) -> None:
        super().__init__(
            f"no exchange is called {exchange!r} here; known: {', '.join(known)}", exchange=exchange, known=known
        )


class UnknownSymbolError(RequestError):
    """The exchange has no such market."""

    code = ErrorCode.UNKNOWN_SYMBOL

    def __init__(self, exchange: str, symbol: str) -> None:
        super().__init__(
            f"{exchange} has no market {symbol!r}; symbols are spelled like BTC/USDT", exchange=exchange, symbol=symbol
        )


class UnknownTimeframeError(RequestError):
    """The exchange has no bars of that length, nor are they made here of shorter ones that it has.

    *known*: the lengths that it has; if the asked one is among them, derived bars of it were asked for. *kinds*: what
    else it has, for who meant one of these. *derivable*: the lengths that are made of those that it has, where that is
    asked for. *called*: what bars of that length are called that can be had; None where there are none.
    *source*: what they would be made of, where it is asked about what is stored.
    """

    code = ErrorCode.UNKNOWN_TIMEFRAME

    def __init__(
        self,
        exchange: str,
        timeframe: str,
        known: list[str],
        kinds: Sequence[str] = (),
        derivable: list[str] | None = None,
        called: str | None = None,
        source: str | None = None,
    ) -> None:
        facts = {} if derivable is None else {"derivable": derivable}
        super().__init__(
            _why_no_bars(exchange, timeframe, known, kinds, called, source, are_made=derivable is not None),
            exchange=exchange,
            timeframe=timeframe,
            known=known,
            **facts,
        )


class UnsupportedKindError(RequestError):
    """That kind of data cannot be had from the exchange through us."""

    code = ErrorCode.UNSUPPORTED_KIND

    def __init__(self, exchange: str, kind: str, symbol: str | None = None) -> None:
        what, hint, facts = f"{kind} of {exchange}", "", {"exchange": exchange, "kind": kind}
        if symbol is not None:
            what, facts = f"{kind} of {symbol} on {exchange}", {**facts, "symbol": symbol}
            hint = ", only of markets of the other sort: perpetuals, such as BTC/USDT:USDT, or spot markets"
        super().__init__(f"{what} cannot be served{hint}", **facts)


class NoExchangeError(RequestError):
    """None of several exchanges can answer; the code is that of the one that came closest to it.

    *problems*: of each that was looked at, what is in the way. *not_looked_at*: how many more there are.
    """

    def __init__(self, code: ErrorCode, problems: Mapping[str, CbTradeError], not_looked_at: int = 0) -> None:
        super().__init__(
            _why_none_can_answer(problems, not_looked_at), **_told_of_each(problems), not_looked_at=not_looked_at
        )
        self.code = code


class EmptyRangeError(RequestError):
    """The range ends before, or when, it starts."""

    code = ErrorCode.EMPTY_RANGE

    def __init__(self, start: datetime, end: datetime) -> None:
        super().__init__(
            f"end_time {end.isoformat()} must be after start_time {start.isoformat()} (the end is exclusive)",
            start_time=start.isoformat(),
            end_time=end.isoformat(),
        )


class RangeInFutureError(RequestError):
    """The range starts when nothing can have happened yet."""

    code = ErrorCode.RANGE_IN_FUTURE

    def __init__(self, start: datetime, now: datetime) -> None:
        super().__init__(
            f"start_time {start.isoformat()} has not come yet; it is {now.isoformat(timespec='seconds')}",
            start_time=start.isoformat(),
            now=now.isoformat(),
        )


class RangeTooLargeError(RequestError):
    """The range has room for more rows than one request may have."""

    code = ErrorCode.RANGE_TOO_LARGE

    def __init__(self, rows: int, limit: int) -> None:
        text = f"the range has room for {rows:,} rows, and one request may have {limit:,}: split it"
        super().__init__(text, rows=rows, limit=limit)


class BarTooLongError(RequestError):
    """One bar lasts so long that its trades cannot be read in time."""

    code = ErrorCode.RANGE_TOO_LARGE

    def __init__(self, timeframe: str, open_time: datetime, limit_secs: float) -> None:
        super().__init__(
            f"the trades of one bar of {timeframe}, from {open_time.isoformat()}, take longer than {limit_secs:g} s to "
            "read: compare shorter bars",
            timeframe=timeframe,
            open_time=open_time.isoformat(),
            limit_secs=limit_secs,
        )


class UnknownPathError(RequestError):
    """Nothing is answered at that address."""

    code = ErrorCode.UNKNOWN_PATH

    def __init__(self, path: str) -> None:
        super().__init__(f"nothing is at {path} here; /docs lists what is", path=path)


class MethodNotAllowedError(RequestError):
    """Something is at that address, and answers to other methods."""

    code = ErrorCode.METHOD_NOT_ALLOWED

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{path} does not answer to {method}", method=method, path=path)


# --- Log in, or ask for more rights ----------------------------------------------------------------------------------


class AuthenticationError(CbTradeError):
    """Who is asking is not known: a token is needed, or a newer one. Never carries the token or any part of it."""


class TokenMissingError(AuthenticationError):
    """The request carried no token."""

    code = ErrorCode.TOKEN_MISSING

    def __init__(self) -> None:
        super().__init__(
            "send `Authorization: Bearer <JWT>`; "
            "the socket also takes `?token=<JWT>` or the subprotocol cb-trade.bearer.<JWT>"
        )


class TokenInvalidError(AuthenticationError):
    """The token is malformed, signed with another key, or lacks a claim; `reason` says which."""

    code = ErrorCode.TOKEN_INVALID

    def __init__(self, reason: str) -> None:
        super().__init__(f"the token is not valid: {reason}", reason=reason)


class TokenExpiredError(AuthenticationError):
    """The token was good once."""

    code = ErrorCode.TOKEN_EXPIRED

    def __init__(self) -> None:
        super().__init__("the token has expired; get a new one where this one came from")


class ForbiddenError(CbTradeError):
    """We know who asks, and it may not."""

    code = ErrorCode.FORBIDDEN


class ScopeMissingError(ForbiddenError):
    """The token lacks the scope for it."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token lacks the scope {scope}", scope=scope)


class ExchangeForbiddenError(ForbiddenError):
    """The token is limited to other exchanges."""

    def __init__(self, exchange: str) -> None:
        super().__init__(f"the token is not for {exchange!r}: its claim `exchanges` lists others", exchange=exchange)


class ExchangesForbiddenError(ForbiddenError):
    """The token is limited to other exchanges than all of those that were left to choose from."""

    def __init__(self, exchanges: Sequence[str] | None) -> None:
        """*exchanges*: those that were named; None where any would do."""
        named = "any exchange there is" if exchanges is None else f"any of {', '.join(map(repr, exchanges))}"
        facts = {} if exchanges is None else {"exchanges": list(exchanges)}
        super().__init__(f"the token is not for {named}: its claim `exchanges` lists others", **facts)


class OtherSubjectError(ForbiddenError):
    """The token is good, but the connection was opened with somebody else's."""

    def __init__(self) -> None:
        super().__init__("the token speaks for another subject than the one that opened this connection")


class OriginForbiddenError(ForbiddenError):
    """The page that wants to connect is not one of those that may."""

    def __init__(self) -> None:
        super().__init__("pages from this origin may not connect: CB_TRADE_AUTH__ALLOWED_ORIGINS lists those that may")


# --- Wait and retry --------------------------------------------------------------------------------------------------


class TemporaryError(CbTradeError):
    """The same request may succeed later."""

    retryable = True


class TooManyRequestsError(TemporaryError):
    """The connection has as many requests open and queued as it may have."""

    code = ErrorCode.TOO_MANY_REQUESTS

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} requests are open or queued on this connection; wait for one to end", limit=limit)


class QuotaExceededError(TemporaryError):
    """A subject has used up what it may have: connections, open requests, or requests a second."""

    code = ErrorCode.QUOTA_EXCEEDED

    def __init__(self, quota: str, limit: float, retry_after: timedelta) -> None:
        """*quota*: what is used up, in words, such as "connections"."""
        super().__init__(f"you may have {limit:,} {quota}; end one, or wait", quota=quota, limit=limit)
        self.retry_after = retry_after


class OverloadedError(TemporaryError):
    """The service as a whole has as much to do, or holds as much memory, as it may."""

    code = ErrorCode.OVERLOADED

    def __init__(self, reason: str, retry_after: timedelta) -> None:
        super().__init__(f"the service has as much to do as it may: {reason}; try again later", reason=reason)
        self.retry_after = retry_after


class ShuttingDownError(TemporaryError):
    """The service ends, and begins nothing new."""

    code = ErrorCode.SHUTTING_DOWN

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("the service is being restarted: connect again, and ask there")
        self.retry_after = retry_after


class AuthenticationUnavailableError(TemporaryError):
    """The keys that tokens are checked with cannot be had: nobody's token can be judged."""

    code = ErrorCode.AUTH_UNAVAILABLE

    def __init__(self, reason: str, retry_after: timedelta) -> None:
        super().__init__(f"tokens cannot be checked now: {reason}", reason=reason)
        self.retry_after = retry_after


class ExchangeUnavailableError(TemporaryError):
    """The exchange did not answer, or not in a way that can be believed."""

    code = ErrorCode.EXCHANGE_UNAVAILABLE

    def __init__(self, exchange: str, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{exchange} is unavailable: {reason}", exchange=exchange, reason=reason)
        self.reason = reason
        self.retry_after = retry_after
        self.tries = 1  # calls it took to find out; the connector, which tries again, counts them


class NoExchangeNowError(TemporaryError):
    """None of several exchanges can answer, and one that may could not be asked; see `NoExchangeError`."""

    code = ErrorCode.EXCHANGE_UNAVAILABLE

    def __init__(self, problems: Mapping[str, CbTradeError], not_looked_at: int = 0) -> None:
        super().__init__(
            _why_none_can_answer(problems, not_looked_at), **_told_of_each(problems), not_looked_at=not_looked_at
        )
        waits = [error.retry_after for error in problems.values() if error.retry_after is not None]
        self.retry_after = min(waits, default=None)


class ExchangeLimitError(ExchangeUnavailableError):
    """The exchange was asked too often; `retry_after` is its own word on how long to wait, None where it said none."""


class ExchangeRefusalError(ExchangeUnavailableError):
    """The exchange understood the question and refuses it: to ask the same again would be one more call for nothing."""


class ExchangeNonsenseError(ExchangeUnavailableError):
    """The exchange answered, and nothing of the answer can be used: perhaps only what was asked about is to blame."""


class StorageUnavailableError(TemporaryError):
    """Reading from or writing to storage failed."""

    code = ErrorCode.STORAGE_UNAVAILABLE

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"storage failed at {path or 'its root'}: {reason}", path=path, reason=reason)


class PartitionChangedError(StorageUnavailableError):
    """Somebody else changed what is being read piece by piece, so that the pieces do not fit together."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "it changed while it was read: ask again")


class VersionConflictError(TemporaryError):
    """Somebody else wrote the object since it was read: read again, merge, write again."""

    code = ErrorCode.STORAGE_UNAVAILABLE

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} was changed by another writer", path=path)


# --- Call us ---------------------------------------------------------------------------------------------------------


class NewerFormatError(CbTradeError):
    """A stored object was written by a later release: not ours to read, and nothing to write over."""

    code = ErrorCode.NEWER_FORMAT

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"{path} was written by a newer cb-trade, in format {found}; this one knows up to {known}: upgrade it",
            path=path,
            found=found,
            known=known,
        )


# --- Fix the settings ------------------------------------------------------------------------------------------------


class InvalidSettingsError(CbTradeError):
    """The service cannot start as it is set up.

    `problems` lists everything that is wrong, one sentence each; `files` where was looked besides the environment.
    """

    code = ErrorCode.INVALID_SETTINGS

    def __init__(self, problems: list[str], files: list[str]) -> None:
        super().__init__("\n".join(problems), problems=problems, files=files)
        self.problems = problems
        self.files = files


# --- Of several exchanges --------------------------------------------------------------------------------------------


_PROBLEMS_TOLD: Final = 5


def _why_no_bars(
    exchange: str,
    timeframe: str,
    known: list[str],
    kinds: Sequence[str],
    called: str | None,
    source: str | None,
    *,
    are_made: bool,
) -> str:
    if timeframe in known:
        return f"{exchange} has {timeframe!r} bars, but they are not made here of shorter ones; ask without derive"
    if called is not None:
        return f"{exchange} has no {timeframe!r} bars; bars of that length are called {called!r}"
    if source is not None:
        return (
            f"{exchange} has no {timeframe!r} bars; stored are {source!r} ones, of which they are made: ask for those"
        )
    made = ", and none are made here; derivable in the details lists those that are" if are_made else ""
    without_bars = f"; without bars: {', '.join(kinds)}" if kinds else ""
    return f"{exchange} has no {timeframe!r} bars{made}; it has {', '.join(known)}{without_bars}"


def _why_none_can_answer(problems: Mapping[str, CbTradeError], not_looked_at: int) -> str:
    told = [*map(str, list(problems.values())[:_PROBLEMS_TOLD])]
    if len(problems) > _PROBLEMS_TOLD:
        told.append(f"{len(problems) - _PROBLEMS_TOLD} more cannot, either")
    if not_looked_at:
        told.append(f"{not_looked_at} more were not looked at: name them to have them looked at")
    return f"no exchange can answer: {'; '.join(told)}"


def _told_of_each(problems: Mapping[str, CbTradeError]) -> dict[str, object]:
    told = [{"exchange": name, "code": error.code.value, "message": str(error)} for name, error in problems.items()]
    return {"exchanges": list(problems), "problems": told}
