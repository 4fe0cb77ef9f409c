"""The main job's front: what is asked for is checked, clipped to what has closed, and answered or planned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import lru_cache, partial

from cb_trade_data.errors import (
    RangeInFutureError,
    RangeTooLargeError,
    StorageUnavailableError,
    UnknownTimeframeError,
    UnsupportedKindError,
)
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.historical.answer import Answer
from cb_trade_data.historical.choice import Choice, ExchangeChooser, OpenQuestion
from cb_trade_data.historical.comparing import ComparisonPage, StoredSide, compare_stored
from cb_trade_data.historical.current_fetcher import CurrentDataFetcher
from cb_trade_data.historical.fetcher import HistoricalFetcher
from cb_trade_data.historical.interfaces import CurrentState, IAnswer, IHistoricalDataManager
from cb_trade_data.historical.inventory import InventoryPage, take_inventory
from cb_trade_data.historical.kept_answer import kept_answer
from cb_trade_data.historical.ledger import LedgerPage
from cb_trade_data.historical.ledger_reader import known_range, read_ledger
from cb_trade_data.historical.paging import paging_of
from cb_trade_data.historical.planning import HistoryPlan, missing
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.instants import utc_now
from cb_trade_data.models.partition import Partition, partition_at, partitions_of, pieces_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts


class HistoricalDataManagerImpl(IHistoricalDataManager):
    """An answer that storage settles touches no network at all: no markets, no clock, no listing."""

    def __init__(
        self,
        storage: IStorageManager,
        source: IDataSourceConnector,
        register: SeriesRegister,
        fetcher: HistoricalFetcher,
        current_fetcher: CurrentDataFetcher,
        local_now: Callable[[], datetime] = utc_now,
        preference: Sequence[str] = (),
    ) -> None:
        """*preference*: the exchanges that come first where a request leaves the choice to us."""
        self._storage = storage
        self._source = source
        self._register = register
        self._fetcher = fetcher
        self._current_fetcher = current_fetcher
        self._local_now = local_now
        self._chooser = ExchangeChooser(
            storage,
            source,
            preference,
            name_series=self.series,
            closed_bars=self._closed_bars,
            present=self._now,
        )

    def series(self, exchange: str, symbol: str, kind: str, timeframe: str | None) -> Series:
        """See `IHistoricalDataManager.series`."""
        facts = self._source.facts(exchange)
        if kind not in facts.kinds:
            raise UnsupportedKindError(exchange, kind)
        if timeframe is not None and timeframe not in facts.timeframes:
            kinds = sorted(facts.kinds - {Kind.OHLCV})
            raise UnknownTimeframeError(exchange, timeframe, list(facts.timeframes), kinds)
        series = _series(exchange, symbol, kind, timeframe)
        if series.kind not in {Kind.OHLCV, Kind.ORDER_BOOK} and facts.event_paging(series) is None:
            raise UnsupportedKindError(exchange, kind, symbol)
        return series

    async def choose(self, question: OpenQuestion, *, may_ask: bool) -> Choice:
        """See `IHistoricalDataManager.choose`."""
        return await self._chooser.choose(question, may_ask=may_ask)

    async def open(self, series: Series, wanted: TimeRange, *, refresh: bool) -> IAnswer:
        """See `IHistoricalDataManager.open`."""
        if not refresh and (kept := kept_answer(self._storage, series, wanted)) is not None:
            return kept
        facts = await self._register.facts(series)
        now = self._source.known_now(series.exchange)
        if now is None:
            now = await self._present(series, wanted, facts, refresh=refresh)
        _refuse_future(wanted.start, now)
        facts = await self._register.recheck(series, facts, wanted, now, force=refresh)
        exchange = self._source.facts(series.exchange)
        return Answer(
            series,
            wanted,
            self._closed_until(series, now),
            Reach.at(now, exchange, series, facts),
            exchange,
            refresh=refresh,
            storage=self._storage,
            fetcher=self._fetcher,
            now=partial(self._now, series.exchange),
        )

    async def plan(
        self, series: Series, wanted: TimeRange, *, refresh: bool, rows_max: int | None = None
    ) -> HistoryPlan:
        """See `IHistoricalDataManager.plan`."""
        _refuse_future(wanted.start, self._now(series.exchange))
        bars = self._closed_bars(series, wanted)
        facts = await self._storage.facts(series)
        if bars is not None and facts is not None:
            bars = facts.listed_part(bars)
        if bars is None:
            return HistoryPlan(0, (), 0)
        if series.timeframe is not None and rows_max is not None and (rows := series.grid.bars_in(bars)) > rows_max:
            raise RangeTooLargeError(rows, rows_max)

        reach = self._reach(series, facts)
        rows, calls = 0, 0
        gaps: list[TimeRange] = []
        now = self._now(series.exchange)
        paging = paging_of(series, self._source.facts(series.exchange))
        for partition, part in partitions_of(series, bars):
            coverage, stored_rows = await self._stored(partition, part)
            open_parts = list(
                missing(part, coverage, absent=reach.absent, now=now, failures_since=now, refresh=refresh)
            )
            rows += stored_rows
            calls += sum(1 for _ in paging.windows(open_parts))
            gaps += open_parts
        return HistoryPlan(rows, tuple(gaps), calls)

    async def coverage(self, series: Series, start: datetime | None, end: datetime | None, *, limit: int) -> LedgerPage:
        """See `IHistoricalDataManager.coverage`."""
        if start is not None:
            _refuse_future(start, self._now(series.exchange))
        partitions = await self._storage.list_partitions(series)
        wanted = await known_range(self._storage, partitions, start, end)
        bars = None if wanted is None else self._closed_bars(series, wanted)
        if bars is None:
            return LedgerPage.empty()
        reach = self._reach(series, await self._storage.facts(series))
        return await read_ledger(self._storage, series, partitions, bars, reach, limit=limit)

    async def compare(self, bars: Series, wanted: TimeRange) -> ComparisonPage:
        """See `IHistoricalDataManager.compare`."""
        _refuse_future(wanted.start, self._now(bars.exchange))
        trades = self.series(bars.exchange, bars.symbol, Kind.TRADES, None)
        closed = self._closed_bars(bars, wanted)
        if closed is None:
            return ComparisonPage.empty()
        return await compare_stored(
            self._storage,
            StoredSide(bars, self._reach(bars, await self._storage.facts(bars))),
            StoredSide(trades, self._reach(trades, await self._storage.facts(trades))),
            await self._storage.list_partitions(trades),
            closed,
        )

    async def inventory(
        self,
        exchange: str | None,
        symbol: str | None,
        *,
        after: str | None,
        limit: int,
        visible: Collection[str] | None = None,
    ) -> InventoryPage:
        """See `IHistoricalDataManager.inventory`."""
        if exchange is not None:
            self._source.facts(exchange)
        return await take_inventory(self._storage, exchange, symbol, after=after, limit=limit, visible=visible)

    async def current(self, series: Series) -> CurrentState:
        """See `IHistoricalDataManager.current`."""
        return await self._current_fetcher.current(series)

    async def _present(self, series: Series, wanted: TimeRange, facts: SeriesFacts, *, refresh: bool) -> datetime:
        """Return the present, although nobody has read the exchange's clock yet: which is done unless it can be spared.

        It can where storage settles the newest bar that is closed by our own clock: then the answer's end is clear. If
        it does not, the exchange is going to be called anyway.
        """
        now = self._local_now()
        closed_until = self._closed_until(series, now)
        if refresh or wanted.start >= closed_until:
            return await self._source.now(series.exchange)
        bars = series.grid.snap(TimeRange(wanted.start, min(wanted.end, closed_until)))
        if bars is None:
            return now  # The range lies between two opens of the past.
        newest = series.grid.bar(series.grid.advance(bars.end, -1))
        try:
            coverage = await self._storage.coverage(partition_at(series, newest.start))
        except StorageUnavailableError:
            return await self._source.now(series.exchange)
        # Not what our own clock puts out of reach: how far back an exchange answers is counted from its own present.
        if any(missing(newest, coverage, absent=facts.absent, now=now, failures_since=now)):
            return await self._source.now(series.exchange)
        return now

    async def _stored(self, partition: Partition, part: TimeRange) -> tuple[Coverage, int]:
        """Return what is known of *partition*, and how many rows are stored of *part*: of trades, read by the hour."""
        first, *later = pieces_of(partition.series, part)
        stored = await self._storage.read(partition, first)
        coverage, rows = stored.coverage, stored.rows_in(first).num_rows
        if stored.version is not None:
            for piece in later:
                rows += (await self._storage.read(partition, piece)).rows_in(piece).num_rows
        return coverage, rows

    def _closed_bars(self, series: Series, wanted: TimeRange) -> TimeRange | None:
        """Return the closed bars that open in *wanted*, as far as the present is known."""
        end = min(wanted.end, self._closed_until(series, self._now(series.exchange)))
        return series.grid.snap(TimeRange(wanted.start, end)) if wanted.start < end else None

    def _closed_until(self, series: Series, now: datetime) -> datetime:
        return series.grid.closed_until(now, self._source.facts(series.exchange).settle_margin_of(series))

    def _reach(self, series: Series, facts: SeriesFacts | None) -> Reach:
        return Reach.at(self._now(series.exchange), self._source.facts(series.exchange), series, facts)

    def _now(self, exchange: str) -> datetime:
        """Return the exchange's present where its clock was read, else ours."""
        return self._source.known_now(exchange) or self._local_now()


def _refuse_future(start: datetime, now: datetime) -> None:
    if start >= now:
        raise RangeInFutureError(start, now)


@lru_cache(maxsize=10_000)
def _series(exchange: str, symbol: str, kind: str, timeframe: str | None) -> Series:
    """Return the very same series to all who ask for it: it is looked up again and again."""
    return Series(exchange, symbol, Kind(kind), None if timeframe is None else Timeframe.parse(timeframe))
