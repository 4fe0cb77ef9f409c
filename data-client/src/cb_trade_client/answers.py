"""The service's answers as values: what a message says, checked once when it arrives."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cb_trade_client.fields import (
    Message,
    read_count,
    read_instant,
    read_milliseconds,
    read_objects,
    read_optional_count,
    read_optional_instant,
    read_optional_text,
    read_text,
)
from cb_trade_client.requests import ANY, Exchanges


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A span of time: `start` inclusive, `end` exclusive, both aware UTC."""

    start: datetime
    end: datetime

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(start=read_instant(message, "start_time"), end=read_instant(message, "end_time"))


@dataclass(frozen=True, slots=True)
class CoverageSegment:
    """What is known about one span of a series: `start` inclusive, `end` exclusive, both aware UTC.

    Attributes:
        state: `held`, `empty`, `unlisted`, `delisted`, `unavailable` or `failed`; in a `CoverageReport` also `unknown`,
            never asked about; newer services may add words.
        reason: Why, where there is something to say; mostly for gaps.
        asked_at: When the exchange was last asked (`empty`, `failed`).
        asks: How many independent empty answers there were.
        bars: How many bars open in it by the calendar; told in a `CoverageReport` only, not for kinds without bars.
        ask_again_at: From when on a request asks the exchange again (`empty`, in a `CoverageReport` only); None where
            only a refresh does.
        code: What is the matter where rows may be missing, `DATA-NNN`. None elsewhere, and where the service is older
            than these codes.
    """

    start: datetime
    end: datetime
    state: str
    reason: str | None
    asked_at: datetime | None = None
    asks: int = 0
    bars: int | None = None
    ask_again_at: datetime | None = None
    code: str | None = None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            start=read_instant(message, "start_time"),
            end=read_instant(message, "end_time"),
            state=read_text(message, "state"),
            reason=read_optional_text(message, "reason"),
            asked_at=read_optional_instant(message, "asked_at"),
            asks=read_optional_count(message, "asks") or 0,
            bars=read_optional_count(message, "bars"),
            ask_again_at=read_optional_instant(message, "ask_again_at"),
            code=read_optional_text(message, "code"),
        )


@dataclass(frozen=True, slots=True)
class HistoryStarted:
    """What the service is about to send.

    Attributes:
        exchange: The one that answers, chosen by the service where the request left that open.
        start: Inclusive start of the range that will be answered.
        end: Exclusive end; earlier than asked when the asked end lies after the newest closed bar.
        estimated_rows: How many rows to expect, for progress bars; None when the service does not say, as for kinds
            without bars.
        estimated_bytes: The same in bytes on the wire.
        derived_from: The timeframe of the bars that these are made of; None where they are the exchange's own.
    """

    exchange: str
    symbol: str
    kind: str
    timeframe: str | None
    start: datetime
    end: datetime
    format: str
    estimated_rows: int | None
    estimated_bytes: int | None
    derived_from: str | None = None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            exchange=read_text(message, "exchange"),
            symbol=read_text(message, "symbol"),
            kind=read_text(message, "kind"),
            timeframe=read_optional_text(message, "timeframe"),
            start=read_instant(message, "start_time"),
            end=read_instant(message, "end_time"),
            format=read_text(message, "format"),
            estimated_rows=read_optional_count(message, "estimated_rows"),
            estimated_bytes=read_optional_count(message, "estimated_bytes"),
            derived_from=read_optional_text(message, "derived_from"),
        )


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """What a chunk says about itself.

    Attributes:
        sequence: Position in the answer, from 0.
        rows: How many rows it carries.
        end: Exclusive end of what has been delivered with this chunk: where to resume after a drop.
    """

    sequence: int
    rows: int
    end: datetime

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            sequence=read_count(message, "sequence"),
            rows=read_count(message, "rows"),
            end=read_instant(message, "end_time"),
        )


