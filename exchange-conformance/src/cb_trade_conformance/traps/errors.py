"""Answers that are none: the call is made again, and nothing is taken for silence."""

from __future__ import annotations

from typing import Final

from cb_trade_conformance.stand import CANDLES, stand
from cb_trade_conformance.subject import BUSY, OTHER, Subject
from cb_trade_conformance.trap import Caught
from cb_trade_data.models.time_range import TimeRange
from cb_trade_simulator.faults import BodyFault

# What exchanges say instead of candles, and CCXT reads silence out of.
_NO_CANDLES: Final = (
    "{}", "null", "0", '"maintenance"', "[null]", '{"status":"maintenance"}', '{"result":{}}', '{"candles":null}',
    '{"code":"0"}', '{"code":0,"result":{}}', '{"error":[],"result":{}}', '{"retCode":0,"result":{}}',
)  # fmt: skip
_WAIT_SECS: Final = 60
# Slow enough to be seen on any machine: the wait lasts 3 s.
_UNHURRIED: Final = 20.0


async def one_call_more(subject: Subject, fault: str) -> None:
    """A page that meets *fault* once costs one call more and no bar."""
    past = subject.past()
    async with stand(subject, past.now) as exchange:
        exchange.simulator.inject(fault)
        answer = await exchange.ask(exchange.series(BUSY), past.range)
        answer.must_be_the_truth()
        exchange.must_have_cost(2)


async def no_candles(subject: Subject) -> None:
    """JSON under an HTTP 200 that lacks the list of candles is not taken for an empty one."""
    past = subject.past(5 * len(_NO_CANDLES))
    async with stand(subject, past.now) as exchange:
        series = exchange.series(OTHER)
        for number, body in enumerate(_NO_CANDLES):
            start = series.grid.advance(past.range.start, 5 * number)
            exchange.simulator.inject(BodyFault(body, "application/json"))
            try:
                answer = await exchange.ask(series, TimeRange(start, series.grid.advance(start, 5)))
                answer.must_be_the_truth()
            except Caught as caught:
                raise Caught(f"{body}: {caught}") from caught


async def retry_after(subject: Subject) -> None:
    """After "too many requests" the next call comes no sooner than the exchange said."""
    past = subject.past()
    async with stand(subject, past.now, speed=_UNHURRIED) as exchange:
        exchange.simulator.inject(f"429={_WAIT_SECS}")
        answer = await exchange.ask(exchange.series(BUSY), past.range)
        answer.must_be_the_truth()
        first, second, *_ = exchange.simulator.calls.times(CANDLES)
        waited_secs = (second - first) * _UNHURRIED
        if waited_secs < _WAIT_SECS:
            raise Caught(f"called again after {waited_secs:.0f} of {_WAIT_SECS} s")
