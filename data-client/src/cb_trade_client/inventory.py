"""What there is, as values: the exchanges, the stored series, and what is known of one of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from cb_trade_client.answers import CoverageSegment
from cb_trade_client.fields import (
    Message,
    read_count,
    read_number,
    read_object,
    read_objects,
    read_optional_count,
    read_optional_instant,
    read_optional_text,
    read_text,
    read_texts,
)
from cb_trade_client.joined_pages import joined


@dataclass(frozen=True, slots=True)
class ExchangeCondition:
    """How an exchange is doing, and what the service allows itself with it.

    Attributes:
        breaker: `closed` while calls go through, `open` while none does, `half-open` while one finds out.
        calls_per_sec: What is allowed now; less than `full_calls_per_sec` after the exchange found it too much.
        full_calls_per_sec: What is allowed at most.
        waiting: Calls that wait for their turn.
        under_way: Calls that wait for the exchange.
        paused_secs: How long the exchange wants to be left alone from now on.
    """

    breaker: str
    calls_per_sec: float
    full_calls_per_sec: float
    waiting: int
    under_way: int
    paused_secs: float

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            breaker=read_text(message, "breaker"),
            calls_per_sec=read_number(message, "calls_per_sec"),
            full_calls_per_sec=read_number(message, "full_calls_per_sec"),
            waiting=read_count(message, "waiting"),
            under_way=read_count(message, "under_way"),
            paused_secs=read_number(message, "paused_secs"),
        )


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """One exchange that the service can ask.

    Attributes:
        name: CCXT's id.
        kinds: What can be had from it.
        timeframes: The bars it has, shortest first.
        page_limit_bars: The most bars that one call to it brings.
        settle_margin_ms: How long after its end a bar may still change.
        state: As last seen by the service: `ok`, `unused` since its start, or why the last call failed.
        condition: How it is doing now.
    """

    name: str
    kinds: tuple[str, ...]
    timeframes: tuple[str, ...]
    page_limit_bars: int
    settle_margin_ms: int
    state: str
    condition: ExchangeCondition

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            name=read_text(message, "name"),
            kinds=read_texts(message, "kinds"),
            timeframes=read_texts(message, "timeframes"),
            page_limit_bars=read_count(message, "page_limit_bars"),
            settle_margin_ms=read_count(message, "settle_margin_ms"),
            state=read_text(message, "state"),
            condition=ExchangeCondition.from_message(read_object(message, "condition")),
        )


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """One series of which the service has stored something.

    Attributes:
        first_timestamp: Time of the oldest stored row; None where no row is stored.
        last_timestamp: Time of the newest one.
        listed_at: Open time of the first bar the exchange has; None while unknown.
        listing_checked_at: When the exchange was asked for its first bar; None if it never was.
        market_id: The exchange's own name for the symbol.
    """

    exchange: str
    symbol: str
    kind: str
    timeframe: str | None
    first_timestamp: datetime | None
    last_timestamp: datetime | None
    listed_at: datetime | None
    listing_checked_at: datetime | None
    market_id: str | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            exchange=read_text(message, "exchange"),
            symbol=read_text(message, "symbol"),
            kind=read_text(message, "kind"),
            timeframe=read_optional_text(message, "timeframe"),
            first_timestamp=read_optional_instant(message, "first_timestamp"),
            last_timestamp=read_optional_instant(message, "last_timestamp"),
            listed_at=read_optional_instant(message, "listed_at"),
            listing_checked_at=read_optional_instant(message, "listing_checked_at"),
            market_id=read_optional_text(message, "market_id"),
        )


@dataclass(frozen=True, slots=True)
class CoverageReport:
    """What is known of every instant of a range.

    Attributes:
        start: Inclusive, the open time of a bar; None where there is nothing to tell.
        end: Exclusive; at most the end of the newest closed bar.
        segments: Oldest first, without a hole or an overlap: what nobody ever asked about is `unknown`.
        bars_expected: The bars of the range by the calendar, less those before listing; None for kinds without bars.
        bars_held: Those of them that stored rows settle, genuine holes between them included; None like the others.
    """

    exchange: str
    symbol: str
    kind: str
    timeframe: str | None
    start: datetime | None
    end: datetime | None
    segments: tuple[CoverageSegment, ...]
    bars_expected: int | None
    bars_held: int | None

    @classmethod
    def from_message(cls, message: Message) -> Self:
        return cls(
            exchange=read_text(message, "exchange"),
            symbol=read_text(message, "symbol"),
            kind=read_text(message, "kind"),
            timeframe=read_optional_text(message, "timeframe"),
            start=read_optional_instant(message, "start_time"),
            end=read_optional_instant(message, "end_time"),
            segments=tuple(map(CoverageSegment.from_message, read_objects(message, "segments"))),
            bars_expected=read_optional_count(message, "bars_expected"),
            bars_held=read_optional_count(message, "bars_held"),
        )

    def followed_by(self, *pages: "CoverageReport") -> "CoverageReport":
        """Return this page and those after it as one report."""
        whole = [self, *pages]
        return replace(
            self,
            end=whole[-1].end,
            segments=tuple(joined((segment for page in whole for segment in page.segments), _as_one)),
            bars_expected=_sum(page.bars_expected for page in whole),
            bars_held=_sum(page.bars_held for page in whole),
        )


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return how many they are together; None where one of them was not told."""
    told = list(counts)
    numbers = [count for count in told if count is not None]
    return sum(numbers) if len(numbers) == len(told) else None


def _as_one(segment: CoverageSegment, following: CoverageSegment) -> CoverageSegment | None:
    """Return both as one where only the end of a page lies between them."""
    if replace(segment, start=following.start, end=following.end, bars=following.bars) != following:
        return None
    return replace(segment, end=following.end, bars=_sum([segment.bars, following.bars]))
