"""The price at which the last bar before a time closed, by what is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.historical.views.newest_row import newest_row
from cb_trade_data.models.instants import EPOCH, from_ms
from cb_trade_data.models.partition import partition_at, partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange, subtract
from cb_trade_data.storage.coverage import Coverage, State
from cb_trade_data.storage.interfaces import IStorageManager


async def close_before(
    storage: IStorageManager, series: Series, start: datetime, states: Collection[State]
) -> float | None:
    """Return the close of the last bar before *start*; None where it is not stored what happened since then.

    It is looked for as far back as storage knows that there was nothing. Storage that cannot be read knows nothing.

    Args:
        start: Where a bar of *series* opens.
        states: Those of time in which it is known which bars there are.
    """
    try:
        return await _close_before(storage, series, start, states)
    except StorageUnavailableError:  # which is counted where it is raised
        return None


async def _close_before(
    storage: IStorageManager, series: Series, start: datetime, states: Collection[State]
) -> float | None:
    source, end = series.source, start
    while end > EPOCH:
        partition = partition_at(source, source.grid.advance(end, -1))
        part = TimeRange(partition.range.start, end)
        unknown = list(_unknown(await storage.coverage(partition), part, states))
        known_since = unknown[-1].end if unknown else part.start
        if known_since == end:
            return None
        row = await newest_row(storage, partition, TimeRange(known_since, end))
        if row.num_rows:
            is_whole = await _is_whole(storage, series, from_ms(row.column("timestamp")[0].value), states)
            return float(row.column("close")[0].as_py()) if is_whole else None
        if unknown:
            return None
        end = part.start
    return None


async def _is_whole(storage: IStorageManager, series: Series, last_open: datetime, states: Collection[State]) -> bool:
    """Tell whether the bar of a derived series is known up to *last_open*, of the last row that it is made of."""
    opens = series.grid.floor(last_open)
    if opens == last_open:
        return True
    facts = await storage.facts(series.source)
    absences = () if facts is None else facts.absences
    for partition, part in partitions_of(series.source, TimeRange(opens, last_open)):
        coverage = (await storage.coverage(partition)).under(absences)
        if any(_unknown(coverage, part, {*states, State.UNLISTED})):
            return False
    return True


def _unknown(coverage: Coverage, part: TimeRange, states: Collection[State]) -> Iterator[TimeRange]:
    return subtract([part], [each.range for each in coverage.segments if each.state in states])
