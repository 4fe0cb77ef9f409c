"""A flight: one partition's missing pages, fetched once for all who wait for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import pyarrow as pa
import structlog

from cb_trade_data.errors import CbTradeError, ExchangeUnavailableError, StorageUnavailableError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector, Page
from cb_trade_data.historical.planning import missing, pages
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.historical.validation import check_page, settle
from cb_trade_data.models.market import slice_range
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.interfaces import IStorageManager, PartitionLock
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

_log = structlog.get_logger(__name__)

_CHECKPOINT_SECS: Final = 2.0

# How often to look whether another process has let go of the partition, or stored more of it.
_LOCK_POLL_SECS: Final = (0.1, 0.4)


@dataclass(eq=False)
class Want:
    """What one waiter still waits for.

    Attributes:
        range: What it asked for, inside the flight's partition, edges on the grid.
        refresh: Whether it wants everything asked again, whatever is stored.
        since: When it came; failures before that are tried again for it.
        open: The parts of `range` that are not settled yet, oldest first; None until the flight has read storage.
        is_stored: Whether everything that settled it is stored, or was found impossible to store.
        rows_fetched: How many of its rows came from the exchange since it came.
        calls: How many calls the pages took that were fetched for it, those that failed included.
        failures: What of a refresh failed.
    """

    range: TimeRange
    refresh: bool
    since: datetime
    open: list[TimeRange] | None = None
    is_stored: bool = False
    rows_fetched: int = 0
    calls: int = 0
    failures: list[Segment] = field(default_factory=list)

    def settle(self, parts: list[TimeRange]) -> None:
        """Take *parts* off what is open."""
        if self.open:
            self.open = list(subtract(self.open, parts))

    def open_in(self, window: TimeRange) -> list[TimeRange]:
        """Return what is open inside *window*, oldest first."""
        return list(intersect_all(self.open or (), [window]))


class Flight:
    """Fetches what its waiters want of one partition, in its own task, and never waits for any of them.

    It buffers at most its partition. A page that came in is there for every waiter at once; it is stored at
    checkpoints, and when a waiter has all its rows. The flight lands when nothing is left to fetch or nobody waits.
    """

    def __init__(
        self,
        partition: Partition,
        facts: SeriesFacts,
        storage: IStorageManager,
        source: IDataSourceConnector,
        register: SeriesRegister,
    ) -> None:
        self._partition = partition
        self._facts = facts
        self._storage = storage
        self._source = source
        self._register = register
        self._grid = partition.series.grid
        self._exchange = source.facts(partition.series.exchange)

        self._wants: list[Want] = []
        self._calls: dict[asyncio.Task[Page | None], TimeRange] = {}  # pages under way
        self._state = StoredPartition.empty(partition)  # everything known, stored or not
        self._stored = self._state  # the last state that storage confirmed
        self._has_read = False
        self._changes: list[Change] = []  # what lies between the two
        self._committed_at = 0.0  # loop time
        self._commit_failed = False
        self._is_last_try = False  # what could not be stored gets one more try before the flight lands
        self._lock: PartitionLock | None = None
        self._may_fetch = False  # the lock is ours, or cannot be had
        self._failure: CbTradeError | None = None
        self._changed = asyncio.Event()
        self.landed = False  # takes no more waiters

    def learn(self, facts: SeriesFacts) -> None:
        """Take over newer *facts* of the series: what is missing depends on when it was listed."""
        if facts.is_newer_than(self._facts):
            self._facts = facts
            if self._has_read:
                for want in self._wants:
                    self._open(want)
            self._announce()

    # --- For waiters -------------------------------------------------------------------------------------------------

    @contextmanager
    def joined(self, wanted: TimeRange, *, refresh: bool, now: datetime) -> Iterator[Want]:
        """Wait for *wanted* as long as the context lasts. Leaving it early leaves the other waiters untouched."""
        want = Want(wanted, refresh, now)
        self._wants.append(want)
        if self._has_read:
            self._open(want)
        self._announce()
        try:
            yield want
        finally:
            self._wants.remove(want)
            self._announce()

    async def follow(self, want: Want) -> AsyncGenerator[tuple[TimeRange, pa.Table], None]:
        """Yield the stretches of the want in time order, each with its rows as soon as it is settled.

        Ends when they are stored, too. What `state` and `facts` say of a stretch when it is yielded is what its rows
        are; later it may be more.

        Raises:
            CbTradeError: The exchange refuses the series.
        """
        cursor = want.range.start
        while True:
            changed = self._changed
            if want.open is not None:
                until = want.open[0].start if want.open else want.range.end
                if until > cursor:
                    stretch, cursor = TimeRange(cursor, until), until
                    yield stretch, self._state.rows_in(stretch)
                    continue
                if want.is_stored:
                    return
            if self._failure is not None:
                raise self._failure
            await changed.wait()

    @property
    def state(self) -> StoredPartition:
        """Everything known of the partition now."""
        return self._state

    @property
    def facts(self) -> SeriesFacts:
        """What is known of the series now."""
        return self._facts

    # --- The flight itself -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch until nothing is left to fetch or nobody waits. What goes wrong is told to the waiters."""
        try:
            await self._take_off()
            await self._fly()
        except CbTradeError as error:
            self._failure = error
            if self._changes:
                await self._commit()
        except BaseException as error:
            self._failure = CbTradeError(f"fetching {self._partition} ended unexpectedly: {type(error).__name__}")
            if self._changes and isinstance(error, Exception):
                await self._commit()
            raise
        finally:
            # Nothing is awaited between the last look at the waiters and this: nobody joins a flight that has landed.
            self.landed = True
            self._give_up_calls()
            self._announce()
            if self._lock is not None:
                await self._lock.release()

    async def _fly(self) -> None:
        """Fetch and store until there is nothing more to do; the only loop that changes the flight's state."""
        while True:
            if not self._wants:
                self._give_up_calls()
            if self._lock is not None and self._lock.is_lost:
                await self._hand_over(self._lock)
            if self._next_window() is not None and not self._may_fetch and not await self._take_lock():
                continue
            await self._launch()
            self._mark_stored()
            if self._commit_is_due():
                await self._commit()
            elif self._calls:
                await self._next_event()
            elif self._changes and not self._is_last_try:
                self._is_last_try = True
                await self._commit()
            else:
                return

    async def _take_off(self) -> None:
        self._stored = self._state = await self._storage.read_if_possible(self._partition)
        self._has_read = True
        self._committed_at = asyncio.get_running_loop().time()
        for want in self._wants:
            self._open(want)
        self._announce()

    async def _take_lock(self) -> bool:
        """Take the partition's lock, or wait a little while another process fetches; read what is new in storage.

        Reading again after taking the lock is what makes one flight of many across processes: what the holder before
        us fetched is not missing any more. While we wait, each checkpoint of the holder is handed on.
        """
        changed = self._changed
        try:
            self._lock = await self._storage.try_lock(self._partition)
            self._may_fetch = self._lock is not None
        except StorageUnavailableError as error:
            # The waiters get their rows all the same: the lock only spares double work.
            _log.warning("flight.not_locked", partition=str(self._partition), error=str(error))
            self._may_fetch = True
        if not self._may_fetch:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), random.uniform(*_LOCK_POLL_SECS))  # noqa: S311 - jitter
        with suppress(StorageUnavailableError):  # then what was read before, or nothing, has to do
            await self._read_again()
        return self._may_fetch

    async def _read_again(self) -> None:
        if await self._storage.version(self._partition) == self._stored.version:
            return
        stored = await self._storage.read(self._partition)
        self._stored, self._state = stored, stored.with_changes(self._changes)
        self._facts = await self._register.facts(self._partition.series)
        self._reopen()

    async def _hand_over(self, lost: PartitionLock) -> None:
        """After losing the lock: store what came in and queue again; whoever has it now may be fetching the same."""
        _log.warning("flight.lock_lost", partition=str(self._partition))
        self._lock, self._may_fetch = None, False
        self._give_up_calls()
        await lost.release()
        if self._changes:
            await self._commit()
            self._reopen()

    def _reopen(self) -> None:
        """Take over what others have stored; who wants a refresh, wants the exchange asked all the same."""
        for want in self._wants:
            if want.refresh and want.open is not None:
                want.settle(self._facts.absent)
            else:
                self._open(want)
        self._announce()

    def _open(self, want: Want) -> None:
        """Find out what of *want* is missing."""
        want.open = list(
            missing(
                want.range,
                self._state.coverage,
                absent=self._facts.absent,
                now=self._source.known_now(self._exchange.id) or want.since,
                failures_since=want.since,
                refresh=want.refresh,
            )
        )

    async def _launch(self) -> None:
        """Start as many pages as there are places for."""
        if self._next_window() is None:
            return
        # Read the exchange's clock before anything that it judges.
        await self._source.now(self._exchange.id)
        while len(self._calls) < self._exchange.concurrent_calls and (window := self._next_window()) is not None:
            if self._calls and self._may_be_unlisted(window):
                return  # The page under way may show that this one would be wasted.
            call = asyncio.create_task(self._source.fetch_page(self._partition.series, partial(_same, window), int))
            call.add_done_callback(lambda _: self._announce())
            self._calls[call] = window

    def _may_be_unlisted(self, window: TimeRange) -> bool:
        """Tell whether the exchange may have had nothing yet in *window*: its listing is unknown, and so is any bar."""
        held = self._state.coverage.ranges(State.HELD)
        return self._facts.listed_at is None and not any(part.start < window.start for part in held)

    def _next_window(self) -> TimeRange | None:
        """Return the next page to fetch: the first one of the want with the smallest remainder."""
        under_way = list(self._calls.values())
        for want in sorted(self._wants, key=lambda each: sum(map(self._grid.bars_in, each.open or ()))):
            gaps = subtract(want.open or (), under_way)
            if (window := next(pages(gaps, self._grid, self._exchange.page_limit_bars), None)) is not None:
                return window
        return None

    async def _next_event(self) -> None:
        """Wait until a page is in, waiters have come or gone, or it is time for a checkpoint; take in what came."""
        changed = self._changed
        if not self._wants:
            return
        if not any(call.done() for call in self._calls):
            elapsed = asyncio.get_running_loop().time() - self._committed_at
            try:
                await asyncio.wait_for(changed.wait(), _CHECKPOINT_SECS - elapsed if self._changes else None)
            except TimeoutError:
                return
        for call in [call for call in self._calls if call.done()]:
            await self._take_in(call, self._calls.pop(call))

    async def _take_in(self, call: asyncio.Task[Page | None], window: TimeRange) -> None:
        now = await self._source.now(self._exchange.id)
        try:
            page = call.result()
        except ExchangeUnavailableError as error:
            _log.warning("page.failed", partition=str(self._partition), window=str(window), reason=error.reason)
            self._count_calls(window, error.tries)
            self._apply_failure(window, now, error.reason)
            return
        if page is None:
            return
        self._count_calls(window, page.calls)
        checked = check_page(page, window, self._grid)
        if checked.findings:
            findings = {str(finding): count for finding, count in checked.findings.items()}
            _log.info("page.findings", partition=str(self._partition), window=str(window), **findings)
        if checked.answered is None:
            self._apply_failure(window, now, "the answer does not fit the question")
            return
        if checked.is_empty:
            try:
                await self._look_into_listing(now)
            except ExchangeUnavailableError as error:
                self._apply_failure(window, now, error.reason)
                return
        self._apply(settle(checked, self._wanted(window), self._grid, now), [checked.answered])

    async def _look_into_listing(self, now: datetime) -> None:
        """After an empty page: learn when the series was listed, and settle what lies before."""
        if self._facts.listed_at is None and self._facts.listing_is_due(now):
            self._facts = await self._register.look_up_listing(
                self._partition.series, now, known_bar=self._state.oldest
            )
        for want in self._wants:
            want.settle(self._facts.absent)
        if self._facts.listed_at is None and self._facts.listing_checked_at == now:
            # It said just now that it has no bar at all, which answers the other pages as well.
            wanted = self._wanted(self._partition.range)
            self._apply(self._without_rows(Segment(part, State.EMPTY, now, asks=1) for part in wanted), wanted)

    def _apply_failure(self, window: TimeRange, now: datetime, reason: str) -> None:
        failed = [Segment(part, State.FAILED, now, reason=reason) for part in self._wanted(window)]
        for want in self._wants:
            # Where rows are held, a failed refresh leaves no trace in the coverage; its asker is told all the same.
            want.failures += [segment for segment in failed if want.refresh and want.open_in(segment.range)]
        self._apply(self._without_rows(failed), [window])

    def _without_rows(self, segments: Iterable[Segment]) -> Change:
        return Change(self._state.rows.slice(0, 0), tuple(segments))

    def _count_calls(self, window: TimeRange, calls: int) -> None:
        for want in self._wants:
            if want.open_in(window):
                want.calls += calls

    def _wanted(self, window: TimeRange) -> list[TimeRange]:
        """Return the bars of *window* that anybody waits for."""
        return list(join(part for want in self._wants for part in want.open_in(window)))

    def _apply(self, change: Change, answered: list[TimeRange]) -> None:
        """Let everybody see *change*, which settles *answered*, and keep it for the next commit."""
        if change.segments:
            self._is_last_try = False
            self._changes.append(change)
            self._state = self._state.with_changes([change])
        for want in self._wants:
            want.rows_fetched += sum(slice_range(change.rows, part).num_rows for part in want.open or ())
            want.settle(answered)
        self._announce()

    def _commit_is_due(self) -> bool:
        if not self._changes:
            return False
        elapsed = asyncio.get_running_loop().time() - self._committed_at
        somebody_waits = any(want.open == [] and not want.is_stored for want in self._wants)
        is_last = not self._calls and not self._commit_failed
        return somebody_waits or is_last or elapsed >= _CHECKPOINT_SECS

    async def _commit(self) -> None:
        """Store what is not stored yet; what cannot be stored now is tried again with the next commit."""
        changes = list(self._changes)
        try:
            self._stored = await self._storage.commit(self._stored, changes)
        except CbTradeError as error:
            # The waiters get their rows all the same; storage counts, logs and shows the failure.
            _log.warning("flight.not_stored", partition=str(self._partition), code=error.code)
            self._commit_failed = True
        else:
            del self._changes[: len(changes)]
            self._state = self._stored.with_changes(self._changes)
            self._commit_failed = False
        self._committed_at = asyncio.get_running_loop().time()
        for want in self._wants:
            want.is_stored |= want.open == []
        self._announce()

    def _mark_stored(self) -> None:
        if self._changes:
            return
        for want in self._wants:
            if want.open == [] and not want.is_stored:
                want.is_stored = True
                self._announce()

    def _give_up_calls(self) -> None:
        for call in self._calls:
            call.cancel()
        self._calls.clear()

    def _announce(self) -> None:
        """Wake everybody who waits for something to change."""
        self._changed.set()
        self._changed = asyncio.Event()


def _same(window: TimeRange) -> TimeRange:
    return window
