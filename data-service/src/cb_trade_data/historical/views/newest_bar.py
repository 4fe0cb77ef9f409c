"""The newest derived bar that is whole, by what is stored."""

from __future__ import annotations

from datetime import datetime

from cb_trade_data.historical.views.known_bars import KnownBars
from cb_trade_data.historical.views.newest_row import newest_row
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, State
from cb_trade_data.storage.interfaces import IStorageManager


async def newest_whole_bar(storage: IStorageManager, series: Series) -> datetime | None:
    """Return the open time of the newest bar of a derived *series* of which nothing is missing; None without one.

    Raises:
        StorageUnavailableError: Storage cannot be read.
    """
    source = series.source
    facts = await storage.facts(source)
    absences = () if facts is None else facts.absences
    later = Coverage()
    for partition in reversed(await storage.list_partitions(source)):
        # Those that open in it; the last of them may end in a later one.
        bars = series.grid.snap(partition.range)
        coverage = Coverage((await storage.coverage(partition)).segments + later.segments)
        if bars is not None:
            known = coverage.under(absences).within(bars)
            held = [each.range for each in KnownBars(series.grid, bars.start).add(known) if each.state is State.HELD]
            for span in reversed(held):
                for piece, part in reversed(list(partitions_of(source, span))):
                    row = await newest_row(storage, piece, part)
                    if row.num_rows:
                        return series.grid.floor(from_ms(row.column("timestamp")[0].value))
        # A bar that opens before this partition ends no later than the one in which this begins.
        begins_in = series.grid.bar(series.grid.floor(partition.range.start))
        later = Coverage(tuple(coverage.within(TimeRange(partition.range.start, begins_in.end))))
    return None
