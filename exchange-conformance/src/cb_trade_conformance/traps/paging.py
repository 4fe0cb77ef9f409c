"""How a page is asked for, and what its silence proves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cb_trade_conformance.stand import stand
from cb_trade_conformance.subject import BUSY, OTHER, PRESENT, QUIET, YOUNG, Subject
from cb_trade_conformance.trap import Caught, DoesNotApply
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import State

_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
# What looking for a listing may cost besides.
_LISTING_CALLS_MAX: Final = 12
# OKX answers for so many of the newest bars at another address than for all others.
_NEWEST_ELSEWHERE_BARS: Final = 1440


async def address(subject: Subject) -> None:
    """Every call goes to the base address of the settings, and to one that the exchange has."""
    past = subject.past()
    async with stand(subject, past.now) as exchange:
        answer = await exchange.ask(exchange.series(BUSY), past.range)
        if not exchange.simulator.calls.total:
            raise Caught("it called somebody else than the address that it was given")
        answer.must_be_the_truth()
        exchange.must_have_cost(0, endpoint="unknown")


async def page_borders(subject: Subject) -> None:
    """Three pages in a row, or as much as the exchange keeps, are the truth for one call each."""
    page = subject.facts.page_limit_bars
    past = subject.past(2 * page + 7)
    async with stand(subject, past.now) as exchange:
        series = exchange.series(BUSY)
        answer = await exchange.ask(series, past.range)
        answer.must_be_the_truth()
        exchange.must_have_cost(-(-series.grid.bars_in(past.range) // page))


async def window_ends(subject: Subject) -> None:
    """Single bars, one after the other: each comes for one call, and no neighbour in its place."""
    past = subject.past(3)
    async with stand(subject, past.now) as exchange:
        series = exchange.series(OTHER)
        for number in range(3):
            exchange.simulator.calls.reset()
            bar = series.grid.bar(past.range.start + number * _MINUTE)
            (await exchange.ask(series, bar)).must_be_the_truth()
            exchange.must_have_cost(1)


async def every_timeframe(subject: Subject) -> None:
    """Of each timeframe the newest bars are the truth."""
    async with stand(subject, subject.present) as exchange:
        for timeframe in subject.facts.timeframes:
            if timeframe not in exchange.simulator.timeframes:
                continue
            series = exchange.series(BUSY, timeframe)
            bars = 20 if series.grid.duration < _DAY else 3
            end = series.grid.floor(subject.present)
            try:
                answer = await exchange.ask(series, TimeRange(series.grid.advance(end, -bars), end))
                answer.must_be_the_truth()
            except Caught as caught:
                raise Caught(f"{timeframe}: {caught}") from caught


async def newest_bars(subject: Subject) -> None:
    """A range that reaches into the future ends with the last bar that is closed; the open one is not delivered."""
    async with stand(subject, PRESENT) as exchange:
        answer = await exchange.ask(exchange.series(BUSY), TimeRange(PRESENT - 60 * _MINUTE, PRESENT + _DAY))
        answer.must_be_the_truth()


async def newest_elsewhere(subject: Subject) -> None:
    """Around the bar of 1,440 minutes ago, by the machine's clock, there is no seam."""
    if subject.facts.history_bars is not None:
        raise DoesNotApply(f"it keeps only its newest {subject.facts.history_bars} bars")
    now = datetime.now(UTC)
    border = Timeframe.parse("1m").floor(now) - _NEWEST_ELSEWHERE_BARS * _MINUTE
    async with stand(subject, now) as exchange:
        part = TimeRange(border - 40 * _MINUTE, border + 40 * _MINUTE)
        (await exchange.ask(exchange.series(BUSY), part)).must_be_the_truth()


async def long_ago(subject: Subject) -> None:
    """Bars of years ago are delivered, or said to be out of reach; they are not taken for absent."""
    start = PRESENT.replace(hour=0, minute=0, second=0) - 2 * 365 * _DAY
    async with stand(subject, PRESENT) as exchange:
        answer = await exchange.ask(exchange.series(OTHER), TimeRange(start, start + 30 * _MINUTE))
        answer.must_hide_nothing(State.UNAVAILABLE)


async def listing(subject: Subject) -> None:
    """The time before the first bar is told as such, for one page and a short search, and none of the bars after it."""
    if subject.facts.history_bars is not None:
        raise DoesNotApply(f"it keeps only its newest {subject.facts.history_bars} bars")
    async with stand(subject, PRESENT) as exchange:
        series, listed = exchange.series(YOUNG, "5m"), exchange.simulator.listed_at(YOUNG)
        answer = await exchange.ask(series, TimeRange(listed - 40 * _DAY, listed + _DAY))
        answer.must_be_the_truth()
        if answer.states != [State.UNLISTED, State.HELD]:
            raise Caught(f"it is told to be {', '.join(answer.states)}")
        pages = -(-(_DAY // series.grid.duration) // subject.facts.page_limit_bars)
        exchange.must_have_cost(1 + pages, 1 + pages + _LISTING_CALLS_MAX)


async def outage(subject: Subject) -> None:
    """A time in which nobody traded at all is a hole, and no bar is put there."""
    if not subject.simulated.outages:
        raise DoesNotApply("its simulated exchange never stands still")
    last = subject.simulated.outages[-1]
    grid = Timeframe.parse("5m")
    start = grid.floor(last.start) - 10 * grid.duration
    past = subject.past((last.end - start) // grid.duration + 10, "5m", start)
    async with stand(subject, past.now) as exchange:
        answer = await exchange.ask(exchange.series(OTHER, "5m"), past.range)
        answer.must_hide_nothing(State.EMPTY)


async def quiet_minutes(subject: Subject) -> None:
    """Minutes without a trade are flat bars or none, as the exchange has it, and no failures."""
    past = subject.past(120)
    async with stand(subject, past.now) as exchange:
        (await exchange.ask(exchange.series(QUIET), past.range)).must_be_the_truth()
