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
    from cb_trade_client.errors import (
        AuthenticationError,
        CbTradeError,
        ConnectionLostError,
        ForbiddenError,
        InternalServiceError,
        ProtocolError,
        RequestError,
        ServiceUnavailableError,
    )
    from cb_trade_client.inventory import CoverageReport, ExchangeCondition, ExchangeInfo, StoredSeries
    from cb_trade_client.stream import HistoryStream
    from cb_trade_client.table_metadata import gaps_of

_HOMES = {
    "AuthenticationError": "errors",
    "CbTradeError": "errors",
    "ConnectionLostError": "errors",
    "CoverageReport": "inventory",
    "CoverageSegment": "answers",
    "DataClient": "client",
    "ExchangeCondition": "inventory",
    "ExchangeInfo": "inventory",
    "ForbiddenError": "errors",
    "HistoryCompleted": "answers",
    "HistoryStarted": "answers",
    "HistoryStream": "stream",
    "InternalServiceError": "errors",
    "LatestBar": "answers",
    "PlanResult": "answers",
    "ProtocolError": "errors",
    "RequestError": "errors",
    "ServiceUnavailableError": "errors",
    "StoredSeries": "inventory",
    "TimeSpan": "answers",
    "gaps_of": "table_metadata",
}

__all__ = [
    "AuthenticationError",
    "CbTradeError",
    "ConnectionLostError",
    "CoverageReport",
    "CoverageSegment",
    "DataClient",
    "ExchangeCondition",
    "ExchangeInfo",
    "ForbiddenError",
    "HistoryCompleted",
    "HistoryStarted",
    "HistoryStream",
    "InternalServiceError",
    "LatestBar",
    "PlanResult",
    "ProtocolError",
    "RequestError",
    "ServiceUnavailableError",
    "StoredSeries",
    "TimeSpan",
    "gaps_of",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
