"""What can be had at all: after listing, before delisting, and among the bars that the exchange still serves. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange, intersect_all, subtract
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.series_facts import NOTHING_KNOWN, SeriesFacts


@dataclass(frozen=True)
class Reach:
    """Where a bar can be asked for: the one place that derives `unlisted`, `delisted` and `unavailable`.

    Attributes:
        facts: What is known of the series.
        horizon: Open time of the oldest bar that the exchange still serves; None where it serves everything.
        reason: Why it serves nothing older.
    """

    facts: SeriesFacts
    horizon: datetime | None = None
    reason: str | None = None

    @classmethod
    def at(cls, now: datetime, exchange: ExchangeFacts, series: Series, facts: SeriesFacts | None) -> Reach:
        """Return the reach into *series* at *now*.

        Args:
            facts: What is known of the series; None where nothing is.
        """
        known = facts or NOTHING_KNOWN
        match series.kind:
            case Kind.OHLCV if exchange.history_bars is not None:
                horizon = series.grid.advance(now, 1 - exchange.history_bars)  # the open bar is one of them
                return cls(known, horizon, f"{exchange.id} serves only its newest {exchange.history_bars} bars")
            case Kind.OHLCV:
                return cls(known)
            case Kind.ORDER_BOOK:
                return cls(known, EVER.end, f"{exchange.id} has no order books of the past")
        paging = exchange.event_paging(series)
        if paging is None or paging.history is None:
            return cls(known)
        horizon = series.grid.ceil(now - paging.history)
        return cls(known, horizon, f"{exchange.id} serves {series.kind} of the last {_days(paging.history)} only")

    def learning(self, facts: SeriesFacts) -> Reach:
        """Return the reach with *facts* taken over as far as they are newer."""
        return replace(self, facts=replace(facts.merged(self.facts), version=facts.version))

    def moved_to(self, horizon: datetime | None) -> Reach:
        """Return the reach with a horizon that is not before *horizon*: it moves one way only."""
        if horizon is None or self.horizon is None:
            return self
        return replace(self, horizon=max(self.horizon, horizon))

    @cached_property
    def absent(self) -> list[TimeRange]:
        """Where the exchange is never asked, not even for a refresh."""
        return [*self.facts.absent, *self.out_of_reach]

    @property
    def out_of_reach(self) -> list[TimeRange]:
        """What the exchange does not serve any more: nothing, or all the time before the horizon."""
        return [] if self.horizon is None else [TimeRange(EVER.start, self.horizon)]

    def is_held(self, coverage: Coverage, wanted: TimeRange) -> bool:
        """Tell whether every bar of *wanted* is stored and counts: then nothing else need be known about it."""
        return coverage.holds(wanted) and self.facts.lists(wanted)

    def askable_part(self, wanted: TimeRange) -> TimeRange | None:
        """Return the part of *wanted* about which the exchange can be asked, or None where that is nothing."""
        listed = self.facts.listed_part(wanted)
        if listed is None or self.horizon is None:
            return listed
        return listed.intersect(TimeRange(self.horizon, EVER.end))

    def known(self, coverage: Coverage, wanted: TimeRange) -> Iterator[Segment]:
        """Yield what is known of *wanted*, oldest first: *coverage*, and what is derived from the reach.

        Before listing and after delisting nothing that is stored counts. What the exchange does not serve any more and
        never answered is unavailable; what it answered while it could stays what it is.
        """
        if self.is_held(coverage, wanted):
            yield from coverage.within(wanted)
            return
        # Cut first: of a month there may be as many segments as minutes, and it may be a page that is wanted.
        here = Coverage(tuple(coverage.within(wanted)))
        segments = list(here.under(self.facts.absences).within(wanted))
        lost = list(intersect_all([wanted], self.out_of_reach))
        if lost:
            answered = [each.range for each in segments if each.state is not State.FAILED]
            unavailable = [Segment(part, State.UNAVAILABLE, reason=self.reason) for part in subtract(lost, answered)]
            failed = [
                replace(each, range=part)
                for each in segments
                if each.state is State.FAILED
                for part in subtract([each.range], lost)
            ]
            segments = [each for each in segments if each.state is not State.FAILED] + failed + unavailable
        yield from sorted(segments, key=lambda segment: segment.range)


def _days(span: timedelta) -> str:
    return f"{span.days} days" if span >= timedelta(days=1) else f"{span // timedelta(minutes=1)} minutes"
