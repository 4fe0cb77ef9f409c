"""The messages this SDK sends, checked as far as they can be without the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import uuid4

from cb_trade_client import kinds
from cb_trade_client.instants import Instant, to_text, to_utc
from cb_trade_client.service_errors import EmptyRangeError, InvalidValueError

Request = dict[str, Any]
"""One message to the service; its `request_id` names the answers."""

FORMATS = ("arrow", "json_columns", "json")
"""How rows can travel, the fastest first."""

Query = dict[str, Any]
"""One question over HTTP; what is None is left out."""


Exchanges = str | Sequence[str]
"""The id of an exchange; several ids, of which the service chooses one; or `any`."""

ANY: Final = "any"

Fill = Literal["none", "previous_close", "null"]
"""What stands where the exchange has no bar: nothing; a bar of volume 0 with all prices at the close before it; or a
bar without values."""

NO_FILL: Final = "none"
FILLS: Final[tuple[Fill, ...]] = get_args(Fill)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows that somebody wants: of which series, from when until when, and what is to be done about them.

    Its fields are arguments of `DataClient.stream`, as they were given.
    """

    exchange: Exchanges
    symbol: str
    timeframe: str | None
    start: Instant
    end: Instant
    kind: str
    refresh: bool
    derive: bool
    fill: Fill

    def message(self, message_type: str) -> Request:
        """Return the message of *message_type* that asks about them.

        Raises:
            InvalidValueError: There cannot be such rows.
            EmptyRangeError: There are none from *start* to *end*.
        """
        _check_timeframe(self.kind, self.timeframe)
        _check_view(self.kind, derive=self.derive, fill=self.fill)
        first, last = to_utc(self.start, "start"), to_utc(self.end, "end")
        _check_order(first, last)
        request: Request = {
            "type": message_type,
            "request_id": uuid4().hex,
            "exchange": _sent(self.exchange),
            "symbol": self.symbol,
            "kind": self.kind,
            "start_time": to_text(first),
            "end_time": to_text(last),
        }
        if self.timeframe is not None:
            request["timeframe"] = self.timeframe
        # Sent only when asked for: a token may lack the scope, and a service may refuse fields it does not know.
        if self.refresh:
            request["refresh"] = True
        if self.derive:
            request["derive"] = True
        if self.fill != NO_FILL:
            request["fill"] = self.fill
        return request


def history_request(wanted: Wanted, *, wire_format: str, chunk_rows: int | None) -> Request:
    """Return a `request_historical`: send what is wanted."""
    request = wanted.message("request_historical")
    if wire_format not in FORMATS:
        raise InvalidValueError(
            f"format {wire_format!r} is not one of {', '.join(FORMATS)}", details={"field": "format"}
        )
    request["format"] = wire_format
    if chunk_rows is not None:
        if chunk_rows < 1:
            raise InvalidValueError(f"chunk_rows {chunk_rows} must be at least 1", details={"field": "chunk_rows"})
        request["chunk_rows"] = chunk_rows
    return request


def resumed(request: Request, start: datetime, end: datetime) -> Request:
    """Return the same history request for another range, under an id of its own."""
    return request | {"request_id": uuid4().hex, "start_time": to_text(start), "end_time": to_text(end)}


def plan_request(wanted: Wanted) -> Request:
    """Return a `plan_historical`: tell what a history request would read and fetch."""
    return wanted.message("plan_historical")


def latest_request(exchange: Exchanges, symbol: str, timeframe: str | None, *, kind: str, derive: bool) -> Request:
    """Return a `request_current_timestamp`: tell how far a series reaches."""
    _check_timeframe(kind, timeframe)
    _check_view(kind, derive=derive, fill=NO_FILL)
    request: Request = {
        "type": "request_current_timestamp",
        "request_id": uuid4().hex,
        "exchange": _sent(exchange),
        "symbol": symbol,
    }
    if kind != kinds.OHLCV:
        request["kind"] = kind
    if timeframe is not None:
        request["timeframe"] = timeframe
    if derive:
        request["derive"] = True
    return request


def authenticate_request(token: str) -> Request:
    """Return an `authenticate`: go on with a newer token."""
    return {"type": "authenticate", "request_id": uuid4().hex, "token": token}


def coverage_query(
    exchange: str, symbol: str, timeframe: str | None, start: Instant | None, end: Instant | None, *, kind: str
) -> Query:
    """Return what `/v1/coverage` is asked: what is known from *start* (inclusive) to *end* (exclusive)."""
    _check_timeframe(kind, timeframe)
    return {"exchange": exchange, "symbol": symbol, "kind": kind, "timeframe": timeframe, **_open_range(start, end)}


def quality_query(
    exchange: str, symbol: str, timeframe: str, start: Instant | None, end: Instant | None, *, details: bool
) -> Query:
    """Return what `/v1/quality` is asked: how good the bars are from *start* (inclusive) to *end* (exclusive)."""
    return {
        "exchange": exchange,
        "symbol": symbol,
        "timeframe": timeframe,
        **_open_range(start, end),
        "details": "true" if details else None,
    }


def comparison_query(exchange: str, symbol: str, timeframe: str, start: Instant, end: Instant) -> Query:
    """Return what `/v1/comparison` is asked: of the bars that open from *start* (inclusive) to *end* (exclusive)."""
    first, last = to_utc(start, "start"), to_utc(end, "end")
    _check_order(first, last)
    return {
        "exchange": exchange,
        "symbol": symbol,
        "timeframe": timeframe,
        "start_time": to_text(first),
        "end_time": to_text(last),
    }


def _check_timeframe(kind: str, timeframe: str | None) -> None:
    if kind in kinds.WITHOUT_BARS and timeframe is not None:
        raise InvalidValueError(
            f"{kind} has no bars, and no timeframe {timeframe!r}; give None", details={"field": "timeframe"}
        )


def _check_view(kind: str, *, derive: bool, fill: Fill) -> None:
    if fill not in FILLS:
        raise InvalidValueError(f"fill {fill!r} is not one of {', '.join(FILLS)}", details={"field": "fill"})
    for field, is_asked in (("derive", derive), ("fill", fill != NO_FILL)):
        if is_asked and kind in kinds.WITHOUT_BARS:
            raise InvalidValueError(f"{kind} has no bars to {field}", details={"field": field})


def _sent(exchange: Exchanges) -> str | list[str]:
    return exchange if isinstance(exchange, str) else list(exchange)


def _open_range(start: Instant | None, end: Instant | None) -> Query:
    first = None if start is None else to_utc(start, "start")
    last = None if end is None else to_utc(end, "end")
    if first is not None and last is not None:
        _check_order(first, last)
    return {
        "start_time": None if first is None else to_text(first),
        "end_time": None if last is None else to_text(last),
    }


def _check_order(first: datetime, last: datetime) -> None:
    if first >= last:
        raise EmptyRangeError(f"end {to_text(last)} must be after start {to_text(first)}")
