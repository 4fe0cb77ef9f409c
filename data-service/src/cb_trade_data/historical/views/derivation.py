"""Bars put together from shorter ones as these come: only those of which nothing is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from cb_trade_data.historical.rebuilding import folded
from cb_trade_data.historical.views.known_bars import KnownBars
from cb_trade_data.models.instants import to_ms, to_ms_ceil
from cb_trade_data.models.market import OHLCV_SCHEMA, rows_before, timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment


class Derivation:
    """Takes in what is known of time and the rows of it, each in order, the former never after the latter.

    It holds on to one bar, the last one, until it is known to its end: the rows that come next may belong to it, too.
    """

    def __init__(self, timeframe: Timeframe, bars: TimeRange) -> None:
        """*bars*: the time of those to make, with edges on the grid."""
        self._timeframe = timeframe
        self._bars = bars
        self._known = KnownBars(timeframe, bars.start)
        self._failures: list[Segment] = []  # of bars that are not known to their end
        self._unsettled: list[TimeRange] = []  # since the last bar
        self._last = OHLCV_SCHEMA.empty_table()

    def see(self, segments: Iterable[Segment], failures: Iterable[Segment]) -> tuple[list[Segment], list[Segment]]:
        """Return what is known of bars by what is known of their parts; see `Receipt.enter`."""
        known = list(self._known.add(segments))
        for segment in known:
            if not segment.is_final:
                _add(self._unsettled, segment.range)
        told_until = self._timeframe.floor(self._known.known_until)
        told: list[Segment] = []
        pending: list[Segment] = []
        for failure in self._whole(sorted([*self._failures, *failures], key=lambda each: each.range)):
            start, end = failure.range.start, failure.range.end
            if start < told_until:
                told.append(replace(failure, range=TimeRange(start, min(end, told_until))))
            if told_until < end:
                pending.append(replace(failure, range=TimeRange(max(start, told_until), end)))
        self._failures = pending
        return known, told

    @property
    def unsaid(self) -> TimeRange | None:
        """The end of the time of which nothing was told; None where there is none."""
        known_until = self._known.known_until
        return TimeRange(known_until, self._bars.end) if known_until < self._bars.end else None

    def add(self, rows: pa.Table) -> pa.Table:
        """Return the bars that are whole with *rows*: all, if any, that follow, in the time that is known so far."""
        made = folded(pa.concat_tables([self._last, rows]) if self._last.num_rows else rows, self._timeframe)
        count = rows_before(made, to_ms_ceil(self._timeframe.floor(self._known.known_until)))
        self._last = made.slice(count)
        return self._settled(made.slice(0, count))

    def _settled(self, made: pa.Table) -> pa.Table:
        """Return those of *made* of which nothing is missing, and forget what is known of the time before their end."""
        if made.num_rows == 0 or not self._unsettled:
            return made
        opens = timestamps_ms(made)
        starts = [to_ms(part.start) for part in self._unsettled]
        ends = [to_ms(part.end) for part in self._unsettled]
        is_unsettled = np.searchsorted(starts, opens, side="right") > np.searchsorted(ends, opens, side="right")
        self._unsettled = self._unsettled[int(np.searchsorted(ends, opens[-1], side="right")) :]
        return made.filter(pa.array(~is_unsettled)) if is_unsettled.any() else made

    def _whole(self, failures: Iterable[Segment]) -> Iterator[Segment]:
        """Yield *failures*, which are in order, of whole bars; of two in one bar the first."""
        end = self._bars.start
        for failure in failures:
            start = max(end, self._timeframe.floor(failure.range.start))
            end = max(end, self._timeframe.ceil(failure.range.end))
            if start < end:
                yield replace(failure, range=TimeRange(start, end))


def _add(parts: list[TimeRange], part: TimeRange) -> None:
    """Add *part* to those before it, as one with the last of them where it touches that."""
    if parts and parts[-1].end == part.start:
        part = TimeRange(parts.pop().start, part.end)
    parts.append(part)