@dataclass(frozen=True, slots=True)
class HistoryCompleted:
    """The receipt of a whole answer.

    After a lost connection, what was delivered before it has no receipt of its own. Then `coverage` and `gaps` of that
    part are what `/v1/coverage` tells of it (of the bars that derived ones are made of), and what only a receipt tells
    is None.

    Attributes:
        rows: All rows sent, synthetic ones as well.
        chunks: All chunks sent.
        coverage: What is known about the whole range, oldest first.
        coverage_truncated: Whether `coverage` was cut because it had too many segments.
        gaps: The parts of the range that could not be settled, oldest first; empty means nothing is missing.
        rows_from_storage: Rows the service already held, of the shorter bars where these are derived; None after a
            resume.
        rows_from_exchange: The same, of those it fetched for this answer; None after a resume.
        exchange_calls: Calls to the exchange this answer cost; None after a resume.
        elapsed_ms: Time the service took, in milliseconds; None after a resume.
        digest: Fingerprint of the delivered values, those of synthetic rows left out. After a lost connection it is the
            SDK's own, over all that was delivered, and None unless `verify` was asked for. None, too, when the service
            does not compute one.
        resumes: How often the answer was taken up again after a lost connection.
        synthetic_rows: How many of the rows a fill put where the exchange has no bar; None where none was asked for.
    """

    rows: int
    chunks: int
    coverage: tuple[CoverageSegment, ...]
    coverage_truncated: bool
    gaps: tuple[CoverageSegment, ...]
    rows_from_storage: int | None
    rows_from_exchange: int | None
    exchange_calls: int | None
    elapsed_ms: float | None
    digest: str | None
    resumes: int = 0
    synthetic_rows: int | None = None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            rows=read_count(message, "rows"),
            chunks=read_count(message, "chunks"),
            coverage=tuple(map(CoverageSegment.from_message, read_objects(message, "coverage"))),
            coverage_truncated=message.get("coverage_truncated") is True,
            gaps=tuple(map(CoverageSegment.from_message, read_objects(message, "gaps"))),
            rows_from_storage=read_count(message, "rows_from_storage"),
            rows_from_exchange=read_count(message, "rows_from_exchange"),
            exchange_calls=read_count(message, "exchange_calls"),
            elapsed_ms=read_milliseconds(message, "elapsed_ms"),
            digest=read_optional_text(message, "digest"),
            synthetic_rows=read_optional_count(message, "synthetic_rows"),
        )


@dataclass(frozen=True, slots=True)
class LatestBar:
    """How far a series reaches.

    Attributes:
        timestamp: Open time of the newest stored bar, or the time of the newest stored row of a kind without bars; None
            when nothing is stored. Of derived bars, of the newest one that is whole.
        closed_until: Exclusive end of the newest bar that has closed, by the exchange's clock; for kinds without bars,
            of what does not change any more.
        exchange: Whose series it is.
        derived_from: The timeframe of the stored bars that these are made of; None where they are the exchange's own.
    """

    timestamp: datetime | None
    closed_until: datetime
    exchange: str
    derived_from: str | None = None

    @classmethod
    def from_message(cls, message: Message, asked: Exchanges) -> Self:
        """Read an answer to a question about the exchange, or exchanges, *asked*."""
        return cls(
            timestamp=read_optional_instant(message, "timestamp"),
            closed_until=read_instant(message, "closed_until"),
            exchange=_exchange_of(message, asked),
            derived_from=read_optional_text(message, "derived_from"),
        )


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What a request would read and fetch.

    Attributes:
        rows_in_storage: Rows that need no exchange.
        missing: The spans that would be fetched, oldest first.
        missing_truncated: Whether `missing` was cut because it had too many spans; `exchange_calls` counts them all.
        exchange_calls: How many calls that would take; at least so many for kinds without bars, of which nobody knows
            how many rows are missing.
        exchange: Of which exchange.
        derived_from: The timeframe of the bars that those asked for would be made of, and that all of this is about;
            None where they are the exchange's own.
    """

    rows_in_storage: int
    missing: tuple[TimeSpan, ...]
    missing_truncated: bool
    exchange_calls: int
    exchange: str
    derived_from: str | None = None

    @classmethod
    def from_message(cls, message: Message, asked: Exchanges) -> Self:
        """Read an answer to a question about the exchange, or exchanges, *asked*."""
        return cls(
            rows_in_storage=read_count(message, "rows_in_storage"),
            missing=tuple(map(TimeSpan.from_message, read_objects(message, "missing"))),
            missing_truncated=message.get("missing_truncated") is True,
            exchange_calls=read_count(message, "exchange_calls"),
            exchange=_exchange_of(message, asked),
            derived_from=read_optional_text(message, "derived_from"),
        )


def _exchange_of(message: Message, asked: Exchanges) -> str:
    """Return the exchange that answers: one that was asked for by its name need not be told."""
    names = [asked] if isinstance(asked, str) else asked
    if message.get("exchange") is None and len(names) == 1 and names[0] != ANY:
        return names[0]
    return read_text(message, "exchange")
