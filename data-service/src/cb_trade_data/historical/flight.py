"""A flight: one partition's missing pages, fetched once for all who wait for them."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import pyarrow as pa
import structlog

from cb_trade_data.errors import CbTradeError, ExchangeUnavailableError, StorageUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector, Page
from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.knowledge import Knowledge
from cb_trade_data.historical.page_order import PageOrder, Want
from cb_trade_data.historical.paging import paging_of
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.historical.validation import CheckedPage
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange, intersect_all, subtract
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.interfaces import IStorageManager, PartitionLock
from cb_trade_data.storage.stored_partition import Change, StoredPartition

_log = structlog.get_logger(__name__)

# Between two checkpoints. Each writes all of the partition, perhaps a day of millions of trades: they take a tenth of
# the time, unless that means to wait longer than the most. What a kill loses meanwhile is only asked for again.
_CHECKPOINT_SECS: Final = 2.0
_CHECKPOINT_SECS_MAX: Final = 60.0
_CHECKPOINT_PER_COMMIT: Final = 9

# As often as a call that fails is tried; without waiting in between, for the exchange is there and answers.
_UNUSABLE_ANSWERS_MAX: Final = 5

# How often to look whether another process has let go of the partition, or stored more of it.
_LOCK_POLL_SECS: Final = (0.1, 0.4)


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

    The partition's lock is taken before a page is waited with, unless all who wait look ahead: they come last with the
    exchange, and another process that wants the partition at once is not to wait for them as well. For them it is taken
    when the first turn has come, which is given back: no place is held while the lock is looked for.
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
        self._storage = storage
        self._source = source
        self._register = register
        self._findings = findings
        self._exchange = source.facts(partition.series.exchange)
        self._paging = paging_of(partition.series, self._exchange)

        self._order = PageOrder(self._paging, lambda window: self._known.may_be_unlisted(window))
        known_now = partial(source.known_now, self._exchange.id)
        self._known = Knowledge(partition, reach, self._exchange, storage, register, self._order, known_now)
        self._calls: list[_Call] = []
        self._unusable_answers: Counter[datetime] = Counter()  # by the first bar that they left open
        self._committed_at = 0.0  # loop time
        self._checkpoint_secs = _CHECKPOINT_SECS
        self._commit_failed = False
        self._is_last_try = False  # what could not be stored gets one more try before the flight lands
        self._lock: PartitionLock | None = None
        self._may_fetch = False  # the lock is ours, or cannot be had
        self._missed_turn = False  # it came while we might not fetch
        self._failure: CbTradeError | None = None
        self._changed = asyncio.Event()
        self.landed = False  # takes no more waiters

    def learn(self, reach: Reach) -> None:
        """Take over what is newer in *reach*: what is missing depends on when the series was listed."""
        if self._known.learn(reach):
            self._announce()

    # --- For waiters -------------------------------------------------------------------------------------------------

    @contextmanager
    def joined(
        self, wanted: TimeRange, *, refresh: bool, now: datetime, bars_before: int = 0, bars_after: int = 0
    ) -> Iterator[Want]:
        """Wait for *wanted* as long as the context lasts. Leaving it early leaves the other waiters untouched.

        Args:
            bars_before: How many bars the same request may want of the partition before this one, where it looks ahead.
            bars_after: How many more bars it may want of the partitions after this one.
        """
        want = Want(wanted, refresh, now, bars_before, bars_after)
        self._order.join(want)
        if self._known.has_read:
            self._known.open(want)
        self._announce()
        try:
            yield want
        finally:
            self._order.leave(want)
            self._announce()

    async def follow(self, want: Want) -> AsyncGenerator[tuple[TimeRange, pa.Table], None]:
        """Yield the stretches of the want in time order, each with its rows as soon as it is settled.

        What `state` and `reach` say of a stretch when it is yielded is what its rows are; later it may be more. Ends
        when they are stored, too. From its first step on, the want does not look ahead any more.

        Raises:
            CbTradeError: The exchange refuses the series.
        """
        if want.bars_before:
            self._order.call_up(want)
            self._announce()
        cursor = want.range.start
        while True:
            changed = self._changed
            if want.open is not None:
                until = want.open[0].start if want.open else want.range.end
                if until > cursor:
                    stretch, cursor = TimeRange(cursor, until), until
                    yield stretch, self._known.state.rows_in(stretch)
                    continue
                if want.is_stored:
                    return
            if self._failure is not None:
                raise self._failure
            await changed.wait()

    @property
    def state(self) -> StoredPartition:
        """Everything known of the partition now."""
        return self._known.state

    @property
    def reach(self) -> Reach:
        """Where the series can have bars that can be had, as far as is known now."""
        return self._known.reach

    # --- The flight itself -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch until nothing is left to fetch or nobody waits. What goes wrong is told to the waiters."""
        try:
            await self._take_off()
            await self._fly()
        except CbTradeError as error:
            self._failure = error
            if not self._known.is_stored:
                await self._commit()
        except BaseException as error:
            self._failure = CbTradeError(f"fetching {self._partition} ended unexpectedly: {type(error).__name__}")
            if not self._known.is_stored and isinstance(error, Exception):
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
            changed = self._changed  # before anything is awaited: what happens meanwhile is an event, too
            self._give_up_calls([call for call in self._calls if not self._is_wanted(call)])
            if self._lock is not None and self._lock.is_lost:
                await self._hand_over(self._lock)
            if self._lock_is_due() and not await self._take_lock():
                continue
            await self._launch()
            if self._known.is_stored:
                self._mark_stored()
            if self._commit_is_due():
                await self._commit()
            elif self._calls:
                await self._next_event(changed)
            elif not self._known.is_stored and not self._is_last_try:
                self._is_last_try = True
                await self._commit()
            else:
                return

    async def _take_off(self) -> None:
        await self._known.read()
        self._committed_at = asyncio.get_running_loop().time()
        self._announce()

    def _lock_is_due(self) -> bool:
        if self._may_fetch or self._order.next_window is None:
            return False
        return self._missed_turn or not all(want.bars_before for want in self._order.wants)

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
            await self._known.read_again()
        self._announce()
        return self._may_fetch

    async def _hand_over(self, lost: PartitionLock) -> None:
        """After losing the lock: store what came in and queue again; whoever has it now may be fetching the same."""
        _log.warning("flight.lock_lost", partition=str(self._partition))
        self._lock, self._may_fetch, self._missed_turn = None, False, False
        self._give_up_calls(self._calls)
        await lost.release()
        if not self._known.is_stored:
            await self._commit()
            self._known.reopen()
            self._announce()

    async def _launch(self) -> None:
        """Have a page wait for its turn, if there is one to fetch and none that waits already.

        Also while all the places are taken by pages of this flight: a place that one of them leaves is given away at
        once, and who is not waiting then is passed by all who are.
        """
        call = _Call()
        if any(each.window is None for each in self._calls) or not self._is_wanted(call):
            return
        # Read the exchange's clock before anything that it judges.
        if self._known.move_horizon(await self._source.now(self._exchange.id)):
            self._announce()
            if not self._is_wanted(call):
                return
        choose, urgency = partial(self._choose, call), partial(self._urgency, call)
        call.task = asyncio.create_task(self._source.fetch_page(self._partition.series, choose, urgency))
        call.task.add_done_callback(lambda _: self._announce())
        self._calls.append(call)
        self._is_last_try = False

    def _choose(self, call: _Call) -> TimeRange | None:
        """Decide what *call*, whose turn has come, is to bring; None where nothing is missing any more, or not yet."""
        if call.window is not None:  # it is tried again
            return call.window if self._is_wanted(call) else None
        if self._may_fetch:
            call.window = self._order.begin()
        else:
            self._missed_turn = True
        self._announce()
        return call.window

    def _urgency(self, call: _Call) -> int:
        """Return how urgent *call* is: without the lock no more than looking ahead is, for its turn would be missed."""
        if self._may_fetch:
            return self._order.urgency(call.window)
        return min(
            (want.remainder(self._paging) for want in self._order.wants if want.bars_before), default=sys.maxsize
        )

    def _is_wanted(self, call: _Call) -> bool:
        """Tell whether anybody still wants something of what *call* brings, or would bring."""
        if call.window is None:
            return self._order.next_window is not None
        return self._order.is_wanted(call.window)

    async def _next_event(self, changed: asyncio.Event) -> None:
        """Wait until a page is in, waiters have come or gone, or it is time for a checkpoint; take in what came."""
        if not self._order.wants:
            return
        if not any(call.is_done for call in self._calls):
            elapsed = asyncio.get_running_loop().time() - self._committed_at
            try:
                await asyncio.wait_for(
                    changed.wait(), None if self._known.is_stored else self._checkpoint_secs - elapsed
                )
            except TimeoutError:
                return
        for call in [call for call in self._calls if call.is_done]:
            if call in self._calls:  # not given up for what the one before brought
                await self._take_in(call)
                self._give_up_calls([call])
                self._announce()

    async def _take_in(self, call: _Call) -> None:
        if call.window is not None:
            self._order.arrive(call.window)
        now = await self._source.now(self._exchange.id)
        window = call.window or self._order.next_window  # the latter where it failed before its turn came
        try:
            page = None if call.task is None else call.task.result()
            if page is not None and window is not None:
                await self._take_in_page(page, window, now)
        except UnknownSymbolError:
            await self._take_in_vanishing(now)
        except ExchangeUnavailableError as error:
            if window is None:
                return  # Nobody wants anything of it any more.
            if not self._may_fetch:
                self._missed_turn = True
                return  # Who has the lock may have got it.
            _log.warning("page.failed", partition=str(self._partition), window=str(window), reason=error.reason)
            self._count_calls(window, error.tries)
            self._known.add_failure(window, now, error.reason)

    async def _take_in_page(self, page: Page, window: TimeRange, now: datetime) -> None:
        self._count_calls(window, page.calls)
        checked = self._paging.check(page, window, now)
        if checked.findings:
            self._findings.update(checked.findings)
            findings = {str(finding): count for finding, count in checked.findings.items()}
            _log.info("page.findings", partition=str(self._partition), window=str(window), **findings)
        await self._known.check_listing(checked.rows, now)
        lead = checked.lead
        if lead is None or not (checked.is_empty or self._known.may_be_unlisted(lead)):
            self._settle(checked, window, now)
            return
        if lead.end < window.end:
            self._settle(checked, TimeRange(lead.end, window.end), now)
        if not self._known.is_stored:
            await self._commit()  # What follows may take a while, in which nothing else is stored.
        try:
            if checked.is_empty:
                await self._known.look_into_lifetime(now)
            else:
                await self._known.look_into_beginning(lead, now)
        except ExchangeUnavailableError as error:
            self._known.add_failure(lead, now, error.reason)
        else:
            self._settle(checked, lead, now)

    def _settle(self, checked: CheckedPage, window: TimeRange, now: datetime) -> None:
        """Add what a page tells of *window*, which is all of its own or a part of it."""
        answered = [] if checked.answered is None else list(intersect_all([checked.answered], [window]))
        wanted = self._order.wanted_in(window)
        change = self._paging.settle(checked, wanted, now, self._known.state)
        is_word = any(intersect_all(wanted, answered))  # on something that was asked
        unusable = [each.range for each in change.segments if each.state is State.FAILED] if is_word else wanted
        if unusable and self._may_ask_again(unusable[0].start):
            usable = [each for each in change.segments if each.state is not State.FAILED]
            self._known.add(Change(change.rows, tuple(usable)), list(subtract(answered, unusable)))
            self._known.move_horizon(now, checked.served_from)
            return
        self._known.add(change, answered)
        self._known.move_horizon(now, checked.served_from)
        # What an answer that was cut leaves open is asked again, but not for ever.
        if self._paging.is_cut_short(answered, window) or not is_word:
            reason = "the answer was cut short" if answered else "the answer does not fit the question"
            self._known.add_failure(window, now, reason)

    def _may_ask_again(self, bar: datetime) -> bool:
        """Tell whether it is worth asking again for what an answer left unusable from *bar* on; counts the answers."""
        self._unusable_answers[bar] += 1
        return self._unusable_answers[bar] < _UNUSABLE_ANSWERS_MAX

    async def _take_in_vanishing(self, now: datetime) -> None:
        """Give up what is missing of a market that the exchange does not know any more."""
        reason = await self._register.why_unknown(self._partition.series)
        self._give_up_calls(self._calls)
        self._known.add_failure(self._partition.range, now, reason)

    def _count_calls(self, window: TimeRange, calls: int) -> None:
        for want in self._order.wants:
            if want.open_in(window):
                want.calls += calls

    def _commit_is_due(self) -> bool:
        if self._known.is_stored:
            return False
        elapsed = asyncio.get_running_loop().time() - self._committed_at
        somebody_waits = any(want.lacks_only_storing for want in self._order.wants)
        is_last = not self._calls and not self._commit_failed
        return somebody_waits or is_last or elapsed >= self._checkpoint_secs

    async def _commit(self) -> None:
        """Store what is not stored yet; what cannot be stored now is tried again with the next commit."""
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        try:
            await self._known.commit()
            self._commit_failed = False
        except CbTradeError as error:
            # The waiters get their rows all the same; storage counts, logs and shows the failure.
            _log.warning("flight.not_stored", partition=str(self._partition), code=error.code)
            self._commit_failed = True
        self._committed_at = loop.time()
        pause_secs = _CHECKPOINT_PER_COMMIT * (self._committed_at - begun_at)
        self._checkpoint_secs = min(max(_CHECKPOINT_SECS, pause_secs), _CHECKPOINT_SECS_MAX)
        self._mark_stored()

    def _mark_stored(self) -> None:
        """Let go whose rows are all settled: they are stored, or were found impossible to store."""
        served = [want for want in self._order.wants if want.lacks_only_storing]
        for want in served:
            want.is_stored = True
        if served:
            self._announce()

    def _give_up_calls(self, calls: list[_Call]) -> None:
        """Forget *calls* and end those that have not ended, which frees the places they have or wait for."""
        for call in list(calls):
            if call.task is not None:
                call.task.cancel()
                call.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody wants to know
            if call in self._calls:
                self._calls.remove(call)
                if call.window is not None:
                    self._order.end(call.window)

    def _announce(self) -> None:
        """Wake everybody who waits for something to change."""
        self._changed.set()
        self._changed = asyncio.Event()
