"""The story of a request: one line of the log, and what is counted of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.series import Series


class RequestStory:
    """What became of one request; written while it happens, complete when it is over.

    Attributes:
        type: Of the message that asked.
        started: Loop time, in seconds.
        outcome: `ok`, `cancelled` by the client, `disconnected` before its last word, or the code of an error; empty
            until the request is over.
        error: Its text.
        chosen_from: What the client named instead of one exchange; None where it named one.
        passed_over: Of the exchanges that were looked at and not chosen, why.
        start: Of the range; `end` as well, exclusive.
        format: In which rows travel.
        receipt: What the answer was made of; grows with it.
        exchange_calls: Of a plan; an answer's are in its receipt.
        first_chunk_seconds: From the message that asked to its first chunk; None without one.
        seconds: From the message that asked to the last word.
    """

    # Not a dataclass, and no slots: most stories leave most of this as it is, and there is one for each request.
    outcome = ""
    error: str | None = None
    series: Series | None = None
    chosen_from: str | list[str] | None = None
    passed_over: Mapping[str, str] = MappingProxyType({})
    start: datetime | None = None
    end: datetime | None = None
    format = ""
    receipt: Receipt | None = None
    exchange_calls: int | None = None
    rows = 0
    sent_bytes = 0
    first_chunk_seconds: float | None = None
    seconds = 0.0

    def __init__(self, type_: str, started: float) -> None:
        self.type = type_
        self.started = started

    def elapsed(self, now: float) -> float:
        """Return the seconds from the start until *now*, to the microsecond."""
        return int((now - self.started) * 1e6) / 1e6  # rounding properly takes four times as long

    @property
    def source(self) -> str:
        """Where what it needed was: `exchange` if pages were fetched for it, else `storage`."""
        return "exchange" if self.receipt is not None and self.receipt.exchange_calls else "storage"

    def fields(self) -> dict[str, Any]:
        """Return what the log is told."""
        told: dict[str, Any] = {"type": self.type, "outcome": self.outcome}
        if self.error is not None:
            told["error"] = self.error
        if self.series is not None:
            told["series"] = str(self.series)
        if self.chosen_from is not None:
            told["chosen_from"] = self.chosen_from
            if self.series is not None:
                told["passed_over"] = dict(self.passed_over)
        if self.start is not None:
            told["start"], told["end"] = self.start, self.end
        if (receipt := self.receipt) is not None:
            told["rows"] = self.rows
            told["rows_from_storage"] = receipt.rows_from_storage
            told["rows_from_exchange"] = receipt.rows_from_exchange
            told["exchange_calls"] = receipt.exchange_calls
            told["gaps"] = len(receipt.gaps)
            told["format"] = self.format
            told["bytes"] = self.sent_bytes
            told["first_chunk_seconds"] = self.first_chunk_seconds
        elif self.exchange_calls is not None:
            told["exchange_calls"] = self.exchange_calls
        told["seconds"] = self.seconds
        return told
