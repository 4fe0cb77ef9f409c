"""Markets: their names, and what becomes of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from cb_trade_conformance.stand import stand
from cb_trade_conformance.subject import BUSY, OTHER, PRESENT, YOUNG, Subject
from cb_trade_conformance.trap import Caught, DoesNotApply
from cb_trade_data.errors import UnknownSymbolError
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_simulator.faults import Delisting, Relisting

_TODAY: Final = PRESENT.replace(hour=0, minute=0, second=0)
_DAY: Final = timedelta(days=1)


async def unknown_symbol(subject: Subject) -> None:
    """A symbol that the exchange does not have is refused, and no bar of it asked for."""
    past = subject.past()
    async with stand(subject, past.now) as exchange:
        try:
            await exchange.ask(exchange.series("NO/SUCH"), past.range)
        except UnknownSymbolError:
            exchange.must_have_cost(0)
            return
    raise Caught("it was answered")


async def vanished(subject: Subject) -> None:
    """A market that vanished since its name was read is unknown, in whatever words the exchange says so."""
    past = subject.past()
    async with stand(subject, past.now) as exchange:
        series = exchange.series(OTHER)
        await exchange.source.market(series)
        exchange.simulator.inject(Delisting(OTHER, past.range.start, vanishes=True))
        try:
            await exchange.source.fetch_page(series, lambda: past.range, int)
        except UnknownSymbolError:
            exchange.must_have_cost(1)
            return
    raise Caught("a page was answered")


async def names(subject: Subject) -> None:
    """The exchange's own name of a market leads back to its symbol, so that a renamed one is recognised."""
    async with stand(subject, PRESENT) as exchange:
        found = set()
        for symbol in (BUSY, OTHER, *filter(None, [subject.perpetual])):
            name = (await exchange.source.market(exchange.series(symbol))).id
            back = await exchange.source.symbol_of(subject.facts.id, name)
            if back != symbol:
                raise Caught(f"the name {name!r} of {symbol} leads to {back}")
            found.add(name)
        if len(found) < 2 + (subject.perpetual is not None):
            raise Caught(f"two markets have one name: {', '.join(sorted(found))}")
        if (stranger := await exchange.source.symbol_of(subject.facts.id, "NOSUCH")) is not None:
            raise Caught(f"a name that the exchange does not have leads to {stranger}")


async def perpetual(subject: Subject) -> None:
    """A perpetual has its own bars, and not those of the spot market of its name."""
    if subject.perpetual is None:
        raise DoesNotApply("it has no perpetuals")
    past = subject.past()
    async with stand(subject, past.now) as exchange:
        for symbol in (subject.perpetual, BUSY):
            (await exchange.ask(exchange.series(symbol), past.range)).must_be_the_truth()


async def delisted(subject: Subject) -> None:
    """After the last bar of a market that is traded no more comes an end, and no hole."""
    end = _TODAY - 12 * _DAY  # for a week it might only be halted
    async with stand(subject, PRESENT) as exchange:
        exchange.simulator.inject(Delisting(YOUNG, end))
        answer = await exchange.ask(exchange.series(YOUNG, "1h"), TimeRange(end - 3 * _DAY, end + 3 * _DAY))
        answer.must_be_the_truth()
        if answer.states != [State.HELD, State.DELISTED]:
            raise Caught(f"it is told to be {', '.join(answer.states)}")


async def relisted(subject: Subject) -> None:
    """A name that comes back for another market has the bars of both, with the hole between them."""
    end, begin = _TODAY - 6 * _DAY, _TODAY - 3 * _DAY
    async with stand(subject, PRESENT) as exchange:
        exchange.simulator.inject(Relisting(YOUNG, end, begin))
        answer = await exchange.ask(exchange.series(YOUNG, "1h"), TimeRange(end - 3 * _DAY, _TODAY))
        answer.must_hide_nothing(State.EMPTY)
