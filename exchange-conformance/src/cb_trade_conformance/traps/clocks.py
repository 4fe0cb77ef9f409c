"""Clocks: bars are closed by the exchange's, whatever ours shows."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from cb_trade_conformance.stand import stand
from cb_trade_conformance.subject import BUSY, PRESENT, Subject
from cb_trade_conformance.trap import DoesNotApply
from cb_trade_data.models.time_range import TimeRange

_HOUR: Final = timedelta(hours=1)


async def our_clock(subject: Subject, minutes_ahead: int) -> None:
    """With our clock so far off, a range up to the present ends with the bar that the exchange closed last."""
    async with stand(subject, PRESENT, we_are_ahead=timedelta(minutes=minutes_ahead)) as exchange:
        await exchange.source.now(subject.facts.id)
        if exchange.source.known_now(subject.facts.id) is None:
            raise DoesNotApply("it tells nobody the time")
        answer = await exchange.ask(exchange.series(BUSY), TimeRange(PRESENT - _HOUR / 2, PRESENT + 2 * _HOUR))
        answer.must_be_the_truth()
