"""Rows that cannot be quite true: none of them is delivered, and none of the others lost."""

from __future__ import annotations

from datetime import timedelta

from cb_trade_conformance.stand import stand
from cb_trade_conformance.subject import BUSY, OTHER, Subject
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State


async def spoilt_page(subject: Subject, fault: str, is_full: bool) -> None:
    """A page that *fault* spoils once, perhaps a full one, loses no bar and does no harm to its neighbours."""
    past = subject.past(subject.facts.page_limit_bars) if is_full else subject.past()
    async with stand(subject, past.now) as exchange:
        series = exchange.series(BUSY)
        exchange.simulator.inject(fault)
        (await exchange.ask(series, past.range)).must_be_the_truth()
        if subject.facts.history_bars is None:  # where a row from outside would have been put
            before = TimeRange(past.range.start - timedelta(days=1), past.range.start - timedelta(hours=23))
            (await exchange.ask(series, before)).must_be_the_truth()


async def null_for_good(subject: Subject) -> None:
    """A bar that never comes with prices is told as a failure, not as an absence, and comes once it has them."""
    past = subject.past()
    async with stand(subject, past.now) as exchange:
        series = exchange.series(BUSY)
        exchange.simulator.inject("null", times=None)
        (await exchange.ask(series, past.range)).must_hide_nothing(State.FAILED)
        exchange.simulator.clear_faults()
        exchange.simulator.advance_clock(timedelta(seconds=1))  # a failure of this very moment counts
        (await exchange.ask(series, past.range)).must_be_the_truth()


async def empty_lie(subject: Subject) -> None:
    """An empty answer where there are bars is doubt and no absence: asked again, the exchange is believed."""
    page = subject.facts.page_limit_bars
    past = subject.past(2 * page)
    async with stand(subject, past.now) as exchange:
        series = exchange.series(OTHER)
        begin = series.grid.advance(past.range.start, 5)
        (await exchange.ask(series, TimeRange(past.range.start, begin))).must_be_the_truth()
        rest = TimeRange(begin, past.range.end)
        exchange.simulator.inject("empty")
        (await exchange.ask(series, rest)).must_hide_nothing(State.EMPTY)
        (await exchange.ask(series, rest, refresh=True)).must_be_the_truth()
