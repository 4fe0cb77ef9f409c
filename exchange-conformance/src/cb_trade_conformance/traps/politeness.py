"""How often an exchange is asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from cb_trade_conformance.stand import CANDLES, Stand, stand
from cb_trade_conformance.subject import BUSY, OTHER, Subject
from cb_trade_conformance.trap import Caught
from cb_trade_data.exchange_source.pacer import Pacer
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange

if TYPE_CHECKING:
    from cb_trade_simulator.limits import Allowance

# Longer than any exchange counts.
_WATCHED_SECS: Final = 700.0


async def markets_once(subject: Subject) -> None:
    """Two that ask at once for two markets cost a page each, and no other question is asked twice."""
    past = subject.past()
    async with stand(subject, past.now) as exchange:
        answers = await asyncio.gather(*(exchange.ask(exchange.series(symbol), past.range) for symbol in (BUSY, OTHER)))
        for answer in answers:
            answer.must_be_the_truth()
        exchange.must_have_cost(2)
        calls = exchange.simulator.calls
        asked = Counter(
            (path, *sorted(query.items()))
            for endpoint in calls.by_endpoint
            if endpoint != CANDLES
            for path, query in zip(calls.paths(endpoint), calls.queries(endpoint), strict=True)
        )
        for question, times in asked.items():
            if times > 1:
                raise Caught(f"{question[0]} was asked for {times} times")


async def pace(subject: Subject) -> None:
    """The pace of the facts, kept for eleven minutes, stays within what the exchange allows, as the exchange counts.

    What a page of each kind weighs is read at the exchange; time is only added up.
    """
    bars = subject.past(subject.facts.page_limit_bars)
    async with stand(subject, bars.now) as exchange:
        used = exchange.simulator.limits.used
        await exchange.source.market(exchange.series(BUSY))
        markets_used = used.copy()
        for series in _one_of_each(subject, exchange):
            await exchange.source.market(series)
            before = used.copy()
            await exchange.source.fetch_page(series, lambda: _page_of(series, bars.range), int)  # noqa: B023
            for name, weight in (used - before).items():
                allowance = exchange.simulator.limits.allowances.get(name)
                if allowance is not None:
                    _must_allow(subject, allowance, weight, subject.facts.page_cost(series), str(series))
                if series.kind is Kind.OHLCV and markets_used[name] > subject.facts.markets_cost * weight:
                    raise Caught(
                        f"its markets weigh as much as {markets_used[name] / weight:g} pages, "
                        f"not {subject.facts.markets_cost}"
                    )


def _one_of_each(subject: Subject, exchange: Stand) -> list[Series]:
    bars = [exchange.series(symbol) for symbol in filter(None, [BUSY, subject.perpetual])]
    return bars + [
        exchange.series(symbol, None, kind)
        for kind in (Kind.TRADES, Kind.FUNDING_RATE)
        for symbol in subject.symbols_with(kind)
    ]


def _page_of(series: Series, bars: TimeRange) -> TimeRange:
    """Return a window for one page: a minute for what has no bars, which the exchange need not have any more."""
    return bars if series.kind is Kind.OHLCV else TimeRange(bars.start, bars.start + (bars.end - bars.start) / 1000)


def _must_allow(subject: Subject, allowance: Allowance, weight: int, cost: float, what: str) -> None:
    pacer, gauge, now_secs = Pacer(subject.facts.pace, 0.0), allowance.gauge(), 0.0
    while now_secs < _WATCHED_SECS:
        while (wait_secs := pacer.wait_secs(now_secs)) > 0:
            now_secs += wait_secs
        pacer.take(cost)
        if gauge.use(weight, now_secs) > 0:
            raise Caught(f"{what}: a page of weight {weight} is one too many after {now_secs:.1f} s at its pace")
