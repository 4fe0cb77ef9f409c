"""When a series began and when it ended, found with few pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

FetchPage = Callable[[Series, TimeRange], Awaitable[Page]]

# No exchange has candles from before.
_BEGINNING: Final = datetime(2010, 1, 1, tzinfo=UTC)
_DAY: Final = Timeframe.parse("1d")
_WEEK: Final = Timeframe.parse("1w")
# Where no page that a search looked at has a bar, there is hardly one anywhere; looking at the others ends some time.
_LONELY_PAGES_MAX: Final = 64


async def first_open(fetch: FetchPage, facts: ExchangeFacts, series: Series, now: datetime) -> datetime | None:
    """Return the open time of the first bar the exchange has, or an earlier one; None where it has none.

    Pages of days are bisected for the first one with rows; its first day is then looked at in finer bars, down to the
    series' own. With d pages of days since 2010 that takes about log2(d) calls and one for each finer timeframe: 3 + 2
    for pages of 1000 bars, 5 + 2 for pages of 300. Only a market whose newest page is empty costs more: up to a call
    for each page since its end. Of a market that was silent for longer than a page of days and came back, only the last
    life may be found.

    An exchange that serves only its newest bars is asked once for each timeframe, from weeks on, until its answer is
    full. What it has of finer bars then begins later than the market did, and the open time found so far is returned:
    there is no bar before it, but perhaps none at it either.
    """
    nested = _nested(facts, series.grid, _DAY if facts.history_bars is None else _WEEK)
    if facts.history_bars is not None:
        return await _first_served(fetch, facts, series, nested)
    span = TimeRange(_BEGINNING, now)
    found: datetime | None = None
    for level in _descent(nested, facts.page_limit_bars):
        pages = _Pages(fetch, facts, replace(series, timeframe=level), span)
        number = await pages.first_with_rows()
        if number is None:
            break  # Of bars so short it has none so far back.
        found = (await pages.opens(number))[0]
        span = TimeRange(found, min(level.bar(found).end, now))
    if found is not None and not facts.is_proven:
        await _check_that_it_begins_at_start(fetch, facts, series, found)
    return found


async def last_open(fetch: FetchPage, facts: ExchangeFacts, series: Series, now: datetime) -> datetime | None:
    """Return the open time of the last closed bar the exchange has, or a later one; None where it has none.

    Meant for a market that is not traded any more. Pages of days are looked at from the newest one back, in steps that
    double, and bisected where rows end; then it goes on as for `first_open`. A market that ended within the newest page
    takes 1 + 2 calls.
    """
    closed_until = series.grid.closed_until(now, facts.settle_margin)
    if facts.history_bars is not None:
        served, _ = await _newest(fetch, facts, series)
        return next((open_time for open_time in reversed(served) if open_time < closed_until), None)
    span = TimeRange(_BEGINNING, closed_until)
    found: datetime | None = None
    for level in _descent(_nested(facts, series.grid, _DAY), facts.page_limit_bars):
        pages = _Pages(fetch, facts, replace(series, timeframe=level), span)
        number = await pages.last_with_rows()
        if number is None:
            return None if found is None else series.grid.advance(span.end, -1)
        found = (await pages.opens(number))[-1]
        span = TimeRange(found, min(level.bar(found).end, closed_until))
    return found


async def _check_that_it_begins_at_start(
    fetch: FetchPage, facts: ExchangeFacts, series: Series, found: datetime
) -> None:
    """Raise ExchangeUnavailableError where an exchange sends the bar that was *found* when asked for later ones.

    One that sends its newest bars whatever it is asked for would seem to begin with them.
    """
    start = series.grid.advance(found, 1)
    page = await fetch(series, TimeRange(start, series.grid.advance(start, facts.page_limit_bars)))
    if np.any(timestamps_ms(page.rows) < to_ms(start)):
        raise ExchangeUnavailableError(series.exchange, "it sends bars from before those that it is asked for")


async def _first_served(
    fetch: FetchPage, facts: ExchangeFacts, series: Series, nested: Sequence[Timeframe]
) -> datetime | None:
    found: datetime | None = None
    for level in nested:
        opens, is_full = await _newest(fetch, facts, replace(series, timeframe=level))
        if is_full:
            return series.grid.ceil(_BEGINNING) if found is None else found
        if not opens:
            break
        found = opens[0]
    return found


async def _newest(fetch: FetchPage, facts: ExchangeFacts, series: Series) -> tuple[list[datetime], bool]:
    """Return the open times that an exchange of the newest bars still serves, and whether there may be older bars."""
    start = series.grid.ceil(_BEGINNING)
    page = await fetch(series, TimeRange(start, series.grid.advance(start, facts.page_limit_bars)))
    since_start = TimeRange(start, EVER.end)
    return _opens(page, since_start, series.grid), page.rows.num_rows >= (facts.history_bars or 0)


def _nested(facts: ExchangeFacts, own: Timeframe, longest: Timeframe) -> list[Timeframe]:
    """Return the exchange's timeframes up to *longest* whose bars are made of whole bars of *own*, longest first."""
    known = map(Timeframe.parse, facts.timeframes)
    longer = [each for each in known if own.duration_ms < each.duration_ms <= longest.duration_ms and each.holds(own)]
    return [*sorted(longer, key=lambda each: -each.duration_ms), own]


