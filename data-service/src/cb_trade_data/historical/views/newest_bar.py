"""The newest derived bar that is whole, by what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cb_trade_data.historical.views.known_bars import KnownBars
from cb_trade_data.historical.views.known_time import known_time
from cb_trade_data.historical.views.newest_row import newest_row
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.partition import EVER, partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State, joined
from cb_trade_data.storage.interfaces import IStorageManager

# A few milliseconds' worth; of a month there may be as many as minutes.
_SEGMENTS_AT_ONCE: Final = 1_024


async def newest_whole_bar(storage: IStorageManager, series: Series) -> datetime | None:
    """Return the open time of the newest bar of a derived *series* of which nothing is missing; None without one.

    Raises:
        StorageUnavailableError: Storage cannot be read.
    """
    grid, end = series.grid, EVER.end
    for partition in reversed(await storage.list_partitions(series.source)):
        segments = (await storage.coverage(partition)).segments
        for last in range(len(segments), 0, -_SEGMENTS_AT_ONCE):
            some = segments[max(0, last - _SEGMENTS_AT_ONCE) : last]
            # All bars that have a part of it, wherever they open and end.
            start, end = grid.floor(some[0].range.start), min(grid.ceil(some[-1].range.end), end)
            if start < end:
                newest = await _newest_in(storage, series, TimeRange(start, end))
                if newest is not None:
                    return newest
                end = start
    return None


async def _newest_in(storage: IStorageManager, series: Series, bars: TimeRange) -> datetime | None:
    known = await known_time(storage, series.source, bars)
    if len(known) > 2 * _SEGMENTS_AT_ONCE:  # a single bar may have a month of them
        held = await asyncio.to_thread(_held, series.grid, bars.start, known)
    else:
        held = _held(series.grid, bars.start, known)
    for span in reversed(held):
        for partition, part in reversed(list(partitions_of(series.source, span))):
            row = await newest_row(storage, partition, part)
            if row.num_rows:
                return series.grid.floor(from_ms(row.column("timestamp")[0].value))
    return None


def _held(timeframe: Timeframe, start: datetime, known: Sequence[Segment]) -> list[TimeRange]:
    bars = KnownBars(timeframe, start).add(known)
    return [each.range for each in joined(bars) if each.state is State.HELD]
