"""Trades and funding: what happens at any time, several at once, and on no grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cb_trade_conformance.stand import Stand, stand
from cb_trade_conformance.subject import QUIET, Subject
from cb_trade_conformance.trap import Caught, DoesNotApply
from cb_trade_data.exchange_source.facts import TimeUnit
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_simulator.faults import Bursting

if TYPE_CHECKING:
    from cb_trade_conformance.answer import Answer
    from cb_trade_data.exchange_source.facts import EventPaging

_START: Final = datetime(2024, 2, 10, 12, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
# A day later, so that exchanges which keep only some time of it serve it.
_NOW: Final = _START + _DAY
# Of a busy market: two or three pages.
_SECS_PER_ROW: Final = 0.24
_FUNDING: Final = TimeRange(_START - 60 * _DAY, _START)
_BEFORE_FUNDING: Final = TimeRange(_FUNDING.start - 2 * _DAY, _FUNDING.start)


async def trades(subject: Subject) -> None:
    """Trades over several pages come once each, in order, for the fewest pages."""
    for symbol in _symbols(subject, Kind.TRADES):
        async with stand(subject, _NOW) as exchange:
            series = exchange.series(symbol, None, Kind.TRADES)
            answer = await exchange.ask(series, _trades(subject, series))
            answer.must_be_the_truth()
            _must_have_cost_the_fewest(answer, _paging(subject, series))


async def trades_at_once(subject: Subject) -> None:
    """Trades of one millisecond come whole across the border of a page.

    Of more than a page holds they come where the exchange can be asked by id; elsewhere they, and no others, are told
    as a failure.
    """
    if Kind.TRADES not in subject.facts.spot_events:
        raise DoesNotApply("it serves no trades of spot markets")
    part = TimeRange(_START, _START + 5 * _MINUTE)
    for share, minutes in ((0.5, (0.5, 1.5, 2.5, 3.5)), (1.5, (2.5,))):
        async with stand(subject, _NOW) as exchange:
            series = exchange.series(QUIET, None, Kind.TRADES)
            paging = _paging(subject, series)
            for minute in minutes:
                at_once = round(share * paging.page_limit_rows)
                exchange.simulator.inject(Bursting(QUIET, _START + minute * _MINUTE, at_once))
            answer = await exchange.ask(series, part)
            if share < 1 or paging.id_parameter is not None:
                answer.must_be_the_truth()
            else:
                answer.must_hide_nothing(State.FAILED)
                _must_have_lost_no_more_than(answer, paging.bounds.unit)


def _must_have_lost_no_more_than(answer: Answer, unit: TimeUnit) -> None:
    """Raise `Caught` if a gap is longer than what cannot be divided: a second, or a millisecond."""
    longest = timedelta(seconds=1) if unit is TimeUnit.SECONDS else timedelta(milliseconds=1)
    for gap in answer.receipt.gaps:
        if gap.range.duration > longest:
            raise Caught(f"{gap.range} is told to be {gap.state}, for the sake of {longest} of it")


async def trades_twice(subject: Subject) -> None:
    """A page that tells a trade twice, or its trades in disorder, costs none of them."""
    for symbol in _symbols(subject, Kind.TRADES):
        for fault in ("duplicate@*", "unsorted@*"):
            async with stand(subject, _NOW) as exchange:
                series = exchange.series(symbol, None, Kind.TRADES)
                await _read_all_but_pages(exchange, series)
                exchange.simulator.inject(fault)
                (await exchange.ask(series, _trades(subject, series))).must_be_the_truth()


async def funding(subject: Subject) -> None:
    """Funding rates of two months come once each with the times at which they were booked, for the fewest pages."""
    for symbol in _symbols(subject, Kind.FUNDING_RATE):
        async with stand(subject, _NOW) as exchange:
            series = exchange.series(symbol, None, Kind.FUNDING_RATE)
            answer = await exchange.ask(series, _served(subject, series, _FUNDING))
            answer.must_be_the_truth()
            _must_have_cost_the_fewest(answer, _paging(subject, series))


async def funding_missing(subject: Subject) -> None:
    """A rate that an answer leaves out is a gap, although no grid says when it was due, and comes when asked again."""
    for symbol in _symbols(subject, Kind.FUNDING_RATE):
        async with stand(subject, _NOW) as exchange:
            series = exchange.series(symbol, None, Kind.FUNDING_RATE)
            await _read_all_but_pages(exchange, series)
            exchange.simulator.inject("missing@*")
            part = _served(subject, series, _FUNDING)
            answer = await exchange.ask(series, part)
            answer.must_hide_nothing(State.EMPTY)
            if not answer.receipt.gaps:
                raise Caught("nothing was left out, so that nothing could be seen")
            (await exchange.ask(series, part, refresh=True)).must_be_the_truth()


def _symbols(subject: Subject, kind: Kind) -> list[str]:
    symbols = subject.symbols_with(kind)
    if not symbols:
        raise DoesNotApply(f"it serves no {kind}")
    return symbols


def _paging(subject: Subject, series: Series) -> EventPaging:
    paging = subject.facts.event_paging(series)
    assert paging is not None, f"nobody asks for {series}"  # noqa: S101 - its symbols are those of the facts
    return paging


def _trades(subject: Subject, series: Series) -> TimeRange:
    return TimeRange(_START, _START + timedelta(seconds=_SECS_PER_ROW) * _paging(subject, series).page_limit_rows)


def _served(subject: Subject, series: Series, part: TimeRange) -> TimeRange:
    """Return what of *part* the exchange still serves, with a day to spare."""
    history = _paging(subject, series).history
    return part if history is None else TimeRange(max(part.start, _NOW - history + _DAY), part.end)


async def _read_all_but_pages(exchange: Stand, series: Series) -> None:
    """Have everything read that is asked for besides pages, so that the next call is one."""
    before = _BEFORE_FUNDING if series.kind is Kind.FUNDING_RATE else TimeRange(_START - _MINUTE, _START)
    await exchange.ask(series, before)


def _must_have_cost_the_fewest(answer: Answer, paging: EventPaging) -> None:
    """Raise `Caught` unless there were as many calls as pages that each end with a whole millisecond."""
    times = [row[0] for row in answer.truth]
    if paging.newest_first:
        times = [-time for time in reversed(times)]
    pages, first = 1, 0
    while first + paging.page_limit_rows <= len(times):
        border = times[first + paging.page_limit_rows - 1]
        first = max(first + 1, times.index(border, first))
        pages += 1
    if answer.receipt.exchange_calls != pages:
        raise Caught(f"{answer.receipt.exchange_calls} calls, where {pages} would do")
