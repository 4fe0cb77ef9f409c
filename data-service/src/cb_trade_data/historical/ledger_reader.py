"""Reading the ledger: from the stored partitions one after the other, never their rows, no more than a page needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cb_trade_data.historical.ledger import LedgerPage, LedgerWriter, tiles
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.partition import Partition, partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.interfaces import IStorageManager

# A year of minutes.
_PARTITIONS_PER_PAGE: Final = 12


async def read_ledger(
    storage: IStorageManager,
    series: Series,
    partitions: Sequence[Partition],
    bars: TimeRange,
    reach: Reach,
    *,
    limit: int,
) -> LedgerPage:
    """Return what is known of *bars*, or of their first part.

    Args:
        partitions: Those that are stored of *series*.
        bars: With edges on the grid.
        reach: Into *series*, at present.
        limit: The most segments.
    """
    ledger, stored, reads = LedgerWriter(limit), set(partitions), 0
    for partition, part in partitions_of(series, bars):
        coverage = Coverage()
        if partition in stored and reach.facts.listed_part(part) is not None:
            if reads == _PARTITIONS_PER_PAGE:
                break
            coverage, reads = await storage.coverage(partition), reads + 1
        ledger.add(tiles(part, coverage, reach))
        if ledger.is_full:
            break
    return ledger.page(bars)


async def known_range(
    storage: IStorageManager, partitions: Sequence[Partition], start: datetime | None, end: datetime | None
) -> TimeRange | None:
    """Return the range from *start* to *end*, where None means the edge of what is known; None where that is empty.

    Args:
        partitions: All that are stored of a series, oldest first.
    """
    if start is None:
        start = await _first_known(storage, partitions)
    if end is None:
        end = await _last_known(storage, partitions)
    return TimeRange(start, end) if start is not None and end is not None and start < end else None


async def _first_known(storage: IStorageManager, partitions: Sequence[Partition]) -> datetime | None:
    for partition in partitions:
        if segments := (await storage.coverage(partition)).segments:
            return segments[0].range.start
    return None


async def _last_known(storage: IStorageManager, partitions: Sequence[Partition]) -> datetime | None:
    for partition in reversed(partitions):
        if segments := (await storage.coverage(partition)).segments:
            return segments[-1].range.end
    return None
