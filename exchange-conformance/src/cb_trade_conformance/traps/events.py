"""Trades and funding: what happens at any time, several at once, and on no grid."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cb_trade_conformance.stand import Stand, stand
from cb_trade_conformance.subject import QUIET, Subject
from cb_trade_conformance.trap import Caught, DoesNotApply
from cb_trade_conformance.traps.event_ranges import (
    NOW,
    START,
    few_rows,
    on_each,
    over,
    over_half_a_page,
    pages_asked_for,
    paging_of,
    some_rows,
    some_trades,
)
from cb_trade_data.exchange_source.facts import TimeUnit
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_simulator.faults import Bursting

if TYPE_CHECKING:
    from cb_trade_conformance.answer import Answer
    from cb_trade_data.exchange_source.facts import EventPaging

_MINUTE: Final = timedelta(minutes=1)


async def trades(subject: Subject) -> None:
    """Trades over several pages come once each, in order, for the fewest pages."""

    async def trial(exchange: Stand, series: Series) -> None:
        paging = paging_of(exchange, series)
        answer = await exchange.ask(series, some_trades(paging))
        answer.must_be_the_truth()
        _must_have_cost_the_fewest(exchange, answer, paging)

    await on_each(subject, trial, Kind.TRADES)


async def trades_at_once(subject: Subject) -> None:
    """Trades of one millisecond come whole across the border of a page.

    Of more than a page holds they come where the exchange can be asked by id; elsewhere they, and no others, are told
    as a failure.
    """
    if Kind.TRADES not in subject.facts.spot_events:
        raise DoesNotApply("it serves no trades of spot markets")
    part = TimeRange(START, START + 5 * _MINUTE)
    for share, minutes in ((0.5, (0.5, 1.5, 2.5, 3.5)), (1.5, (2.5,))):
        async with stand(subject, NOW) as exchange:
            series = exchange.series(QUIET, None, Kind.TRADES)
            paging = paging_of(exchange, series)
            for minute in minutes:
                at_once = round(share * paging.page_limit_rows)
                exchange.simulator.inject(Bursting(QUIET, START + minute * _MINUTE, at_once))
            answer = await exchange.ask(series, part)
            if share < 1 or paging.id_parameter is not None:
                answer.must_be_the_truth()
            else:
                answer.must_hide_nothing(State.FAILED)
                _must_have_lost_no_more_than(answer, paging.bounds.unit)


async def trades_side(subject: Subject) -> None:
    """The side of a trade is that of the order that met another one, its taker's, whatever the exchange tells."""

    async def trial(exchange: Stand, series: Series) -> None:
        answer = await exchange.ask(series, few_rows(exchange, series))
        told = {number: said for _, number, said, *_ in answer.rows}
        wrong = sum(told.get(number, side) != side for _, number, side, *_ in answer.truth)
        if wrong:
            raise Caught(f"of {len(answer.truth)} trades, {wrong} are told with the side of their maker")
        answer.must_be_the_truth()

    await on_each(subject, trial, Kind.TRADES)


async def funding(subject: Subject) -> None:
    """Funding rates of more than a page, or of all that is kept, come once each as they were booked."""

    async def trial(exchange: Stand, series: Series) -> None:
        answer = await exchange.ask(series, over(some_rows(exchange, series)))
        answer.must_be_the_truth()
        _must_have_cost_the_fewest(exchange, answer, paging_of(exchange, series))

    await on_each(subject, trial, Kind.FUNDING_RATE)


async def funding_missing(subject: Subject) -> None:
    """A rate that an answer leaves out is a gap, although no grid says when it was due, and comes when asked again."""

    async def trial(exchange: Stand, series: Series) -> None:
        part = over_half_a_page(exchange, series)
        exchange.simulator.inject("missing@fundingRate")
        answer = await exchange.ask(series, part)
        answer.must_hide_nothing(State.EMPTY)
        if not answer.receipt.gaps:
            raise Caught("nothing was left out, so that nothing could be seen")
        (await exchange.ask(series, part, refresh=True)).must_be_the_truth()

    await on_each(subject, trial, Kind.FUNDING_RATE)


async def window_ends(subject: Subject) -> None:
    """Ranges that begin and end on a row's very millisecond hold the first one and not the last one.

    The first range has almost as many rows as a page: with a neighbour more, it would be two. The second one begins
    where that ends, and ends right behind a row.
    """

    async def trial(exchange: Stand, series: Series) -> None:
        rows, paging = some_rows(exchange, series), paging_of(exchange, series)
        begin_ms, end_ms = rows[0][0], rows[min(paging.page_limit_rows, len(rows)) - 1][0]
        answer = await exchange.ask(series, TimeRange(from_ms(begin_ms), from_ms(end_ms)))
        answer.must_be_the_truth()
        calls = pages_asked_for(exchange)
        # Asked by the second, an exchange tells neighbours of the same one.
        if calls > 1 and paging.bounds.unit is not TimeUnit.SECONDS:
            raise Caught(f"{calls} calls for {len(answer.truth)} rows, which fit a page")
        behind = [row for row in rows if row[0] >= end_ms]
        (await exchange.ask(series, over(behind[:3]))).must_be_the_truth()

    await on_each(subject, trial, Kind.TRADES, Kind.FUNDING_RATE)


def _must_have_lost_no_more_than(answer: Answer, unit: TimeUnit) -> None:
    """Raise `Caught` if a gap is longer than what cannot be divided: a second, or a millisecond."""
    longest = timedelta(seconds=1) if unit is TimeUnit.SECONDS else timedelta(milliseconds=1)
    for gap in answer.receipt.gaps:
        if gap.range.duration > longest:
            raise Caught(f"{gap.range} is told to be {gap.state}, for the sake of {longest} of it")


def _must_have_cost_the_fewest(exchange: Stand, answer: Answer, paging: EventPaging) -> None:
    """Raise `Caught` unless there were as many calls as pages that each end with a whole millisecond."""
    times = [row[0] for row in answer.truth]
    if paging.newest_first:
        times = [-time for time in reversed(times)]
    pages, first = 1, 0
    while first + paging.page_limit_rows <= len(times):
        border = times[first + paging.page_limit_rows - 1]
        first = max(first + 1, times.index(border, first))
        pages += 1
    if (calls := pages_asked_for(exchange)) != pages:
        raise Caught(f"{calls} calls, where {pages} would do")
