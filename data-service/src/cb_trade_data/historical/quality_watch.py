"""Watching how good the bars are that people ask for: every five minutes, and never a row of them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Final

import structlog

from cb_trade_data.errors import CbTradeError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.historical.quality_days import days_of
from cb_trade_data.models.instants import utc_now
from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.evidence import unit_of
from cb_trade_data.quality.scores import Measures, Scores
from cb_trade_data.storage.coverage import ABSENT, Segment, State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import NOTHING_KNOWN
from cb_trade_data.storage.stored_partition import Outline

_log = structlog.get_logger(__name__)

_SERIES_MAX: Final = 200
_LATELY_SECS: Final = 24 * 3600.0
_EVERY_SECS: Final = 300.0
_LOOKED_BACK: Final = timedelta(days=30)


class AskedSeries:
    """Remembers which series of bars were asked for within the last day: the 200 for which that was last."""

    def __init__(self, now_secs: Callable[[], float] = time.monotonic) -> None:
        """*now_secs* returns the seconds of a clock that is never set; which one does not matter."""
        self._now_secs = now_secs
        self._asked_secs: OrderedDict[Series, float] = OrderedDict()

    def note(self, series: Series) -> None:
        """Remember that somebody asks for *series*, now."""
        if series.timeframe is None:
            return
        self._asked_secs[series] = self._now_secs()
        self._asked_secs.move_to_end(series)
        if len(self._asked_secs) > _SERIES_MAX:
            self._asked_secs.popitem(last=False)

    def lately(self) -> list[Series]:
        """Return those that were asked for lately, and forget the others."""
        since_secs = self._now_secs() - _LATELY_SECS
        for series in [each for each, secs in self._asked_secs.items() if secs < since_secs]:
            del self._asked_secs[series]
        return list(self._asked_secs)


@dataclass(frozen=True)
class WatchedQuality:
    """How good the last 30 days of some bars are, as far as anybody asked for them.

    Attributes:
        gap_bars: How many bars were asked for, did not come, and may still come: the exchange failed, or has answered
            without any bar since the newest held one. Where it has answered without some before that, or three times,
            none is missing.
        bars_behind: How many bars after the newest held one were asked for, whatever came: who trades there wants to
            know that nobody does.
    """

    scores: Scores
    gap_bars: int
    bars_behind: int

    @classmethod
    def of(
        cls, outlines: Sequence[tuple[TimeRange, Outline]], absences: Sequence[Segment], grid: Timeframe
    ) -> WatchedQuality:
        """Reckon it; of many segments that takes long: call it off the event loop.

        Args:
            outlines: The parts of the time, oldest first and disjoint, each with what is known around it.
            absences: When the market was not listed.
        """
        # What nobody asked for is not missing: neither what coverage does not mention, nor what the exchange does not
        # serve any more.
        known = [list(outline.coverage.under(absences).within(part)) for part, outline in outlines]
        held_until = max((each.range.end for each in chain(*known) if each.state is State.HELD), default=None)
        measures = Measures()
        for (part, outline), segments in zip(outlines, known, strict=True):
            due = [each for each in segments if not _is_quiet(each, held_until)]
            measures = sum((day.measures for day in days_of(part, due, grid, outline.evidence)), measures)
        bars_behind = sum(
            grid.bars_in(each.range)
            for each in chain(*known)
            if each.state not in ABSENT and (held_until is None or each.range.start >= held_until)
        )
        return cls(
            Scores.of(measures, None if held_until is None else bars_behind),
            measures.expected_bars - measures.held_bars,
            bars_behind,
        )


class QualityWatch:
    """Looks at the series that were asked for lately, one after the other; `figures` are those of its last look."""

    def __init__(
        self,
        storage: IStorageManager,
        source: IDataSourceConnector,
        asked: AskedSeries,
        local_now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._storage = storage
        self._source = source
        self._asked = asked
        self._local_now = local_now
        self.figures: Mapping[Series, WatchedQuality] = {}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look every five minutes, for as long as the context lasts."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(_EVERY_SECS)
                await self.look()

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def look(self) -> None:
        """Reckon the figures of all series that were asked for lately; of one that cannot be read there are none."""
        figures: dict[Series, WatchedQuality] = {}
        for series in self._asked.lately():
            try:
                figures[series] = await self._quality(series)
            except CbTradeError as error:
                _log.warning("quality.unknown", series=str(series), code=error.code, error=str(error))
            except Exception:  # noqa: BLE001 - told as ours, and the others are looked at all the same
                _log.exception("quality.defect", series=str(series))
        self.figures = figures

    async def _quality(self, series: Series) -> WatchedQuality:
        facts = await self._storage.facts(series) or NOTHING_KNOWN
        outlines = [
            (part, await self._storage.outline(partition))
            for partition, part in partitions_of(series, self._lately_closed(series))
        ]
        return await asyncio.to_thread(WatchedQuality.of, outlines, facts.absences, series.grid)

    def _lately_closed(self, series: Series) -> TimeRange:
        """Return the last 30 days before the end of the newest closed bar, from the beginning of the first of them."""
        now = self._source.known_now(series.exchange) or self._local_now()
        margin = self._source.facts(series.exchange).settle_margin_of(series)
        end = series.grid.closed_until(now, margin)
        return TimeRange(unit_of(series.grid).floor(end - _LOOKED_BACK), end)


def _is_quiet(segment: Segment, held_until: datetime | None) -> bool:
    """Tell whether the exchange has said that nothing is there, and gone on with later bars.

    It may still say otherwise, some publish late, but nobody asks a quiet market for the same minute for ever.
    """
    return segment.state is State.EMPTY and held_until is not None and segment.range.end <= held_until
