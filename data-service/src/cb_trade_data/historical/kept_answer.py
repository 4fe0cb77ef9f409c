"""The answer that one partition in memory settles: all of it is known at once, and nobody is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from cb_trade_data.historical.planning import estimated_rows
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.interfaces import IStorageManager


@dataclass(frozen=True)
class KeptAnswer:
    """See `IAnswer`."""

    start: datetime
    end: datetime
    estimated_rows: int | None
    receipt: Receipt
    stretch: Stretch

    @property
    def source_rows(self) -> int | None:
        """See `IAnswer`."""
        return self.estimated_rows

    async def stretches(self) -> AsyncGenerator[Stretch, None]:
        """See `IAnswer.stretches`."""
        if self.stretch.rows.num_rows:
            yield self.stretch


def kept_answer(storage: IStorageManager, series: Series, wanted: TimeRange) -> KeptAnswer | None:
    """Return the answer where a single partition that is kept holds every bar of *wanted*; None where it takes more.

    What is held had closed when it was fetched, so that nobody's clock matters.
    """
    partition = partition_at(series, wanted.start)
    facts, stored = storage.kept_facts(series), storage.kept(partition)
    # Before anything is reckoned with its end, which may be that of the calendar.
    if facts is None or stored is None or wanted.end > partition.range.end:
        return None
    bars = series.grid.snap(wanted)
    if bars is None:
        return None
    if not (stored.coverage.holds(bars) and facts.lists(bars)):
        return None
    stretch = stored.stretch(bars)
    digest = AnswerDigest(series)
    digest.add(bars, stretch.rows, stored.digests)
    receipt = Receipt(
        rows_from_storage=stretch.rows.num_rows,
        coverage=list(stored.coverage.within(bars)),
        digest=digest.text(),
    )
    return KeptAnswer(wanted.start, wanted.end, estimated_rows(series, bars), receipt, stretch)
