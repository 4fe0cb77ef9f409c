"""An answer: the rows of one request in time order, from storage where that settles it, from a flight where not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

import pyarrow as pa

from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.planning import missing
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.partition import Partition, partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts


class Answer:
    """What it will be is known at once; its rows come as they are had, one partition at a time.

    Attributes:
        start: What was asked for.
        end: What was asked for, clipped to the newest closed bar; `start` where no bar has closed since then.
        estimated_rows: The bars that the range has room for, less those before listing.
        receipt: Complete once `batches` is exhausted.
    """

    def __init__(
        self,
        series: Series,
        start: datetime,
        end: datetime,
        facts: SeriesFacts,
        *,
        refresh: bool,
        storage: IStorageManager,
        fetcher: HistoricalFetcher,
        now: Callable[[], datetime],
    ) -> None:
        self._series = series
        self._bars = series.grid.snap(TimeRange(start, end)) if start < end else None
        self._facts = facts
        self._refresh = refresh
        self._storage = storage
        self._fetcher = fetcher
        self._now = now
        self.start = start
        self.end = end
        listed = None if self._bars is None else facts.listed_part(self._bars)
        self.estimated_rows = 0 if listed is None else series.grid.bars_in(listed)
        self.receipt = Receipt()

    async def batches(self) -> AsyncGenerator[pa.Table, None]:
        """Yield the rows in time order, unique. To be closed (`aclosing`) when left early.

        Raises:
            CbTradeError: The exchange refuses the series. What it fails to answer is no error but a gap in the receipt.
                Storage that cannot be read is none either: what it holds comes from the exchange then.
        """
        rest = self._bars
        while rest is not None:
            # Years before listing are passed over in one step; a flight may have found out about them just now.
            if (absence := self._facts.absence_at(rest.start)) is not None:
                end = min(absence.range.end, rest.end)
                self.receipt.enter([replace(absence, range=TimeRange(rest.start, end))])
                rest = TimeRange(end, rest.end) if end < rest.end else None
                continue
            partition, part = next(partitions_of(self._series, rest))
            async with aclosing(self._deliver(partition, part)) as batches:
                async for rows in batches:
                    yield rows
            rest = TimeRange(part.end, rest.end) if part.end < rest.end else None

    async def _deliver(self, partition: Partition, part: TimeRange) -> AsyncGenerator[pa.Table, None]:
        stored = await self._storage.read_if_possible(partition, part)
        now = self._now()
        gaps = missing(
            part,
            stored.coverage,
            absent=self._facts.absent,
            now=now,
            failures_since=now,
            refresh=self._refresh,
        )
        if any(gaps):
            async with aclosing(self._deliver_from_flight(partition, part, now)) as stretches:
                async for rows in stretches:
                    yield rows
            return
        rows = stored.rows_in(part)
        self.receipt.rows_from_storage += rows.num_rows
        self._enter(part, stored.coverage)
        if rows.num_rows:
            yield rows

    async def _deliver_from_flight(
        self, partition: Partition, part: TimeRange, now: datetime
    ) -> AsyncGenerator[pa.Table, None]:
        flight = self._fetcher.flight(partition, self._facts)
        with flight.joined(part, refresh=self._refresh, now=now) as want:
            delivered = 0
            async with aclosing(flight.follow(want)) as stretches:
                async for stretch, rows in stretches:
                    # Now: by the end, somebody else may have brought what is missing here.
                    self._facts = flight.facts
                    self._enter(stretch, flight.state.coverage, want.failures)
                    delivered += rows.num_rows
                    if rows.num_rows:
                        yield rows
            self.receipt.rows_from_exchange += want.rows_fetched
            self.receipt.rows_from_storage += delivered - want.rows_fetched
            self.receipt.exchange_calls += want.calls

    def _enter(self, part: TimeRange, coverage: Coverage, failures: Iterable[Segment] = ()) -> None:
        """Enter what is known of *part*; absences are derived from the facts, whatever was once written there."""
        known = coverage.under(self._facts.absences).within(part)
        listed = self._facts.listed_part(part)
        self.receipt.enter(known, () if listed is None else Coverage(tuple(failures)).within(listed))
