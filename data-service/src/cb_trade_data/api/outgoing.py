"""The messages the service sends, as bytes ready for the wire. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import orjson

from cb_trade_data.errors import CbTradeError
from cb_trade_data.historical.interfaces import CurrentState, IAnswer
from cb_trade_data.historical.planning import HistoryPlan
from cb_trade_data.historical.receipt import SEGMENTS_MAX, Receipt
from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.messages import Fill, WireFormat
from cb_trade_data.models.series import Series
from cb_trade_data.storage.coverage import Segment, State

_REASON_MAX_CHARACTERS: Final = 160


def historical_data_start(
    request_id: str,
    series: Series,
    answer: IAnswer,
    wire_format: WireFormat,
    row_bytes: int,
    fill: Fill = Fill.NONE,
) -> bytes:
    """Return the message that opens an answer; *row_bytes*: of a usual row in that format."""
    views: dict[str, str] = {} if fill is Fill.NONE else {"fill": fill}
    return _message(
        "historical_data_start",
        request_id,
        **_series(series),
        start_time=to_ms(answer.start),
        end_time=to_ms(answer.end),
        format=wire_format,
        estimated_rows=answer.estimated_rows,
        estimated_bytes=None if answer.estimated_rows is None else answer.estimated_rows * row_bytes,
        **views,
    )


def historical_data_chunk(request_id: str, sequence: int, rows: int, start_ms: int, end_ms: int, **data: Any) -> bytes:
    """Return one chunk.

    Args:
        start_ms: The first row's time.
        end_ms: Exclusive, and where a client resumes after a drop.
        data: The rows themselves, or how many bytes of them follow.
    """
    return _message(
        "historical_data_chunk",
        request_id,
        sequence=sequence,
        rows=rows,
        start_time=start_ms,
        end_time=end_ms,
        **data,
    )


def historical_data_complete(request_id: str, *, rows: int, chunks: int, receipt: Receipt, elapsed_ms: int) -> bytes:
    """Return the message that closes an answer: what it was made of, and why what is missing is missing."""
    synthetic = {} if receipt.synthetic_rows is None else {"synthetic_rows": receipt.synthetic_rows}
    return _message(
        "historical_data_complete",
        request_id,
        rows=rows,
        chunks=chunks,
        digest=receipt.digest,
        coverage=segments_json(receipt.coverage),
        coverage_truncated=receipt.is_truncated,
        gaps=segments_json(receipt.gaps),
        rows_from_storage=receipt.rows_from_storage,
        rows_from_exchange=receipt.rows_from_exchange,
        exchange_calls=receipt.exchange_calls,
        elapsed_ms=elapsed_ms,
        **synthetic,
    )


def current_timestamp_response(request_id: str, series: Series, current: CurrentState) -> bytes:
    """Return how far storage and the exchange have come."""
    return _message(
        "current_timestamp_response",
        request_id,
        **_series(series, with_kind=False),
        timestamp=None if current.timestamp is None else to_ms(current.timestamp),
        closed_until=to_ms(current.closed_until),
    )


def plan_response(request_id: str, series: Series, plan: HistoryPlan) -> bytes:
    """Return what an answer would read and fetch; as many missing ranges as a receipt has segments."""
    return _message(
        "plan_response",
        request_id,
        exchange=series.exchange,
        **_derived_from(series),
        rows_in_storage=plan.rows_in_storage,
        missing=[
            {"start_time": to_ms(part.start), "end_time": to_ms(part.end)} for part in plan.missing[:SEGMENTS_MAX]
        ],
        missing_truncated=len(plan.missing) > SEGMENTS_MAX,
        exchange_calls=plan.exchange_calls,
    )


def request_cancelled(request_id: str, *, was_running: bool) -> bytes:
    """Return the answer to a cancel."""
    return _message("request_cancelled", request_id, was_running=was_running)


def authenticated(request_id: str | None, expires_at: datetime) -> bytes:
    """Return the answer to a newer token: until when it is good."""
    return _message("authenticated", request_id, expires_at=to_ms(expires_at))


def error_response(request_id: str | None, error: CbTradeError) -> bytes:
    """Return *error* as its sender should see it."""
    return _message("error_response", request_id, **error_facts(error))


def error_facts(error: CbTradeError) -> dict[str, Any]:
    """Return what is told of *error*, on the socket and over HTTP."""
    retry_after_ms = None if error.retry_after is None else math.ceil(error.retry_after.total_seconds() * 1000)
    return {
        "code": error.code,
        "message": str(error),
        "retryable": error.retryable,
        "retry_after_ms": retry_after_ms,
        "details": error.details,
    }


def defect() -> CbTradeError:
    """Return what is told of a mistake of ours, in place of the error itself: that is for the log alone."""
    return CbTradeError("something is wrong on our side; the service's log tells more")


def _message(type_: str, request_id: str | None, **fields: Any) -> bytes:
    return orjson.dumps({"type": type_, "request_id": request_id, **fields})


def segments_json(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """Return segments for the wire: as they are stored, and what is the matter where rows may be missing.

    Reasons are kept so short and plain that any receipt stays under 1 MiB.
    """
    return list(map(_segment, segments))


def plain_reason(reason: str) -> str:
    """Return *reason* short and in plain letters."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in reason)[:_REASON_MAX_CHARACTERS]


def _segment(segment: Segment) -> dict[str, Any]:
    facts = segment.to_json()
    if segment.reason is not None:
        facts["reason"] = plain_reason(segment.reason)
    # Held time has its rows; that it may have holes as well is told of each hole, where somebody looks for them.
    if segment.state is not State.HELD and segment.state.code is not None:
        facts["code"] = segment.state.code
    return facts


def _series(series: Series, *, with_kind: bool = True) -> dict[str, str | None]:
    fields = {"exchange": series.exchange, "symbol": series.symbol}
    if with_kind:
        fields["kind"] = series.kind
    timeframe = None if series.timeframe is None else str(series.timeframe)
    return {**fields, "timeframe": timeframe, **_derived_from(series)}


def _derived_from(series: Series) -> dict[str, str]:
    return {} if series.derived_from is None else {"derived_from": str(series.derived_from)}
