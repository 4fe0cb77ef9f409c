"""What an exchange is like, as data: a plugin is a row of these until its behaviour truly differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from cb_trade_data.models.instants import EPOCH, to_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange

_MICROSECOND: Final = timedelta(microseconds=1)


class TimeUnit(StrEnum):
    """How a time is written in a request."""

    NANOSECONDS = "ns"
    MILLISECONDS = "ms"
    SECONDS = "s"
    ISO = "iso"

    def write(self, instant: datetime) -> int | str:
        """Return *instant* as the exchange wants to read it."""
        match self:
            case TimeUnit.NANOSECONDS:
                return (instant - EPOCH) // _MICROSECOND * 1000
            case TimeUnit.MILLISECONDS:
                return to_ms(instant)
            case TimeUnit.SECONDS:
                return to_ms(instant) // 1000
            case TimeUnit.ISO:
                return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Bounds:
    """How a window `[start, end)` is written in the exchange's own parameters, over whatever CCXT would write.

    Attributes:
        start: The parameter of the window's start; None where the exchange takes none.
        end: That of its end; likewise.
        count: That of the number of rows, where CCXT leaves it out.
        unit: How both times are written.
        start_step: Added to the start: nothing where it is inclusive, one unit less where it is exclusive.
        end_step: Added to the end: nothing where it is exclusive, one unit less where it is inclusive.
    """

    start: str | None
    end: str | None
    count: str | None = None
    unit: TimeUnit = TimeUnit.MILLISECONDS
    start_step: timedelta = timedelta(0)
    end_step: timedelta = timedelta(0)

    def parameters(self, window: TimeRange, rows: int) -> dict[str, int | str]:
        """Return the parameters that ask for the rows of *window* and no other, which are *rows* at most."""
        written: dict[str, int | str] = {}
        if self.start is not None:
            written[self.start] = self.unit.write(window.start + self.start_step)
        if self.end is not None:
            written[self.end] = self.unit.write(window.end + self.end_step)
        if self.count is not None:
            written[self.count] = rows
        return written


@dataclass(frozen=True)
class Pace:
    """How often an exchange may be asked: *calls* in each span of *per*, of which *burst* may come at once."""

    calls: int
    per: timedelta
    burst: int = 1

    @property
    def calls_per_sec(self) -> float:
        """The same as a rate."""
        return self.calls / self.per.total_seconds()

    def at(self, calls_per_sec: float) -> Pace:
        """Return this pace at another rate, with a burst of no more than a second's calls."""
        per = timedelta(seconds=self.calls / calls_per_sec)
        return Pace(self.calls, per, min(self.burst, max(1, int(calls_per_sec))))

    def part(self, share: float) -> Pace:
        """Return that part of this pace, of its rate and its burst alike; a burst is never less than one call."""
        return Pace(self.calls, self.per / share, max(1, int(self.burst * share)))


_CAUTIOUS: Final = Pace(2, timedelta(seconds=1))


@dataclass(frozen=True)
class EventPaging:
    """How an exchange is asked for what happens at any time, trades or funding, and what its answers prove.

    An answer with fewer rows than a page holds has all of its window. A full one has all but what follows its last
    millisecond, or but what comes before its first one. Where the window has no end, or no start, rows of beyond it
    come along, and where it is written in seconds, those of the same second.

    Attributes:
        page_limit_rows: The most rows one answer holds.
        bounds: How a window is asked for.
        parameters: What else is sent with each question.
        newest_first: Which rows of a window with too many it sends: the newest ones, else the oldest ones.
        history: How far back from its present it serves anything; None where it serves everything.
        window_max: The longest window it takes; None where it takes any.
        page_cost: What a page costs, in pages of a spot market's bars.
        id_parameter: The parameter by which it goes on from a trade of an id, which is a number; None where it cannot.
        settle_margin: After how long a row that it has not sent will not come any more.
        tells_maker_side: Whether the side that it tells of a trade is that of the order which was there first.
    """

    page_limit_rows: int
    bounds: Bounds
    parameters: Mapping[str, int | str] = field(default_factory=lambda: MappingProxyType({}))
    newest_first: bool = False
    history: timedelta | None = None
    window_max: timedelta | None = None
    page_cost: float = 1.0
    id_parameter: str | None = None
    settle_margin: timedelta = timedelta(seconds=10)
    tells_maker_side: bool = False

    def question(self, window: TimeRange) -> dict[str, int | str]:
        """Return the parameters that ask for *window*."""
        return {**self.parameters, **self.bounds.parameters(window, self.page_limit_rows)}


