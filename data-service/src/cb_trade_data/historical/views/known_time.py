"""What storage knows of a time, whatever partitions it lies in."""

from __future__ import annotations

from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment
from cb_trade_data.storage.interfaces import IStorageManager


async def known_time(storage: IStorageManager, series: Series, wanted: TimeRange) -> list[Segment]:
    """Return what is stored of *wanted*, oldest first, and where there was no market; nothing of what nobody knows.

    Raises:
        StorageUnavailableError: Storage cannot be read.
    """
    facts = await storage.facts(series)
    absences = () if facts is None else facts.absences
    known: list[Segment] = []
    for partition, part in partitions_of(series, wanted):
        # Cut first: of a month there may be as many segments as minutes.
        coverage = Coverage(tuple((await storage.coverage(partition)).within(part)))
        absent = [each for each in absences if each.range.intersect(part) is not None]
        known += coverage.under(absent).within(part)
    return known
