"""What is known of a partition in the air: what storage holds, what came in since, and what can be had at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

import pyarrow as pa

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.historical.page_order import PageOrder, Want
from cb_trade_data.historical.planning import missing
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import slice_range, timestamps_ms
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange, intersect_all, subtract
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition


class Knowledge:
    """Whatever is learned settles what is wanted, at once; stored it is when that is asked for.

    Attributes:
        state: Every row, and all coverage, stored or not.
        reach: Where the series can have bars that can be had.
        has_read: Whether storage has been read; before that, it is unknown what is open of any want.
    """

    def __init__(
        self,
        partition: Partition,
        reach: Reach,
        exchange: ExchangeFacts,
        storage: IStorageManager,
        register: SeriesRegister,
        order: PageOrder,
        known_now: Callable[[], datetime | None],
    ) -> None:
        """
        Args:
            known_now: Returns the exchange's present; None where its clock has not been read.
        """
        self._partition = partition
        self._exchange = exchange
        self._storage = storage
        self._register = register
        self._order = order
        self._known_now = known_now
        self._stored = StoredPartition.empty(partition)  # the last state that storage confirmed
        self._changes: list[Change] = []  # what lies between that and `state`
        self.state = self._stored
        self._has_looked_at_end = False  # whether the market is still traded
        self.reach = reach
        self.has_read = False

    # --- From and to storage -----------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Read what is stored; nothing where that is not possible."""
        self._stored = self.state = await self._storage.read_if_possible(self._partition)
        self.has_read = True
        self.reopen()

    async def read_again(self) -> None:
        """Take over what somebody else has stored since, of the partition and of the whole series.

        Raises:
            StorageUnavailableError: It cannot be read now.
        """
        if await self._storage.version(self._partition) != self._stored.version:
            self._stored = await self._storage.read(self._partition)
            self.state = self._stored.with_changes(self._changes)
            self.reopen()
        # A listing that was found settles what lies before it, and is written nowhere in the partition.
        facts = await self._storage.facts(self._partition.series, anew=True)
        if facts is not None:
            self.learn(Reach(facts))

    @property
    def is_stored(self) -> bool:
        """Whether everything is stored."""
        return not self._changes

    async def commit(self) -> None:
        """Store what is not stored yet.

        Raises:
            CbTradeError: It could not be stored, and is kept for the next time.
        """
        changes = list(self._changes)
        self._stored = await self._storage.commit(self._stored, changes)
        del self._changes[: len(changes)]
        self.state = self._stored.with_changes(self._changes)

    # --- What it settles ---------------------------------------------------------------------------------------------

    def open(self, want: Want) -> None:
        """Find out what of *want* is missing."""
        gaps = missing(
            want.range,
            self.state.coverage,
            absent=self.reach.absent,
            now=self._known_now() or want.since,
            failures_since=want.since,
            refresh=want.refresh,
        )
        self._order.open(want, list(gaps))

    def reopen(self) -> None:
        """Find out anew what is missing; who wants a refresh, wants the exchange asked all the same."""
        self._order.settle(self.reach.absent)
        for want in self._order.wants:
            if want.open is None or not want.refresh:
                self.open(want)

    def learn(self, reach: Reach) -> bool:
        """Take over what is newer in *reach*, and tell whether that was news of the series."""
        before, self.reach = self.reach, self.reach.learning(reach.facts).moved_to(reach.horizon)
        is_news = self.reach.facts != before.facts
        if is_news and self.has_read:
            self.reopen()
        return is_news

    async def look_into_lifetime(self, now: datetime) -> None:
        """After an empty page: find out when the series was listed and whether it ended.

        Raises:
            ExchangeUnavailableError: The exchange does not tell.
        """
        series, facts, has_none = self._partition.series, self.reach.facts, False
        if facts.listed_at is None and facts.listing_is_due(now):
            facts = await self._register.look_up_listing(series, now, known_bar=self.state.oldest)
            has_none = facts.listed_at is None
        if not self._has_looked_at_end:
            self._has_looked_at_end = True
            facts = await self._register.look_up_delisting(series, now)
        self._take_over(facts)
        if has_none:
            # It said just now that it has no bar at all, which answers the other pages as well.
            self._add_silence(self._partition.range, now)

    async def look_into_beginning(self, lead: TimeRange, now: datetime) -> None:
        """After a page whose first bars are missing, while none before is known: find out when the series was listed.

        Where that is not to be asked again yet, there being nothing is evidence with a date: it is not known to be a
        hole between two bars.

        Args:
            lead: What is missing, up to the first bar that came.

        Raises:
            ExchangeUnavailableError: The exchange does not tell.
        """
        series, facts, oldest = self._partition.series, self.reach.facts, self.state.oldest
        if facts.listing_is_due(now):
            facts = await self._register.look_up_listing(series, now, known_bar=min(lead.end, oldest or lead.end))
        if oldest is not None and facts.listed_at is not None and oldest < facts.listed_at:
            # Somebody else looked it up meanwhile, who did not know of that bar.
            facts = await self._register.note_older_bar(series, oldest, now)
        self._take_over(facts)
        if facts.listed_at is None:
            self._add_silence(lead, now)

    async def check_listing(self, rows: pa.Table, now: datetime) -> None:
        """Take back a listing that *rows* of a page prove wrong: it was found while that was under way."""
        listed_at = self.reach.facts.listed_at
        if listed_at is None or rows.num_rows == 0:
            return
        oldest = from_ms(int(timestamps_ms(rows)[0]))
        if oldest < listed_at:
            facts = await self._register.note_older_bar(self._partition.series, oldest, now)
            self.reach = replace(self.reach, facts=facts)
            self.reopen()

    def move_horizon(self, now: datetime, served_from: datetime | None = None) -> bool:
        """Settle what the exchange does not serve any more, but wait for what it was already asked about.

        Args:
            served_from: The oldest bar that it was seen to serve.

        Returns:
            Whether that settled anything.
        """
        if self.reach.horizon is None:
            return False
        present = Reach.at(now, self._exchange, self._partition.series, None)
        self.reach = self.reach.moved_to(present.horizon).moved_to(served_from)
        gone = list(subtract(self.reach.out_of_reach, self._order.unanswered))
        settles = any(any(intersect_all(want.open or (), gone)) for want in self._order.wants)
        if settles:
            self._order.settle(gone)
        return settles

    def may_be_unlisted(self, window: TimeRange) -> bool:
        """Tell whether the exchange may have had nothing yet in *window*.

        Its listing is unknown, and so is any bar of the partition from before.
        """
        oldest = self.state.oldest
        return self.reach.facts.listed_at is None and (oldest is None or oldest >= window.start)

    def add(self, change: Change, answered: list[TimeRange]) -> None:
        """Add what the exchange told, which settles *answered*."""
        if change.segments:
            self._changes.append(change)
            self.state = self.state.with_changes([change])
        failed = [each for each in change.segments if each.state is State.FAILED]
        for want in self._order.wants:
            # Where rows are held, a failed refresh leaves no trace in the coverage; its asker is told all the same.
            want.failures += [segment for segment in failed if want.refresh and want.open_in(segment.range)]
            want.rows_fetched += sum(slice_range(change.rows, part).num_rows for part in want.open or ())
        self._order.settle(answered)

    def add_failure(self, window: TimeRange, now: datetime, reason: str) -> None:
        """Add that what is wanted of *window* could not be had, unless the exchange does not serve it any more."""
        self.move_horizon(now)
        failed = [Segment(part, State.FAILED, now, reason=reason) for part in self._order.wanted_in(window)]
        self._add_without_rows(failed, [window])

    def _take_over(self, facts: SeriesFacts) -> None:
        """Settle where the series is absent by what the exchange told of it just now."""
        self.reach = replace(self.reach, facts=facts)
        self._order.settle(self.reach.absent)

    def _add_silence(self, window: TimeRange, now: datetime) -> None:
        """Add that the exchange has nothing where something is wanted of *window*."""
        wanted = self._order.wanted_in(window)
        self._add_without_rows([Segment(part, State.EMPTY, now, asks=1) for part in wanted], wanted)

    def _add_without_rows(self, segments: Iterable[Segment], answered: list[TimeRange]) -> None:
        self.add(Change(self.state.rows.slice(0, 0), tuple(segments)), answered)
