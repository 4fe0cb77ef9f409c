"""The messages the service sends, as bytes ready for the wire. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson
import pyarrow as pa

from cb_trade_data.errors import CbTradeError
from cb_trade_data.historical.answer import Answer
from cb_trade_data.historical.interfaces import CurrentState
from cb_trade_data.historical.planning import HistoryPlan
from cb_trade_data.historical.receipt import SEGMENTS_MAX, Receipt
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Series
from cb_trade_data.storage.coverage import Segment

DEFAULT_CHUNK_ROWS: Final = 1_000

# An OHLCV row takes at most 190 bytes as JSON, so that a chunk stays under the 1 MiB that every message keeps to.
CHUNK_ROWS_MAX: Final = 5_000

_REASON_MAX_CHARACTERS: Final = 160

# A usual row: two to five digits before and after each point.
_TYPICAL_ROW_BYTES: Final = 115


def historical_data_start(request_id: str, series: Series, answer: Answer) -> bytes:
    """Return the message that opens an answer."""
    return _message(
        "historical_data_start",
        request_id,
        **_series(series),
        start_time=to_ms(answer.start),
        end_time=to_ms(answer.end),
        format="json",
        estimated_rows=answer.estimated_rows,
        estimated_bytes=answer.estimated_rows * _TYPICAL_ROW_BYTES,
    )


def chunked(rows: pa.Table, chunk_rows: int) -> Iterator[pa.Table]:
    """Yield *rows* in slices of at most *chunk_rows*. Bars have unique times, so any cut is a good one."""
    for first in range(0, rows.num_rows, chunk_rows):
        yield rows.slice(first, chunk_rows)


def historical_data_chunk(request_id: str, series: Series, sequence: int, rows: pa.Table) -> bytes:
    """Return one chunk: `end_time` is exclusive, and where a client resumes after a drop."""
    times = timestamps_ms(rows)
    return _message(
        "historical_data_chunk",
        request_id,
        sequence=sequence,
        rows=rows.num_rows,
        start_time=int(times[0]),
        end_time=to_ms(series.grid.advance(from_ms(int(times[-1])), 1)),
        data=_rows_json(rows),
    )


def historical_data_complete(request_id: str, *, rows: int, chunks: int, receipt: Receipt, elapsed_ms: int) -> bytes:
    """Return the message that closes an answer: what it was made of, and why what is missing is missing."""
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


def plan_response(request_id: str, plan: HistoryPlan) -> bytes:
    """Return what an answer would read and fetch; as many missing ranges as a receipt has segments."""
    return _message(
        "plan_response",
        request_id,
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


def error_response(request_id: str | None, error: CbTradeError) -> bytes:
    """Return *error* as its sender should see it."""
    return _message("error_response", request_id, **error_facts(error))


def error_facts(error: CbTradeError) -> dict[str, Any]:
    """Return what is told of *error*, on the socket and over HTTP."""
    retry_after_ms = None if error.retry_after is None else int(error.retry_after.total_seconds() * 1000)
    return {
        "code": error.code,
        "message": str(error),
        "retryable": error.retryable,
        "retry_after_ms": retry_after_ms,
        "details": error.details,
    }


def _message(type_: str, request_id: str | None, **fields: Any) -> bytes:
    return orjson.dumps({"type": type_, "request_id": request_id, **fields})


def segments_json(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """Return segments for the wire; reasons are kept so short and plain that any receipt stays under 1 MiB."""
    shown = [segment.to_json() for segment in segments]
    for facts in shown:
        if "reason" in facts:
            plain = "".join(letter if " " <= letter <= "~" else "?" for letter in facts["reason"])
            facts["reason"] = plain[:_REASON_MAX_CHARACTERS]
    return shown


def _series(series: Series, *, with_kind: bool = True) -> dict[str, str | None]:
    fields = {"exchange": series.exchange, "symbol": series.symbol}
    if with_kind:
        fields["kind"] = series.kind
    return {**fields, "timeframe": None if series.timeframe is None else str(series.timeframe)}


def _rows_json(rows: pa.Table) -> orjson.Fragment:
    """Return an object for each row, times in milliseconds.

    A column is written at once and cut into its cells: less than half the time that objects of Python take.
    """
    columns = [timestamps_ms(rows), *(rows.column(name).to_numpy() for name in rows.schema.names[1:])]
    cells = [orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") for column in columns]
    row = b"{%b}" % b",".join(b'"%b":%%b' % name.encode() for name in rows.schema.names)
    return orjson.Fragment(b"[%b]" % b",".join(map(row.__mod__, zip(*cells, strict=True))))
