"""An answer: the rows of one request in time order, from storage where that settles it, from a flight where not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from cb_trade_data.errors import CbTradeError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.flight import Flight
from cb_trade_data.historical.page_order import Want
from cb_trade_data.historical.paging import paging_of
from cb_trade_data.historical.pieces import read_by_pieces
from cb_trade_data.historical.planning import estimated_rows, missing
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.read_ahead import ReadAhead
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.digest import AnswerDigest
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.partition import Partition, first_partition_of, pieces_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import SEGMENTS_ON_THE_LOOP_MAX, Coverage, Segment
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.stored_partition import StoredPartition


@dataclass(frozen=True)
class _Wait:
    """A flight that was joined for a part of its partition, until the stack is closed."""

    part: TimeRange
    flight: Flight
    want: Want
    leaving: ExitStack


@dataclass(frozen=True)
class _Fetching:
    """What is done about a part of a partition that is fetched before its turn has come.

    Attributes:
        task: Comes to a wait where something is missing of the part; to None where nothing is.
    """

    part: TimeRange
    task: asyncio.Task[_Wait | None]

    def give_up(self) -> None:
        """End it; nobody wants to know how it went."""
        self.task.cancel()
        self.task.add_done_callback(self._leave)

    @staticmethod
    def _leave(task: asyncio.Task[_Wait | None]) -> None:
        if not task.cancelled() and task.exception() is None and (wait := task.result()) is not None:
            wait.leaving.close()


class Answer:
    """See `IAnswer`.

    While one partition is sent, the next ones are read; while one comes from the exchange, what is missing of the next
    one is asked for, too: at the border nobody waits for storage or for a first page.
    """

    def __init__(
        self,
        series: Series,
        wanted: TimeRange,
        closed_until: datetime,
        reach: Reach,
        exchange: ExchangeFacts,
        *,
        refresh: bool,
        storage: IStorageManager,
        fetcher: HistoricalFetcher,
        now: Callable[[], datetime],
        receipt: Receipt | None = None,
    ) -> None:
        """*receipt*: that of the views on this answer, which are told of silence, too; None where there are none."""
        self.start = wanted.start
        self.end = max(wanted.start, min(wanted.end, closed_until))
        self._series = series
        self._bars = series.grid.snap(TimeRange(self.start, self.end)) if self.start < self.end else None
        self._reach = reach
        self._exchange = exchange
        self._paging = paging_of(series, exchange)
        self._refresh = refresh
        self._storage = storage
        self._fetcher = fetcher
        self._now = now
        self._reading = ReadAhead(series, storage)
        self._fetching: _Fetching | None = None  # of the next partition
        listed = None if self._bars is None else reach.facts.listed_part(self._bars)
        self.estimated_rows = self.source_rows = estimated_rows(series, listed)
        self.receipt = receipt or Receipt()
        self._tells_silence = receipt is not None
        self._digest = AnswerDigest(series)

    async def stretches(self) -> AsyncGenerator[Stretch, None]:
        """See `IAnswer.stretches`."""
        rest = self._bars
        try:
            while rest is not None:
                # Years before listing are passed over in one step; a flight may have found out about them just now.
                if (absence := self._reach.facts.absence_at(rest.start)) is not None:
                    end = min(absence.range.end, rest.end)
                    self.receipt.enter([replace(absence, range=TimeRange(rest.start, end))])
                    rest = TimeRange(end, rest.end) if end < rest.end else None
                    continue
                partition, part, rest = first_partition_of(self._series, rest)
                found = await self._find(partition, part, rest)
                if isinstance(found, StoredPartition):
                    async with aclosing(self._read(found, part, rest)) as stretches:
                        async for stretch in stretches:
                            yield stretch
                    continue
                async with aclosing(self._follow(found, rest)) as stretches:
                    async for stretch in stretches:
                        yield stretch
            self.receipt.digest = self._digest.text()
        finally:
            self._reading.give_up()
            if self._fetching is not None:
                self._fetching.give_up()

    def _bars_to_ask(self, rest: TimeRange | None) -> int:
        askable = None if rest is None else self._reach.askable_part(rest)
        return 0 if askable is None else self._paging.rows_in(askable)

    async def _find(self, partition: Partition, part: TimeRange, rest: TimeRange | None) -> StoredPartition | _Wait:
        """Return what is stored, where that settles *part*, or else a flight that was joined for it."""
        if (wait := await self._fetched_ahead(part)) is not None:
            return wait
        stored = await self._reading.take(partition, next(pieces_of(self._series, part)))
        return self._join(partition, part, rest) if self._lacks(part, stored.coverage) else stored

    async def _read(
        self, stored: StoredPartition, part: TimeRange, rest: TimeRange | None
    ) -> AsyncGenerator[Stretch, None]:
        """Yield the rows of *part*, which storage settles, and enter them into receipt and digest.

        Args:
            stored: Read with the first piece of it.

        Raises:
            PartitionChangedError: It is not what was begun with any more.
        """
        known = self._reach.known(stored.coverage, part)
        if len(stored.coverage.segments) > SEGMENTS_ON_THE_LOOP_MAX:
            await asyncio.to_thread(self.receipt.enter, known)
        else:
            self.receipt.enter(known)
        has_digest = self._digest.add_whole(part, stored.digests)

        def still_tells(piece: TimeRange, changed: StoredPartition) -> bool:
            return changed.digests == stored.digests if has_digest else not self._lacks(piece, changed.coverage)

        pieces = list(pieces_of(self._series, part))
        async with aclosing(read_by_pieces(self._storage, stored, pieces[0], pieces, still_tells)) as readings:
            async for piece, read in readings:
                stretch = read.stretch(piece)
                self.receipt.rows_from_storage += stretch.rows.num_rows
                if not has_digest:
                    self._digest.add(piece, stretch.rows, read.digests)
                if stretch.rows.num_rows and rest is not None:
                    self._reading.begin(rest, self._reach.facts)
                if stretch.rows.num_rows or self._tells_silence:
                    yield stretch

    def _begin_fetching(self, rest: TimeRange | None, before: TimeRange) -> None:
        """Begin with the first partition of *rest* beside what is sent, which it never holds up."""
        if rest is not None and self._reach.facts.absence_at(rest.start) is None:
            _, part, _ = first_partition_of(self._series, rest)
            self._fetching = _Fetching(part, asyncio.create_task(self._fetch_ahead(before, rest)))

    async def _fetched_ahead(self, part: TimeRange) -> _Wait | None:
        """Return what came of beginning with *part* ahead of its turn; None where nothing did."""
        fetching = self._fetching
        if fetching is None:
            return None
        if fetching.part != part:  # it was passed over since
            fetching.give_up()
            self._fetching = None
            return None
        wait = await fetching.task
        self._fetching = None  # not before: who is cancelled while waiting gives it up
        return wait

    async def _fetch_ahead(self, before: TimeRange, rest: TimeRange) -> _Wait | None:
        """Have what is missing of the first partition of *rest* fetched; until it is its turn, it goes after *before*.

        What storage settles is left to be read when its turn has come.
        """
        partition, part, after = first_partition_of(self._series, rest)
        try:
            coverage = await self._storage.coverage(partition)
        except CbTradeError:
            return None  # When it is its turn, it shows whether that is still so.
        if not self._lacks(part, coverage):
            return None
        return self._join(partition, part, after, bars_before=self._paging.rows_in(before))

    def _lacks(self, part: TimeRange, coverage: Coverage) -> bool:
        """Tell whether the exchange must be asked about anything of *part*."""
        if not self._refresh and self._reach.is_held(coverage, part):
            return False
        now = self._now()
        self._reach = self._reach.moved_to(Reach.at(now, self._exchange, self._series, None).horizon)
        gaps = missing(part, coverage, absent=self._reach.absent, now=now, failures_since=now, refresh=self._refresh)
        return any(gaps)

    def _join(self, partition: Partition, part: TimeRange, rest: TimeRange | None, *, bars_before: int = 0) -> _Wait:
        flight = self._fetcher.flight(partition, self._reach)
        leaving = ExitStack()
        want = leaving.enter_context(
            flight.joined(
                part,
                refresh=self._refresh,
                now=self._now(),
                bars_before=bars_before,
                bars_after=self._bars_to_ask(rest),
            )
        )
        return _Wait(part, flight, want, leaving)

    async def _follow(self, wait: _Wait, rest: TimeRange | None) -> AsyncGenerator[Stretch, None]:
        """Yield what a flight brings, and look ahead to *rest* once the first rows of it are gone."""
        flight, want = wait.flight, wait.want
        with wait.leaving:
            delivered, has_looked_ahead = 0, False
            async with aclosing(flight.follow(want)) as stretches:
                async for span, rows in stretches:
                    # Now: by the end, somebody else may have brought what is missing here.
                    self._reach = flight.reach
                    self._enter(span, flight.state.coverage, want.failures)
                    delivered += rows.num_rows
                    if rows.num_rows:
                        self._digest.add(span, rows)
                    if rows.num_rows or self._tells_silence:
                        yield Stretch(rows)
                    # Not before the first row: where the listing is not known yet, its pages might be wasted.
                    if rows.num_rows and not has_looked_ahead:
                        has_looked_ahead = True
                        self._begin_fetching(rest, wait.part)
            self.receipt.rows_from_exchange += want.rows_fetched
            self.receipt.rows_from_storage += delivered - want.rows_fetched
            self.receipt.exchange_calls += want.calls

    def _enter(self, part: TimeRange, coverage: Coverage, failures: Iterable[Segment]) -> None:
        listed = self._reach.facts.listed_part(part)
        told: list[Segment] = []
        if listed is not None:  # pages fail in any order
            shared = ((each, each.range.intersect(listed)) for each in failures)
            told = [replace(each, range=inside) for each, inside in shared if inside is not None]
        self.receipt.enter(self._reach.known(coverage, part), told)
