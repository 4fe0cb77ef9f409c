"""Every error the SDK raises: one tree, grouped by what a handler would do.

    CbTradeError                    everything below
    ├── RequestError                fix the request: retrying the same one cannot help
    │   └── UnknownSymbolError …    one for each code that means so
    ├── AuthenticationError         get a (new) token
    ├── ForbiddenError              get a token with a wider scope
    ├── ServiceUnavailableError     wait, then ask again
    │   └── QuotaExceededError …    one for each code that means so
    ├── ConnectionLostError         connect again and go on from `resume_from`
    ├── InternalServiceError        tell the people who run the service
    │   └── CorruptObjectError …    one for each code that means so
    ├── GapError                    the answer is whole, but the range has gaps and `on_gap="raise"` was asked for
    └── ProtocolError               tell the people who wrote the service or this SDK

`code` is the stable word to match on: the service's own where it sent one, otherwise one named at the class below.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from cb_trade_client.answers import CoverageSegment


class CbTradeError(Exception):
    """A request that did not end well; its class says what to do, its attributes say what happened.

    Attributes:
        code: Stable word for the fact; may be newer than this SDK.
        message: One sentence for people.
        retryable: Whether the same request may succeed later.
        retry_after_ms: How long the service asks to wait; None when it does not say.
        details: Facts the service added, as they came.
        resume_from: Set on every error a stream raises: the exclusive end of what it had delivered, so that asking
            again with this as `start` neither repeats nor skips a row. None when nothing had been delivered.
    """

    default_code: ClassVar[str] = "unknown"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool = False,
        retry_after_ms: int | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.details: Mapping[str, Any] = details or {}
        self.resume_from: datetime | None = None

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class RequestError(CbTradeError):
    """The request cannot be answered as it stands. Raised before any call for input the SDK can judge by itself."""

    default_code = "invalid_value"


class AuthenticationError(CbTradeError):
    """The token is missing, invalid or expired."""

    default_code = "unauthenticated"


class ForbiddenError(CbTradeError):
    """The token is good but does not allow this."""

    default_code = "forbidden"


class ServiceUnavailableError(CbTradeError):
    """The service cannot be reached (`service_unreachable`), or says that it is busy or cut off for now.

    Or it took a question over HTTP and did not answer in time (`no_answer`), which is not retryable.
    """

    default_code = "service_unreachable"


class ConnectionLostError(CbTradeError):
    """The connection ended before the answer did: `connection_lost`, `service_restarting` or `reader_too_slow`."""

    default_code = "connection_lost"


class InternalServiceError(CbTradeError):
    """The service failed and says that it is its own fault."""

    default_code = "internal_error"


class GapError(CbTradeError):
    """The range has gaps, and they were asked to be an error (`gaps_found`). Everything that there is was delivered.

    Attributes:
        gaps: The gaps, oldest first, as in `HistoryCompleted.gaps`.
    """

    default_code = "gaps_found"

    def __init__(self, message: str, gaps: "Sequence[CoverageSegment]") -> None:
        super().__init__(message)
        self.gaps = tuple(gaps)


class ProtocolError(CbTradeError):
    """What arrived breaks the wire contract, so it must not be mistaken for data.

    Codes: `protocol_violation`, `missing_chunk`, `message_too_large`, `digest_mismatch`, `digest_missing`.
    """

    default_code = "protocol_violation"
