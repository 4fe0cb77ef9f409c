"""What the traps of trades and funding ask for, and of whom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cb_trade_conformance.answer import Row, truth_of
from cb_trade_conformance.stand import CANDLES, Stand, stand
from cb_trade_conformance.trap import Caught, DoesNotApply
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange

if TYPE_CHECKING:
    from cb_trade_conformance.subject import Subject
    from cb_trade_data.exchange_source.facts import EventPaging
    from cb_trade_simulator.venues.row_shape import RowShape

START: Final = datetime(2024, 2, 10, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
# So that exchanges which keep only some time of it serve it, and a row told a day late is none of the future.
NOW: Final = START + 2 * DAY
# Of a busy market: two or three pages.
_SECS_PER_ROW: Final = 0.24
# Before that, a market may have paid at other hours.
_FUNDING_LOOKED_AT: Final = timedelta(days=300)
_FEW: Final = 30

#: What is tried on one series.
Trial = Callable[[Stand, Series], Awaitable[None]]


async def on_each(subject: Subject, trial: Trial, *kinds: Kind) -> None:
    """Try it on a series of each of *kinds*, and of each sort of markets, that the plugin serves: on one stand.

    Raises:
        Caught: With the series on which it showed.
        DoesNotApply: It serves none of them.
    """
    found = [(symbol, kind) for kind in kinds for symbol in subject.symbols_with(kind)]
    if not found:
        raise DoesNotApply(f"it serves no {' and no '.join(kinds)}")
    async with stand(subject, NOW) as exchange:
        for symbol, kind in found:
            series = exchange.series(symbol, None, kind)
            exchange.simulator.calls.reset()
            try:
                await trial(exchange, series)
            except Caught as caught:
                raise Caught(f"{symbol} {kind}: {caught}") from caught
            exchange.simulator.clear_faults()


def event_shapes(subject: Subject) -> dict[str, RowShape]:
    """Return the shapes of the exchange's answers with rows of kinds without bars, by endpoint."""
    return {endpoint: shape for endpoint, shape in subject.simulated.row_shapes.items() if endpoint != CANDLES}


def pages_asked_for(exchange: Stand) -> int:
    """Return how many pages of kinds without bars the exchange was asked for since the trial began."""
    return sum(map(exchange.calls, event_shapes(exchange.subject)))


def paging_of(exchange: Stand, series: Series) -> EventPaging:
    """Return what the plugin says of how *series* is asked for."""
    paging = exchange.subject.facts.event_paging(series)
    assert paging is not None, f"nobody asks for {series}"  # noqa: S101 - its symbols are those of the facts
    return paging


def some_rows(exchange: Stand, series: Series) -> list[Row]:
    """Return what there is, oldest first: two or three pages of trades, a page and a half of funding rates.

    Of funding rates less where the exchange keeps less. Trades begin with the first one of a minute.
    """
    paging = paging_of(exchange, series)
    if series.kind is Kind.TRADES:
        return truth_of(exchange.simulator, series, some_trades(paging))
    kept = _FUNDING_LOOKED_AT if paging.history is None else paging.history - 3 * DAY
    rows = truth_of(exchange.simulator, series, TimeRange(START - kept, START))
    return rows[-(paging.page_limit_rows * 3 // 2) :]


def some_trades(paging: EventPaging) -> TimeRange:
    """Return a range with two or three pages of trades of a busy market."""
    return TimeRange(START, START + timedelta(seconds=_SECS_PER_ROW) * paging.page_limit_rows)


def few_rows(exchange: Stand, series: Series) -> TimeRange:
    """Return a range with far less than a page."""
    return between(some_rows(exchange, series)[:_FEW])


def over_half_a_page(exchange: Stand, series: Series) -> TimeRange:
    """Return a range with the middle row of its page, even if that is full of rows from behind or before the range."""
    return between(some_rows(exchange, series)[: paging_of(exchange, series).page_limit_rows // 2 + _FEW])


def over_a_page(exchange: Stand, series: Series) -> TimeRange:
    """Return a range with some rows more than a page, where there are."""
    return between(some_rows(exchange, series)[: paging_of(exchange, series).page_limit_rows + _FEW])


def between(rows: list[Row]) -> TimeRange:
    """Return the range from behind the first of *rows* to before the last one: there, no row lies on either end."""
    times = sorted({row[0] for row in rows})
    return TimeRange(from_ms((times[0] + times[1] + 1) // 2), from_ms((times[-2] + times[-1] + 1) // 2))


def over(rows: list[Row]) -> TimeRange:
    """Return the range from the very millisecond of the first of *rows* to that of the last one, which it holds."""
    return TimeRange(from_ms(rows[0][0]), from_ms(rows[-1][0] + 1))
