"""How rows of each kind are asked for, checked and settled: by a grid where there is one, else as they come. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from cb_trade_data.exchange_source.facts import EventPaging, ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.event_validation import check_events, settle_events
from cb_trade_data.historical.kinds import EVENT_RULES
from cb_trade_data.historical.planning import pages
from cb_trade_data.historical.validation import CheckedPage, check_page, settle
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.stored_partition import Change, StoredPartition

_NEIGHBOURS: Final = 4
# Of a kind that nobody is asked for.
_NEVER: Final = timedelta(days=365)


class Paging(ABC):
    """What fetching a series takes that depends on its kind."""

    @abstractmethod
    def windows(self, gaps: Iterable[TimeRange]) -> Iterator[TimeRange]:
        """Yield what is to be asked for, oldest first, so that *gaps*, disjoint and oldest first, take fewest calls."""

    @abstractmethod
    def rows_in(self, part: TimeRange) -> int:
        """Return how many rows there may be in *part*: what one request lacks, compared with another."""

    @abstractmethod
    def check(self, page: Page, window: TimeRange, now: datetime) -> CheckedPage:
        """Return what of an answer can be stored, and what it proves."""

    @abstractmethod
    def settle(self, checked: CheckedPage, wanted: list[TimeRange], now: datetime, known: StoredPartition) -> Change:
        """Return what to store of a checked page; *known* is all that is known of the partition."""

    @abstractmethod
    def is_cut_short(self, answered: list[TimeRange], window: TimeRange) -> bool:
        """Tell whether an answer leaves so much of *window* open that asking again would go on for ever."""


def paging_of(series: Series, exchange: ExchangeFacts) -> Paging:
    """Return how *series* is fetched from *exchange*."""
    if series.kind is Kind.OHLCV:
        return _BarPaging(series.grid, exchange)
    return _EventPaging(series.kind, exchange.event_paging(series))


class _BarPaging(Paging):
    def __init__(self, grid: Timeframe, exchange: ExchangeFacts) -> None:
        self._grid = grid
        self._exchange = exchange

    def windows(self, gaps: Iterable[TimeRange]) -> Iterator[TimeRange]:
        return pages(gaps, self._grid, self._exchange)

    def rows_in(self, part: TimeRange) -> int:
        return self._grid.bars_in(part)

    def check(self, page: Page, window: TimeRange, now: datetime) -> CheckedPage:
        return check_page(page, window, self._grid, self._exchange, now)

    def settle(self, checked: CheckedPage, wanted: list[TimeRange], now: datetime, known: StoredPartition) -> Change:  # noqa: ARG002
        return settle(checked, wanted, self._grid, now)

    def is_cut_short(self, answered: list[TimeRange], window: TimeRange) -> bool:
        bars = sum(map(self._grid.bars_in, answered))
        return 2 * bars < self._grid.bars_in(window) and self._exchange.is_proven


class _EventPaging(Paging):
    def __init__(self, kind: Kind, paging: EventPaging | None) -> None:
        self._kind = kind
        self._given = paging

    @property
    def _paging(self) -> EventPaging:
        assert self._given is not None, f"nobody is asked for {self._kind}"  # noqa: S101 - all of it is out of reach
        return self._given

    def windows(self, gaps: Iterable[TimeRange]) -> Iterator[TimeRange]:
        """One window for each gap: how many rows lie between two gaps is not known, but of funding, how many may."""
        window: TimeRange | None = None
        for gap in gaps:
            if window is not None and gap.end - window.start <= self._surely_one_page:
                window = TimeRange(window.start, gap.end)
                continue
            if window is not None:
                yield from self._cut(window)
            window = gap
        if window is not None:
            yield from self._cut(window)

    def _cut(self, window: TimeRange) -> Iterator[TimeRange]:
        longest, start = self._paging.window_max or window.duration, window.start
        while start < window.end:
            end = min(start + longest, window.end)
            yield TimeRange(start, end)
            start = end

    @property
    def _surely_one_page(self) -> timedelta:
        least_step = EVENT_RULES[self._kind].least_step
        if least_step is None:
            return timedelta(0)
        return min(least_step * (self._paging.page_limit_rows - 1), self._paging.window_max or timedelta.max)

    def rows_in(self, part: TimeRange) -> int:
        rules = EVENT_RULES.get(self._kind)
        return part.duration // (_NEVER if rules is None else rules.assumed_step) + 1

    def check(self, page: Page, window: TimeRange, now: datetime) -> CheckedPage:
        return check_events(page, window, self._kind, self._paging, now)

    def settle(self, checked: CheckedPage, wanted: list[TimeRange], now: datetime, known: StoredPartition) -> Change:
        around = [] if EVENT_RULES[self._kind].least_step is None else _around(known, wanted)
        return settle_events(checked, wanted, self._kind, now, around)

    def is_cut_short(self, answered: list[TimeRange], window: TimeRange) -> bool:  # noqa: ARG002
        return not answered


def _around(known: StoredPartition, wanted: list[TimeRange]) -> list[int]:
    """Return the times of a few rows before and after *wanted*: enough to see on which schedule they lie.

    Only of what is held right beside it: between those and rows from elsewhere there may be any number of others.
    """
    if not wanted:
        return []
    start, end = wanted[0].start, wanted[-1].end
    times: list[int] = []
    for held in known.coverage.ranges(State.HELD):
        if held.start < start <= held.end:
            times += timestamps_ms(known.rows_in(TimeRange(held.start, start)))[-_NEIGHBOURS:].tolist()
        if held.start <= end < held.end:
            times += timestamps_ms(known.rows_in(TimeRange(end, held.end)))[:_NEIGHBOURS].tolist()
    return times
