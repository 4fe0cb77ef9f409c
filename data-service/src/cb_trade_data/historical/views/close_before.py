"""The price at which the last bar before a time closed, by what is stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.historical.views.known_time import known_time
from cb_trade_data.historical.views.newest_row import newest_row
from cb_trade_data.models.instants import EPOCH, from_ms
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange, subtract
from cb_trade_data.storage.coverage import Segment
from cb_trade_data.storage.interfaces import IStorageManager


async def close_before(
    storage: IStorageManager, series: Series, start: datetime, is_known: Callable[[Segment], bool]
) -> float | None:
    """Return the close of the last bar before *start*; None where it is not stored what happened since then.

    It is looked for as far back as storage knows that there was nothing. Storage that cannot be read knows nothing.

    Args:
        start: Where a bar of *series* opens.
        is_known: Whether nobody need be asked which bars there are, of what is stored of a time.
    """
    try:
        return await _close_before(storage, series, start, is_known)
    except StorageUnavailableError:  # which is counted where it is raised
        return None


async def _close_before(
    storage: IStorageManager, series: Series, start: datetime, is_known: Callable[[Segment], bool]
) -> float | None:
    source, end = series.source, start
    while end > EPOCH:
        partition = partition_at(source, source.grid.advance(end, -1))
        part = TimeRange(partition.range.start, end)
        known_since = end
        for segment in reversed(await known_time(storage, source, part)):
            if segment.range.end < known_since or not is_known(segment):
                break
            known_since = segment.range.start
        if known_since == end:
            return None
        row = await newest_row(storage, partition, TimeRange(known_since, end))
        if row.num_rows:
            is_whole = await _is_whole(storage, series, from_ms(row.column("timestamp")[0].value))
            return float(row.column("close")[0].as_py()) if is_whole else None
        if known_since > part.start:
            return None
        end = part.start
    return None


async def _is_whole(storage: IStorageManager, series: Series, last_open: datetime) -> bool:
    """Tell whether the bar of a derived series is known up to *last_open*, of the last row that it is made of."""
    opens = series.grid.floor(last_open)
    if opens == last_open:
        return True
    part = TimeRange(opens, last_open)
    known = [each.range for each in await known_time(storage, series.source, part) if each.is_final]
    return not any(subtract([part], known))
