"""Pages of trades and funding that cannot be quite true: nothing of them is delivered, and nothing else lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cb_trade_conformance.stand import Stand
from cb_trade_conformance.trap import Caught, DoesNotApply
from cb_trade_conformance.traps.event_ranges import (
    DAY,
    between,
    event_shapes,
    few_rows,
    on_each,
    over_a_page,
    over_half_a_page,
    some_rows,
)
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_simulator.faults import BodyFault

if TYPE_CHECKING:
    from cb_trade_conformance.subject import Subject
    from cb_trade_simulator.faults import Fault

_KINDS: Final = (Kind.TRADES, Kind.FUNDING_RATE)
# What exchanges say instead of rows.
_NO_LISTS: Final = ("{}", "null", '{"error":[],"result":{}}', '{"retCode":0,"result":{}}', '{"code":"0"}')


async def spoilt_page(subject: Subject, fault: str, is_full: bool) -> None:
    """A page that *fault* spoils once, perhaps a full one, loses no row."""

    async def trial(exchange: Stand, series: Series) -> None:
        part = over_a_page(exchange, series) if is_full else over_half_a_page(exchange, series)
        _spoil_next_page(exchange, fault)
        (await exchange.ask(series, part)).must_be_the_truth()

    await on_each(subject, trial, *_KINDS)


async def other_unit(subject: Subject) -> None:
    """Times in another unit are believed of no row."""
    if all(shape.iso_time for shape in event_shapes(subject).values()):
        raise DoesNotApply("it tells times as text")
    await spoilt_page(subject, "unit", is_full=False)


async def stray(subject: Subject) -> None:
    """Rows of the day before and of the day after are neither delivered nor stored."""

    async def trial(exchange: Stand, series: Series) -> None:
        part = few_rows(exchange, series)
        _spoil_next_page(exchange, "stray")
        (await exchange.ask(series, part)).must_be_the_truth()
        for days in (-DAY, DAY):  # where such a row would have been put
            (await exchange.ask(series, TimeRange(part.start + days, part.end + days))).must_be_the_truth()

    await on_each(subject, trial, *_KINDS)


async def empty_lie(subject: Subject) -> None:
    """An empty answer where there are rows is doubt and no absence: asked again, the exchange is believed."""

    async def trial(exchange: Stand, series: Series) -> None:
        # Once some are known, no listing is looked for.
        await exchange.ask(series, between(some_rows(exchange, series)[:10]))
        part = few_rows(exchange, series)
        _spoil_next_page(exchange, "empty")
        answer = await exchange.ask(series, part)
        answer.must_hide_nothing(State.EMPTY)
        if not answer.receipt.gaps:
            raise Caught("nothing was left out, so that nothing could be seen")
        (await exchange.ask(series, part, refresh=True)).must_be_the_truth()

    await on_each(subject, trial, *_KINDS)


async def no_list(subject: Subject) -> None:
    """JSON under an HTTP 200 that lacks the list of rows is not taken for an empty one."""

    async def trial(exchange: Stand, series: Series) -> None:
        rows = some_rows(exchange, series)
        for number, body in enumerate(_NO_LISTS):
            _spoil_next_page(exchange, BodyFault(body, "application/json"))
            try:
                (await exchange.ask(series, between(rows[10 * number : 10 * number + 10]))).must_be_the_truth()
            except Caught as caught:
                raise Caught(f"{body}: {caught}") from caught

    await on_each(subject, trial, *_KINDS)


def _spoil_next_page(exchange: Stand, fault: Fault | str) -> None:
    for endpoint, shape in event_shapes(exchange.subject).items():
        if fault == "unit" and shape.iso_time:
            continue
        if isinstance(fault, str):
            exchange.simulator.inject(f"{fault}@{endpoint}")
        else:
            exchange.simulator.inject(fault, endpoint)