@dataclass(frozen=True)
class ExchangeFacts:
    """The facts of one exchange that planning and paging rest on.

    Attributes:
        id: The exchange's name; for a CCXT exchange, CCXT's id of it.
        timeframes: The bars it serves, in CCXT's spelling, shortest first.
        page_limit_bars: The most bars one answer holds.
        bounds: How a window is asked for; None leaves it to CCXT, which counts from the start.
        history_bars: How many bars back from its present it serves, the open one included, whatever is asked for; None
            where it serves everything since the listing.
        is_proven: Whether it is known how many bars it sends, and which it leaves out; if not, every answer may have
            been cut, and is believed from its first row to its last only.
        windows_only: Whether an answer holds all that lies in its window, however many rows that are: no row that does
            not belong there pushes another one out.
        jumps_to_first: Whether asked from the beginning of time it answers with its first bar, so that a listing costs
            one call; others are searched.
        spot_events: How it is asked for the kinds without bars that it serves of spot markets.
        perpetual_events: The same of perpetuals.
        settle_margin: How long after its end a bar may still change.
        pace: How often its pages may be asked for.
        markets_cost: What loading its markets costs, in pages.
        perpetual_page_cost: What a page of a perpetual costs, in pages of a spot market.
        limit_statuses: The HTTP statuses by which it says that it was asked too often.
        unknown_symbol_words: What it says, in whatever case, if it has no such market, where CCXT does not see that.
        concurrent_calls: How many of our calls may be under way at once.
        ccxt_market_types: What CCXT calls its spot markets and its perpetuals, where the two can be loaded each by
            itself; empty where they come together.
        ccxt_options: Merged into the options of the CCXT class.
    """

    id: str
    timeframes: tuple[str, ...]
    page_limit_bars: int
    bounds: Bounds | None = None
    history_bars: int | None = None
    is_proven: bool = True
    windows_only: bool = False
    jumps_to_first: bool = False
    spot_events: Mapping[Kind, EventPaging] = field(default_factory=lambda: MappingProxyType({}))
    perpetual_events: Mapping[Kind, EventPaging] = field(default_factory=lambda: MappingProxyType({}))
    settle_margin: timedelta = timedelta(seconds=2)
    pace: Pace = _CAUTIOUS
    markets_cost: int = 1
    perpetual_page_cost: float = 1.0
    limit_statuses: frozenset[int] = frozenset({418, 429})
    unknown_symbol_words: tuple[str, ...] = ()
    concurrent_calls: int = 8
    ccxt_market_types: tuple[str, ...] = ()
    ccxt_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def kinds(self) -> frozenset[Kind]:
        """What can be asked for. Of order books that is what somebody stored: no exchange has those of the past."""
        return frozenset({Kind.OHLCV, Kind.ORDER_BOOK, *self.spot_events, *self.perpetual_events})

    def event_paging(self, series: Series) -> EventPaging | None:
        """Return how it is asked for *series*; None for bars, and for what it does not serve.

        Of contracts that expire nothing is known.
        """
        if series.is_perpetual:
            return self.perpetual_events.get(series.kind)
        return self.spot_events.get(series.kind) if series.is_spot else None

    def settle_margin_of(self, series: Series) -> timedelta:
        """Return how long after its time a row of *series* may still come or change."""
        paging = self.event_paging(series)
        return self.settle_margin if paging is None else paging.settle_margin

    def page_cost(self, series: Series) -> float:
        """Return what a page of *series* costs, in pages of a spot market's bars."""
        if (paging := self.event_paging(series)) is not None:
            return paging.page_cost
        return self.perpetual_page_cost if series.is_perpetual else 1.0
