"""The main job's front: what is asked for is checked, clipped to what has closed, and answered or planned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial

from cb_trade_data.errors import (
    RangeInFutureError,
    RangeTooLargeError,
    StorageUnavailableError,
    UnknownTimeframeError,
    UnsupportedKindError,
)
from cb_trade_data.exchange_source.facts import ExchangeFacts
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
from cb_trade_data.historical.quality_report import (
    ACCURACY_SECS,
    Details,
    QualityPage,
    report_quality,
    shorter,
    with_accuracy,
)
from cb_trade_data.historical.quality_watch import AskedSeries
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.historical.views.viewing import viewed
from cb_trade_data.models.instants import utc_now
from cb_trade_data.models.messages import Fill
from cb_trade_data.models.partition import Partition, partition_at, partitions_of, pieces_of
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe, derivable_from, other_name, source_of
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
        asked: AskedSeries | None = None,
    ) -> None:
        """
        Args:
            preference: The exchanges that come first where a request leaves the choice to us.
            asked: Where to note what is asked for.
        """
        self._storage = storage
        self._source = source
        self._register = register
        self._fetcher = fetcher
        self._current_fetcher = current_fetcher
        self._local_now = local_now
        self._asked = asked or AskedSeries()
        self._chooser = ExchangeChooser(
            storage,
            source,
            preference,
            name_series=self.series_or_derived,
            closed_bars=self._closed_bars,
            present=self._now,
        )

    def series(self, exchange: str, symbol: str, kind: str, timeframe: str | None) -> Series:
        """See `IHistoricalDataManager.series`."""
        facts = self._source.facts(exchange)
        if kind not in facts.kinds:
            raise UnsupportedKindError(exchange, kind)
        if timeframe is not None and timeframe not in facts.timeframes:
            known, called = list(facts.timeframes), other_name(timeframe, facts.timeframes)
            derived = _derived_series(exchange, symbol, timeframe, facts.timeframes)
            source = None if derived is None else str(derived.derived_from)
            raise UnknownTimeframeError(exchange, timeframe, known, _without_bars(facts), called=called, source=source)
        series = _series(exchange, symbol, kind, timeframe)
        if series.kind not in {Kind.OHLCV, Kind.ORDER_BOOK} and facts.event_paging(series) is None:
            raise UnsupportedKindError(exchange, kind, symbol)
        return series

    def series_or_derived(
        self, exchange: str, symbol: str, kind: str, timeframe: str | None, *, derive: bool = False
    ) -> Series:
        """See `IHistoricalDataManager.series_or_derived`."""
        facts = self._source.facts(exchange)
        known = facts.timeframes
        if timeframe is None or (timeframe in known and not derive):
            return self.series(exchange, symbol, kind, timeframe)
        derived = _derived_series(exchange, symbol, timeframe, known)
        if derived is None:
            derivable = list(derivable_from(known))
            called = other_name(timeframe, [*known, *derivable])
            raise UnknownTimeframeError(exchange, timeframe, list(known), _without_bars(facts), derivable, called)
        return derived

    async def choose(self, question: OpenQuestion, *, may_ask: bool) -> Choice:
        """See `IHistoricalDataManager.choose`."""
        return await self._chooser.choose(question, may_ask=may_ask)

    async def open(self, series: Series, wanted: TimeRange, *, refresh: bool, fill: Fill = Fill.NONE) -> IAnswer:
        """See `IHistoricalDataManager.open`."""
        is_plain = fill is Fill.NONE and series.derived_from is None
        if is_plain and not refresh and (kept := kept_answer(self._storage, series, wanted)) is not None:
            self._asked.note(series)
            return kept
        source = series.source
        facts = await self._register.facts(source)
        self._asked.note(source)  # not before it is known that there is such a symbol
        now = self._source.known_now(series.exchange)
        if now is None:
            now = await self._present(series, wanted, facts, refresh=refresh)
        _refuse_future(wanted.start, now)
        facts = await self._register.recheck(source, facts, wanted, now, force=refresh)
        exchange = self._source.facts(series.exchange)
        present = partial(self._now, series.exchange)
        ask = partial(
            Answer,
            reach=Reach.at(now, exchange, source, facts),
            exchange=exchange,
            refresh=refresh,
            storage=self._storage,
            fetcher=self._fetcher,
            now=present,
        )
        closed_until = self._closed_until(series, now)
        if is_plain:
            return ask(series, wanted, closed_until)
        return viewed(ask, series, wanted, closed_until, fill, facts, self._storage, present)

    async def plan(
        self, series: Series, wanted: TimeRange, *, refresh: bool, rows_max: int | None = None
    ) -> HistoryPlan:
        """See `IHistoricalDataManager.plan`."""
        _refuse_future(wanted.start, self._now(series.exchange))
        bars = self._closed_bars(series, wanted)
        source = series.source
        facts = await self._storage.facts(source)
        if bars is not None and facts is not None:
            bars = facts.listed_part(bars)
        if bars is None:
            return HistoryPlan(0, (), 0)
        if series.timeframe is not None and rows_max is not None and (rows := source.grid.bars_in(bars)) > rows_max:
            raise RangeTooLargeError(rows, rows_max)

        reach = self._reach(source, facts)
        rows, calls = 0, 0
        gaps: list[TimeRange] = []
        now = self._now(series.exchange)
        paging = paging_of(source, self._source.facts(series.exchange))
        for partition, part in partitions_of(source, bars):
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
        side, other = await self._side(bars), await self._side(trades)
        return await compare_stored(self._storage, side, other, await self._storage.list_partitions(trades), closed)

    async def quality(
        self, bars: Series, start: datetime | None, end: datetime | None, *, details: bool, limit: int
    ) -> QualityPage:
        """See `IHistoricalDataManager.quality`."""
        now = self._now(bars.exchange)
        if start is not None:
            _refuse_future(start, now)
        partitions = await self._storage.list_partitions(bars)
        wanted = await known_range(self._storage, partitions, start, end)
        closed = None if wanted is None else self._closed_bars(bars, wanted)
        facts = await self._storage.facts(bars)
        if closed is None or not (partitions or facts):  # Of what is not known at all there may be no such market.
            return QualityPage(details=Details() if details else None)
        side, closed_until = StoredSide(bars, self._reach(bars, facts)), self._closed_until(bars, now)
        page = await report_quality(self._storage, side, partitions, closed, closed_until, details=details, limit=limit)
        if end is not None and end < closed_until:
            page = replace(page, bars_behind=None)  # Of the past nobody wants to know how fresh the series is.
        if details:
            until_secs = asyncio.get_running_loop().time() + ACCURACY_SECS
            for source in self._sources(bars):
                compared = await with_accuracy(self._storage, page, side, await self._side(source), until_secs)
                if compared is not None:
                    return compared
        return page

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
        source = series.source
        newest = source.grid.bar(source.grid.advance(bars.end, -1))
        try:
            coverage = await self._storage.coverage(partition_at(source, newest.start))
        except StorageUnavailableError:
            return await self._source.now(series.exchange)
        # Not what our own clock puts out of reach: how far back an exchange answers is counted from its own present.
        if any(missing(newest, coverage, absent=facts.absent, now=now, failures_since=now)):
            return await self._source.now(series.exchange)
        return now

    def _sources(self, bars: Series) -> Iterator[Series]:
        """Yield what *bars* can be made of, the best first: trades, if there are any of the past, then shorter bars."""
        with suppress(UnsupportedKindError):
            yield self.series(bars.exchange, bars.symbol, Kind.TRADES, None)
        for timeframe in shorter(bars, self._source.facts(bars.exchange).timeframes):
            yield self.series(bars.exchange, bars.symbol, Kind.OHLCV, str(timeframe))

    async def _side(self, series: Series) -> StoredSide:
        return StoredSide(series, self._reach(series, await self._storage.facts(series)))

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


def _without_bars(facts: ExchangeFacts) -> list[str]:
    return sorted(facts.kinds - {Kind.OHLCV})


def _refuse_future(start: datetime, now: datetime) -> None:
    if start >= now:
        raise RangeInFutureError(start, now)


@lru_cache(maxsize=10_000)
def _series(exchange: str, symbol: str, kind: str, timeframe: str | None) -> Series:
    """Return the very same series to all who ask for it: it is looked up again and again."""
    return Series(exchange, symbol, Kind(kind), None if timeframe is None else Timeframe.parse(timeframe))


@lru_cache(maxsize=10_000)
def _derived_series(exchange: str, symbol: str, timeframe: str, known: tuple[str, ...]) -> Series | None:
    """Return the series whose bars are put together from the longest of *known* that will do; None if none will."""
    try:
        wanted = Timeframe.parse(timeframe)
    except ValueError:
        return None
    source = source_of(wanted, map(Timeframe.parse, known))
    return None if source is None else Series(exchange, symbol, Kind.OHLCV, wanted, source)
