"""A flight: one partition's missing pages, fetched once for all who wait for them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

import pyarrow as pa
import structlog

from cb_trade_data.errors import CbTradeError, ExchangeUnavailableError, StorageUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector, Page
from cb_trade_data.historical.planning import missing, pages
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.historical.validation import CheckedPage, Finding, check_page, settle
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import slice_range, timestamps_ms
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.interfaces import IStorageManager, PartitionLock
from cb_trade_data.storage.stored_partition import Change, StoredPartition

_log = structlog.get_logger(__name__)

_CHECKPOINT_SECS: Final = 2.0

# As often as a call that fails is tried; without waiting in between, for the exchange is there and answers.
_UNUSABLE_ANSWERS_MAX: Final = 5

# How often to look whether another process has let go of the partition, or stored more of it.
_LOCK_POLL_SECS: Final = (0.1, 0.4)


@dataclass(eq=False)
class Want:
    """What one waiter still waits for.

    Attributes:
        range: What it asked for, inside the flight's partition, edges on the grid.
        refresh: Whether it wants everything asked again, whatever is stored.
        since: When it came; failures before that are tried again for it.
        bars_after: How many more bars its request may want once it has these.
        open: The parts of `range` that are not settled yet, oldest first; None until the flight has read storage.
        is_stored: Whether everything that settled it is stored, or was found impossible to store.
        rows_fetched: How many of its rows came from the exchange since it came.
        calls: How many calls the pages took that were fetched for it, those that failed included.
        failures: What of a refresh failed.
    """

    range: TimeRange
    refresh: bool
    since: datetime
    bars_after: int = 0
    open: list[TimeRange] | None = None
    is_stored: bool = False
    rows_fetched: int = 0
    calls: int = 0
    failures: list[Segment] = field(default_factory=list)

    def settle(self, parts: list[TimeRange]) -> None:
        """Take *parts* off what is open."""
        if self.open:
            self.open = list(subtract(self.open, parts))

    def remainder(self, grid: Timeframe) -> int:
        """Return how many bars its request still wants: of two, the one that is sooner done goes first."""
        return sum(map(grid.bars_in, self.open or ())) + self.bars_after

    def open_in(self, window: TimeRange) -> list[TimeRange]:
        """Return what is open inside *window*, oldest first."""
        return list(intersect_all(self.open or (), [window]))


@dataclass(eq=False)
class _Call:
    """A page that waits for its turn with the exchange, or is under way.

    Attributes:
        window: What is asked for; None until its turn has come.
    """

    window: TimeRange | None = None
    task: asyncio.Task[Page | None] | None = None

    @property
    def is_done(self) -> bool:
        return self.task is not None and self.task.done()


class Flight:
    """Fetches what its waiters want of one partition, in its own task, and never waits for any of them.

    It buffers at most its partition. A page that came in is there for every waiter at once; it is stored at
    checkpoints, and when a waiter has all its rows. The flight lands when nothing is left to fetch or nobody waits.

    One page at a time waits for its turn with the exchange, and what it brings is decided when it has come.
    """

    def __init__(
        self,
        partition: Partition,
        reach: Reach,
        storage: IStorageManager,
        source: IDataSourceConnector,
        register: SeriesRegister,
        findings: Counter[Finding],
    ) -> None:
        self._partition = partition
        self._reach = reach
        self._storage = storage
        self._source = source
        self._register = register
        self._findings = findings
        self._grid = partition.series.grid
        self._exchange = source.facts(partition.series.exchange)

        self._wants: list[Want] = []
        self._calls: list[_Call] = []
        self._arrived: _Call | None = None  # the one of them that is being taken in
        self._unusable_answers: Counter[datetime] = Counter()  # by the first bar that they left open
        self._has_looked_at_end = False  # whether the market is still traded
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

    def learn(self, reach: Reach) -> None:
        """Take over what is newer in *reach*: what is missing depends on when the series was listed."""
        before, self._reach = self._reach, self._reach.learning(reach.facts).moved_to(reach.horizon)
        if self._has_read and self._reach.facts != before.facts:
            self._reopen()

    # --- For waiters -------------------------------------------------------------------------------------------------

    @contextmanager
    def joined(self, wanted: TimeRange, *, refresh: bool, now: datetime, bars_after: int = 0) -> Iterator[Want]:
        """Wait for *wanted* as long as the context lasts. Leaving it early leaves the other waiters untouched.

        *bars_after* tells how many more bars the same request may want of the partitions after this one.
        """
        want = Want(wanted, refresh, now, bars_after)
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

        Ends when they are stored, too. What `state` and `reach` say of a stretch when it is yielded is what its rows
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
    def reach(self) -> Reach:
        """Where the series can have bars that can be had, as far as is known now."""
        return self._reach

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
            self._give_up_calls(self._calls)
            self._announce()
            if self._lock is not None:
                await self._lock.release()

    async def _fly(self) -> None:
        """Fetch and store until there is nothing more to do; the only loop that changes the flight's state."""
        while True:
            if not self._wants:
                self._give_up_calls(self._calls)
            elif self._next_window() is None:
                self._give_up_calls(self._waiting())
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
        self._reach = self._reach.learning(await self._register.facts(self._partition.series))
        self._reopen()

    async def _hand_over(self, lost: PartitionLock) -> None:
        """After losing the lock: store what came in and queue again; whoever has it now may be fetching the same."""
        _log.warning("flight.lock_lost", partition=str(self._partition))
        self._lock, self._may_fetch = None, False
        self._give_up_calls(self._calls)
        await lost.release()
        if self._changes:
            await self._commit()
            self._reopen()

    def _reopen(self) -> None:
        """Take over what others have stored; who wants a refresh, wants the exchange asked all the same."""
        for want in self._wants:
            if want.refresh and want.open is not None:
                want.settle(self._reach.absent)
            else:
                self._open(want)
        self._announce()

    def _open(self, want: Want) -> None:
        """Find out what of *want* is missing."""
        want.open = list(
            missing(
                want.range,
                self._state.coverage,
                absent=self._reach.absent,
                now=self._source.known_now(self._exchange.id) or want.since,
                failures_since=want.since,
                refresh=want.refresh,
            )
        )

    async def _launch(self) -> None:
        """Have a page wait for its turn, if there is one to fetch and none that waits already."""
        if self._waiting() or len(self._calls) >= self._exchange.concurrent_calls or self._next_window() is None:
            return
        # Read the exchange's clock before anything that it judges.
        self._move_horizon(await self._source.now(self._exchange.id))
        if self._next_window() is None:
            return
        call = _Call()
        call.task = asyncio.create_task(
            self._source.fetch_page(self._partition.series, partial(self._choose, call), partial(self._urgency, call))
        )
        call.task.add_done_callback(lambda _: self._announce())
        self._calls.append(call)

    def _choose(self, call: _Call) -> TimeRange | None:
        """Decide what *call*, whose turn has come, is to bring; None where nothing is missing any more."""
        call.window = self._next_window()
        self._announce()
        return call.window

    def _urgency(self, call: _Call) -> int:
        """Return how many bars the most urgent of the requests still wants for which *call* has something to bring."""
        windows = [window for window in self._windows() if window != call.window]
        return min(
            (want.remainder(self._grid) for want in self._wants if any(subtract(want.open or (), windows))), default=0
        )

    def _waiting(self) -> list[_Call]:
        return [call for call in self._calls if call.window is None]

    def _windows(self) -> list[TimeRange]:
        """Return what is under way, or being taken in."""
        return [call.window for call in self._calls if call.window is not None]

    def _next_window(self) -> TimeRange | None:
        """Return the next page to fetch: the first one of the want that belongs to the smallest remainder."""
        windows = self._windows()
        for want in sorted(self._wants, key=lambda each: each.remainder(self._grid)):
            gaps = subtract(want.open or (), windows)
            window = next(pages(gaps, self._grid, self._exchange), None)
            # The page under way may show that one before the listing would be wasted.
            if window is not None and not (windows and self._may_be_unlisted(window)):
                return window
        return None

    def _may_be_unlisted(self, window: TimeRange) -> bool:
        """Tell whether the exchange may have had nothing yet in *window*: its listing is unknown, and so is any bar."""
        held = self._state.coverage.ranges(State.HELD)
        return self._reach.facts.listed_at is None and not any(part.start < window.start for part in held)

    async def _next_event(self) -> None:
        """Wait until a page is in, waiters have come or gone, or it is time for a checkpoint; take in what came."""
        changed = self._changed
        if not self._wants:
            return
        if not any(call.is_done for call in self._calls):
            elapsed = asyncio.get_running_loop().time() - self._committed_at
            try:
                await asyncio.wait_for(changed.wait(), _CHECKPOINT_SECS - elapsed if self._changes else None)
            except TimeoutError:
                return
        for call in [call for call in self._calls if call.is_done]:
            if call in self._calls:  # not given up for what the one before brought
                # Until all is known that it tells, nobody whose turn comes meanwhile asks for the same again.
                self._arrived = call
                await self._take_in(call)
                self._arrived = None
                self._give_up_calls([call])

    async def _take_in(self, call: _Call) -> None:
        now = await self._source.now(self._exchange.id)
        window = call.window or self._next_window()  # the latter where it failed before its turn came
        try:
            page = None if call.task is None else call.task.result()
            if page is not None and window is not None:
                await self._take_in_page(page, window, now)
        except UnknownSymbolError:
            await self._take_in_vanishing(now)
        except ExchangeUnavailableError as error:
            if window is None:
                return  # Nobody wants anything of it any more.
            _log.warning("page.failed", partition=str(self._partition), window=str(window), reason=error.reason)
            self._count_calls(window, error.tries)
            self._fail(window, now, error.reason)

    async def _take_in_page(self, page: Page, window: TimeRange, now: datetime) -> None:
        self._count_calls(window, page.calls)
        checked = check_page(page, window, self._grid, self._exchange, now)
        if checked.findings:
            self._findings.update(checked.findings)
            findings = {str(finding): count for finding, count in checked.findings.items()}
            _log.info("page.findings", partition=str(self._partition), window=str(window), **findings)
        if checked.is_empty and checked.answered is not None:
            try:
                await self._look_into_lifetime(now)
            except ExchangeUnavailableError as error:
                self._fail(window, now, error.reason)
                return
        await self._check_listing(checked, now)

        answered = [] if checked.answered is None else [checked.answered]
        wanted = self._wanted(window)
        change = settle(checked, wanted, self._grid, now)
        is_word = any(intersect_all(wanted, answered))  # on something that was asked
        unusable = [each.range for each in change.segments if each.state is State.FAILED] if is_word else wanted
        if unusable and self._may_ask_again(unusable[0].start):
            usable = [each for each in change.segments if each.state is not State.FAILED]
            self._apply(Change(change.rows, tuple(usable)), list(subtract(answered, unusable)))
            self._move_horizon(now, checked.served_from)
            return
        self._apply(change, answered)
        self._move_horizon(now, checked.served_from)
        # What an answer that was cut leaves open is asked again, but not for ever.
        bars = sum(map(self._grid.bars_in, answered))
        is_short = 2 * bars < self._grid.bars_in(window) and self._exchange.is_proven
        if is_short or not is_word:
            reason = "the answer was cut short" if answered else "the answer does not fit the question"
            self._fail(window, now, reason)

    def _may_ask_again(self, bar: datetime) -> bool:
        """Tell whether it is worth asking again for what an answer left unusable from *bar* on; counts the answers."""
        self._unusable_answers[bar] += 1
        return self._unusable_answers[bar] < _UNUSABLE_ANSWERS_MAX

    async def _take_in_vanishing(self, now: datetime) -> None:
        """Give up what is missing of a market that the exchange does not know any more."""
        reason = await self._register.why_unknown(self._partition.series)
        self._give_up_calls(self._calls)
        self._fail(self._partition.range, now, reason)

    async def _look_into_lifetime(self, now: datetime) -> None:
        """After an empty page: learn when the series was listed and whether it ended, and settle what lies outside."""
        if self._changes:
            await self._commit()  # It may take a while, in which nothing else is stored.
        facts, has_none = self._reach.facts, False
        if facts.listed_at is None and facts.listing_is_due(now):
            facts = await self._register.look_up_listing(self._partition.series, now, known_bar=self._state.oldest)
            has_none = facts.listed_at is None
        if not self._has_looked_at_end:
            self._has_looked_at_end = True
            facts = await self._register.look_up_delisting(self._partition.series, now)
        self._reach = replace(self._reach, facts=facts)
        for want in self._wants:
            want.settle(self._reach.absent)
        if has_none:
            # It said just now that it has no bar at all, which answers the other pages as well.
            wanted = self._wanted(self._partition.range)
            self._apply(self._without_rows(Segment(part, State.EMPTY, now, asks=1) for part in wanted), wanted)

    async def _check_listing(self, checked: CheckedPage, now: datetime) -> None:
        """Take back a listing that a row proves wrong: it was found while this page was under way."""
        listed_at = self._reach.facts.listed_at
        if listed_at is None or checked.rows.num_rows == 0:
            return
        oldest = from_ms(int(timestamps_ms(checked.rows)[0]))
        if oldest < listed_at:
            facts = await self._register.note_older_bar(self._partition.series, oldest, now)
            self._reach = replace(self._reach, facts=facts)
            self._reopen()

    def _move_horizon(self, now: datetime, served_from: datetime | None = None) -> None:
        """Settle what the exchange does not serve any more, but wait for what it was already asked about.

        Args:
            served_from: The oldest bar that it was seen to serve.
        """
        present = Reach.at(now, self._exchange, self._grid, None)
        self._reach = self._reach.moved_to(present.horizon).moved_to(served_from)
        under_way = [call.window for call in self._calls if call.window is not None and call is not self._arrived]
        gone = list(subtract(self._reach.out_of_reach, under_way))
        if any(any(intersect_all(want.open or (), gone)) for want in self._wants):
            for want in self._wants:
                want.settle(gone)
            self._announce()

    def _fail(self, window: TimeRange, now: datetime, reason: str) -> None:
        """Settle what is still wanted of *window* as failed, unless the exchange does not serve it any more."""
        self._move_horizon(now)
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

    def _give_up_calls(self, calls: list[_Call]) -> None:
        """Forget *calls* and end those that have not ended, which frees the places they have or wait for."""
        for call in list(calls):
            if call.task is not None:
                call.task.cancel()
            if call in self._calls:
                self._calls.remove(call)

    def _announce(self) -> None:
        """Wake everybody who waits for something to change."""
        self._changed.set()
        self._changed = asyncio.Event()