def _descent(nested: Sequence[Timeframe], page_limit_bars: int) -> Iterator[Timeframe]:
    """Yield the longest of *nested* and go on with the finest of which one page fills a bar of the one before."""
    current, own = nested[0], nested[-1]
    yield current
    while current != own:
        finer = [each for each in nested if each.duration_ms < current.duration_ms and current.holds(each)]
        fitting = [each for each in finer if current.duration_ms <= page_limit_bars * each.duration_ms]
        current = fitting[-1] if fitting else finer[0]
        yield current


class _Pages:
    """The pages of a span, numbered from the oldest one; none is fetched twice."""

    def __init__(self, fetch: FetchPage, facts: ExchangeFacts, series: Series, span: TimeRange) -> None:
        self._fetch = fetch
        self._facts = facts
        self._series = series
        self._limit = facts.page_limit_bars
        self._bars = series.grid.snap(span)
        bars = 0 if self._bars is None else series.grid.bars_in(self._bars)
        self._count = -(-bars // self._limit)
        self._known: dict[int, list[datetime]] = {}

    async def opens(self, number: int) -> list[datetime]:
        """Return the open times of a page's rows, oldest first.

        Raises:
            ExchangeUnavailableError: Rows came, and none that can belong to the page: that is no word on whether there
                are any.
        """
        if number not in self._known:
            window = self._window(number)
            page = await self._fetch(self._series, window)
            found = _opens(page, window, self._series.grid)
            if not found and not self._may_be_all(timestamps_ms(page.rows), window):
                raise ExchangeUnavailableError(self._series.exchange, "the answer does not fit the question")
            self._known[number] = found
        return self._known[number]

    def _may_be_all(self, times: npt.NDArray[np.int64], window: TimeRange) -> bool:
        """Tell whether rows of these times, none of *window*, may come along where it has no bar."""
        goes_on = self._facts.bounds is None or self._facts.bounds.end is None
        before, after = times < to_ms(window.start), times >= to_ms(window.end)
        return bool(np.all((before & self._facts.windows_only) | (after & goes_on)))

    async def first_with_rows(self) -> int | None:
        """Return the first page with rows; None where no page was found to have any.

        Where a page has rows, the later ones are taken to have some, up to the end of the market.
        """
        first = await self._first_up_to(self._count)
        if first < self._count:
            return first
        # The newest page is empty: it ended long ago, perhaps before all pages that were looked at.
        any_with_rows = await self._any_with_rows()
        return None if any_with_rows is None else await self._first_up_to(any_with_rows)

    async def last_with_rows(self) -> int | None:
        """Return the last page with rows; None where no page was found to have any."""
        empty_from, step = self._count, 1
        while empty_from > 0:
            number = max(empty_from - step, 0)
            if await self.opens(number):
                return await self._last_between(number, empty_from)
            empty_from, step = number, step * 2
        any_with_rows = await self._any_with_rows()
        if any_with_rows is None:
            return None
        return await self._last_between(any_with_rows, min(each for each in self._known if each > any_with_rows))

    async def _first_up_to(self, known: int) -> int:
        """Return the first page with rows, given that page *known* has some or is past the last."""
        low, high = 0, known
        while low < high:
            middle = (low + high) // 2
            if await self.opens(middle):
                high = middle
            else:
                low = middle + 1
        return low

    async def _last_between(self, low: int, high: int) -> int:
        """Return the last page with rows, given that *low* has some and *high* has none or is past the last."""
        while high - low > 1:
            middle = (low + high) // 2
            if await self.opens(middle):
                low = middle
            else:
                high = middle
        return low

    async def _any_with_rows(self) -> int | None:
        others = [number for number in reversed(range(self._count)) if number not in self._known]
        for number in others[:_LONELY_PAGES_MAX]:
            if await self.opens(number):
                return number
        return None

    def _window(self, number: int) -> TimeRange:
        if self._bars is None:
            raise ValueError(f"{self._series} has no page {number}")
        start = self._series.grid.advance(self._bars.start, number * self._limit)
        return TimeRange(start, min(self._series.grid.advance(start, self._limit), self._bars.end))


def _opens(page: Page, wanted: TimeRange, grid: Timeframe) -> list[datetime]:
    times = timestamps_ms(page.rows)
    good = grid.on_grid(times) & (times >= to_ms(wanted.start)) & (times < to_ms(wanted.end))
    return [from_ms(time) for time in sorted(times[good].tolist())]
