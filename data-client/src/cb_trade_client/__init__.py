"""The cb-trade SDK and command line: market history as Arrow, streamed.

The names below are loaded when first used, so that `cb-trade --help` does not wait for Arrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cb_trade_client.answers import (
        CoverageSegment,
        HistoryCompleted,
        HistoryStarted,
        LatestBar,
        PlanResult,
        TimeSpan,
    )
    from cb_trade_client.client import DataClient
    from cb_trade_client.comparison import BarDifference, BarValues, ComparisonReport
    from cb_trade_client.errors import (
        AuthenticationError,
        CbTradeError,
        ConnectionLostError,
        ForbiddenError,
        GapError,
        InternalServiceError,
        ProtocolError,
        RequestError,
        ServiceUnavailableError,
    )
    from cb_trade_client.gap_policy import GapWarning
    from cb_trade_client.history import History
    from cb_trade_client.inventory import (
        CoverageReport,
        ExchangeCondition,
        ExchangeInfo,
        StoredSeries,
    )
    from cb_trade_client.progress import Progress
    from cb_trade_client.quality.evidence import QualityDay, QualityEvidence
    from cb_trade_client.quality.report import QualityFinding, QualityGap, QualityReport
    from cb_trade_client.quality.scores import QualityScores
    from cb_trade_client.service_errors import (
        AuthenticationUnavailableError,
        BadJsonError,
        BadMessageError,
        CorruptObjectError,
        DuplicateRequestIdError,
        EmptyRangeError,
        ExchangeUnavailableError,
        InvalidValueError,
        MessageTooLargeError,
        MethodNotAllowedError,
        MissingFieldError,
        NewerFormatError,
        OverloadedError,
        QuotaExceededError,
        RangeInFutureError,
        RangeTooLargeError,
        ShuttingDownError,
        StorageUnavailableError,
        TokenExpiredError,
        TokenInvalidError,
        TokenMissingError,
        TooManyRequestsError,
        UnknownExchangeError,
        UnknownFieldError,
        UnknownPathError,
        UnknownSymbolError,
        UnknownTimeframeError,
        UnknownTypeError,
        UnsupportedKindError,
    )
    from cb_trade_client.stream import HistoryStream
    from cb_trade_client.sync import (
        SyncDataClient,
        SyncHistoryStream,
    )
    from cb_trade_client.table_metadata import gaps_of

_HOMES = {
    "AuthenticationError": "errors",
    "AuthenticationUnavailableError": "service_errors",
    "BadJsonError": "service_errors",
    "BadMessageError": "service_errors",
    "BarDifference": "comparison",
    "BarValues": "comparison",
    "CbTradeError": "errors",
    "ComparisonReport": "comparison",
    "ConnectionLostError": "errors",
    "CorruptObjectError": "service_errors",
    "CoverageReport": "inventory",
    "CoverageSegment": "answers",
    "DataClient": "client",
    "DuplicateRequestIdError": "service_errors",
    "EmptyRangeError": "service_errors",
    "ExchangeCondition": "inventory",
    "ExchangeInfo": "inventory",
    "ExchangeUnavailableError": "service_errors",
    "ForbiddenError": "errors",
    "GapError": "errors",
    "GapWarning": "gap_policy",
    "History": "history",
    "HistoryCompleted": "answers",
    "HistoryStarted": "answers",
    "HistoryStream": "stream",
    "InternalServiceError": "errors",
    "InvalidValueError": "service_errors",
    "LatestBar": "answers",
    "MessageTooLargeError": "service_errors",
    "MethodNotAllowedError": "service_errors",
    "MissingFieldError": "service_errors",
    "NewerFormatError": "service_errors",
    "OverloadedError": "service_errors",
    "PlanResult": "answers",
    "Progress": "progress",
    "ProtocolError": "errors",
    "QualityDay": "quality.evidence",
    "QualityEvidence": "quality.evidence",
    "QualityFinding": "quality.report",
    "QualityGap": "quality.report",
    "QualityReport": "quality.report",
    "QualityScores": "quality.scores",
    "QuotaExceededError": "service_errors",
    "RangeInFutureError": "service_errors",
    "RangeTooLargeError": "service_errors",
    "RequestError": "errors",
    "ServiceUnavailableError": "errors",
    "ShuttingDownError": "service_errors",
    "StorageUnavailableError": "service_errors",
    "StoredSeries": "inventory",
    "SyncDataClient": "sync",
    "SyncHistoryStream": "sync",
    "TimeSpan": "answers",
    "TokenExpiredError": "service_errors",
    "TokenInvalidError": "service_errors",
    "TokenMissingError": "service_errors",
    "TooManyRequestsError": "service_errors",
    "UnknownExchangeError": "service_errors",
    "UnknownFieldError": "service_errors",
    "UnknownPathError": "service_errors",
    "UnknownSymbolError": "service_errors",
    "UnknownTimeframeError": "service_errors",
    "UnknownTypeError": "service_errors",
    "UnsupportedKindError": "service_errors",
    "gaps_of": "table_metadata",
}

__all__ = [
    "AuthenticationError",
    "AuthenticationUnavailableError",
    "BadJsonError",
    "BadMessageError",
    "BarDifference",
    "BarValues",
    "CbTradeError",
    "ComparisonReport",
    "ConnectionLostError",
    "CorruptObjectError",
    "CoverageReport",
    "CoverageSegment",
    "DataClient",
    "DuplicateRequestIdError",
    "EmptyRangeError",
    "ExchangeCondition",
    "ExchangeInfo",
    "ExchangeUnavailableError",
    "ForbiddenError",
    "GapError",
    "GapWarning",
    "History",
    "HistoryCompleted",
    "HistoryStarted",
    "HistoryStream",
    "InternalServiceError",
    "InvalidValueError",
    "LatestBar",
    "MessageTooLargeError",
    "MethodNotAllowedError",
    "MissingFieldError",
    "NewerFormatError",
    "OverloadedError",
    "PlanResult",
    "Progress",
    "ProtocolError",
    "QualityDay",
    "QualityEvidence",
    "QualityFinding",
    "QualityGap",
    "QualityReport",
    "QualityScores",
    "QuotaExceededError",
    "RangeInFutureError",
    "RangeTooLargeError",
    "RequestError",
    "ServiceUnavailableError",
    "ShuttingDownError",
    "StorageUnavailableError",
    "StoredSeries",
    "SyncDataClient",
    "SyncHistoryStream",
    "TimeSpan",
    "TokenExpiredError",
    "TokenInvalidError",
    "TokenMissingError",
    "TooManyRequestsError",
    "UnknownExchangeError",
    "UnknownFieldError",
    "UnknownPathError",
    "UnknownSymbolError",
    "UnknownTimeframeError",
    "UnknownTypeError",
    "UnsupportedKindError",
    "gaps_of",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
