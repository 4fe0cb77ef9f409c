"""What storage knows of a time, whatever partitions it lies in."""

from __future__ import annotations

import asyncio

from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import SEGMENTS_ON_THE_LOOP_MAX, Coverage, Segment
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
        coverage = await storage.coverage(partition)
        absent = [each for each in absences if each.range.intersect(part) is not None]
        if len(coverage.segments) > SEGMENTS_ON_THE_LOOP_MAX:
            known += await asyncio.to_thread(_within, coverage, part, absent)
        else:
            known += _within(coverage, part, absent)
    return known


def _within(coverage: Coverage, part: TimeRange, absent: list[Segment]) -> list[Segment]:
    here = Coverage(tuple(coverage.within(part)))  # cut first: the part may be a few bars
    return list(here.under(absent).within(part))
