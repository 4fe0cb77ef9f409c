"""Which exchange answers where a request leaves that open: the first that can, found out at the least cost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from cb_trade_data.errors import (
    CbTradeError,
    ErrorCode,
    ExchangesForbiddenError,
    ExchangeUnavailableError,
    NoExchangeError,
    NoExchangeNowError,
    StorageUnavailableError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UnsupportedKindError,
)
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.historical.inquiry import Inquiry
from cb_trade_data.historical.planning import missing
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.messages import EXCHANGES_MAX
from cb_trade_data.models.partition import partitions_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange, intersect_all
from cb_trade_data.storage.coverage import Coverage, State
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts

# How long a choice waits for exchanges to tell their markets, for all of them together; they go on telling them.
_PATIENCE_SECS: Final = 15.0
# What is in the way, from what came closest to an answer.
_CLOSEST_FIRST: Final = (ErrorCode.UNKNOWN_SYMBOL, ErrorCode.UNKNOWN_TIMEFRAME, ErrorCode.UNSUPPORTED_KIND)


@dataclass(frozen=True)
class OpenQuestion:
    """What is asked, with the exchange left open.

    Attributes:
        exchanges: Those to choose from, in the order of the request; None for any.
        wanted: The range; None where the question is about none.
        refresh: Whether all of it is to be fetched, whatever is stored.
        derive: Whether the bars are to be made of shorter ones, although an exchange has such bars.
        may_use: Tells which exchanges whoever asks may use.
    """

    exchanges: Sequence[str] | None
    symbol: str
    kind: str
    timeframe: str | None
    may_use: Callable[[str], bool]
    wanted: TimeRange | None = None
    refresh: bool = False
    derive: bool = False


class _FactsReadOnce:
    """The stored facts of each series that a choice looks at."""

    def __init__(self, storage: IStorageManager) -> None:
        self._storage = storage
        self._read: dict[Series, SeriesFacts | None] = {}

    async def of(self, series: Series) -> SeriesFacts | None:
        """Return them, read when they are first asked for; None where there are none, or they cannot be read."""
        if series not in self._read:
            self._read[series] = await self._storage.facts_if_possible(series.source)
        return self._read[series]


@dataclass(frozen=True)
class Choice:
    """The series that answers, and why others that were looked at do not: an error code, or a state of coverage."""

    series: Series
    passed_over: Mapping[str, str]


class _MarketsNotToldError(ExchangeUnavailableError):
    """Whether it has the symbol is not known, and it is not asked, or not waited for any longer."""


def in_order(exchanges: Iterable[str], preference: Sequence[str]) -> list[str]:
    """Return *exchanges* in the order in which they are looked at: the preferred ones first, the others as they are."""
    ranks = {name: rank for rank, name in enumerate(preference)}
    return sorted(exchanges, key=lambda name: ranks.get(name, len(ranks)))


class NameSeries(Protocol):
    """Names the series that answers."""

    def __call__(self, exchange: str, symbol: str, kind: str, timeframe: str | None, *, derive: bool) -> Series: ...


class ExchangeChooser:
    """Chooses anew for each question, and remembers nothing: the same one is answered alike while nothing changes."""

    def __init__(
        self,
        storage: IStorageManager,
        source: IDataSourceConnector,
        preference: Sequence[str],
        *,
        name_series: NameSeries,
        closed_bars: Callable[[Series, TimeRange], TimeRange | None],
        present: Callable[[str], datetime],
        patience_secs: float = _PATIENCE_SECS,
    ) -> None:
        """
        Args:
            preference: The exchanges that come first, whatever order a request has them in.
            name_series: See `IHistoricalDataManager.series_or_derived`.
            closed_bars: Tells the bars of a range that have closed, as far as the present is known without asking.
            present: Tells the present of an exchange, as far as that is known.
            patience_secs: How long a choice waits for all the exchanges that are asked for their markets.
        """
        self._storage = storage
        self._source = source
        self._preference = preference
        self._name_series = name_series
        self._closed_bars = closed_bars
        self._present = present
        self._patience_secs = patience_secs

    async def choose(self, question: OpenQuestion, *, may_ask: bool) -> Choice:
        """Return which exchange answers: the first that can.

        One that has the symbol and falls short, because it is down or does not reach back so far, is passed over while
        another can answer; if none can, the first of those answers.

        Args:
            may_ask: Whether exchanges may be asked for their markets. If not, the first that would have to be is
                chosen.

        Raises:
            ExchangesForbiddenError: Whoever asks may use none of them.
            UnknownExchangeError: One of them does not exist.
            NoExchangeError: None has what is asked for.
            NoExchangeNowError: None has, as far as is known: some could not be asked.
        """
        problems: dict[str, CbTradeError] = {}
        candidates, not_looked_at = self._candidates(question, problems)
        passed_over: dict[str, str] = {}
        second_best: Series | None = None
        has_looked_ahead = False
        facts = _FactsReadOnce(self._storage)
        inquiry = Inquiry(
            candidates,
            lambda series: self._shortcoming(question, series, facts, may_ask=True),
            patience_secs=self._patience_secs,
        )
        with closing(inquiry):
            for place, series in enumerate(candidates):
                if not has_looked_ahead and await facts.of(series) is None:
                    # Before anything that depends on what this process was told.
                    has_looked_ahead = True
                    if (held := await self._first_held(question, candidates[place + 1 :], facts)) is not None:
                        return Choice(held, passed_over)
                try:
                    shortcoming = await self._answer(question, series, facts, inquiry if may_ask else None)
                except (UnknownSymbolError, ExchangeUnavailableError) as error:
                    if isinstance(error, _MarketsNotToldError) and not may_ask:
                        return Choice(series, passed_over)
                    problems[series.exchange] = error
                    passed_over[series.exchange] = error.code.value
                    continue
                if shortcoming is None:
                    return Choice(series, passed_over)
                passed_over[series.exchange] = shortcoming
                second_best = second_best or series
        if second_best is None:
            raise _none_can_answer(problems, not_looked_at)
        del passed_over[second_best.exchange]
        return Choice(second_best, passed_over)

    def _candidates(self, question: OpenQuestion, problems: dict[str, CbTradeError]) -> tuple[list[Series], int]:
        """Return the series of the exchanges that serve such ones, in order, and how many more of them there are.

        What is in the way of all other exchanges is added to *problems*.
        """
        names = self._source.exchanges if question.exchanges is None else question.exchanges
        # First of all: whether there are others is not told to whoever may not use them.
        allowed = in_order(filter(question.may_use, names), self._preference)
        if not allowed:
            raise ExchangesForbiddenError(question.exchanges)
        found: list[Series] = []
        for name in allowed:
            try:
                series = self._name_series(
                    name, question.symbol, question.kind, question.timeframe, derive=question.derive
                )
                found.append(series)
            except (UnsupportedKindError, UnknownTimeframeError) as error:
                problems[name] = error
        return found[:EXCHANGES_MAX], len(found[EXCHANGES_MAX:])

    async def _answer(
        self, question: OpenQuestion, series: Series, facts: _FactsReadOnce, inquiry: Inquiry[Series] | None
    ) -> str | None:
        """Return the shortcoming of *series*; by what is known where there is no *inquiry*, or no patience left."""
        if inquiry is not None:
            with suppress(TimeoutError):
                return await inquiry.answer(series)
        return await self._shortcoming(question, series, facts, may_ask=False)

    async def _shortcoming(
        self, question: OpenQuestion, series: Series, read: _FactsReadOnce, *, may_ask: bool
    ) -> str | None:
        """Return why another exchange should rather answer; None where none need.

        Raises:
            UnknownSymbolError: It does not have the symbol.
            ExchangeUnavailableError: Whether it does is not known, and it cannot be asked.
        """
        facts = await read.of(series)
        if facts is None:
            await self._find_market(series, may_ask=may_ask)
        wanted = question.wanted
        if self._source.leaves_alone(series.source):
            must_be_called = wanted is None or question.refresh or not await self._settles(series, facts, wanted)
            if must_be_called:
                return ErrorCode.EXCHANGE_UNAVAILABLE.value
        if wanted is not None and await self._lacks_start(series, facts, wanted, self._present(series.exchange)):
            # Not by our own clock: how far back an exchange answers is counted from its own present.
            if not may_ask or self._source.known_now(series.exchange) is not None:
                return State.UNAVAILABLE.value
            if await self._lacks_start(series, facts, wanted, await self._source.now(series.exchange)):
                return State.UNAVAILABLE.value
        return None

    async def _find_market(self, series: Series, *, may_ask: bool) -> None:
        """Find out that the exchange has the symbol; it is asked if it has to be and may be; raises as above."""
        if await self._source.known_market(series.source) is not None:
            return
        if self._source.leaves_alone(series.source):
            raise ExchangeUnavailableError(series.exchange, "it is left alone for now, after calls that failed")
        if not may_ask:
            reason = f"it has not told its markets within {self._patience_secs:g} s"
            raise _MarketsNotToldError(series.exchange, reason)
        await self._source.market(series.source)

    async def _first_held(
        self, question: OpenQuestion, candidates: Sequence[Series], facts: _FactsReadOnce
    ) -> Series | None:
        """Return the first of *candidates* of which every bar of the range is stored."""
        if question.wanted is None or question.refresh:
            return None
        for series in candidates:
            if await facts.of(series) is not None and await self._holds(series, question.wanted):
                return series
        return None

    async def _lacks_start(self, series: Series, facts: SeriesFacts | None, wanted: TimeRange, now: datetime) -> bool:
        """Tell whether *wanted* begins before all that the exchange serves at *now*, and storage lacks that."""
        reach = Reach.at(now, self._source.facts(series.exchange), series.source, facts)
        for lost in intersect_all([wanted], reach.out_of_reach):
            if not await self._settles(series, facts, lost):
                return True
        return False

    async def _holds(self, series: Series, wanted: TimeRange) -> bool:
        """Tell whether every bar of *wanted* is stored, and there is one."""
        bars = self._closed_bars(series, wanted)
        if bars is None:
            return False
        async for part, coverage in self._coverages(series, bars):
            if not coverage.holds(part):
                return False
        return True

    async def _settles(self, series: Series, facts: SeriesFacts | None, wanted: TimeRange) -> bool:
        """Tell whether storage answers all of *wanted*, even if the exchange could still be asked about any of it."""
        bars = self._closed_bars(series, wanted)
        if bars is not None and facts is not None:
            bars = facts.listed_part(bars)
        if bars is None:
            return True
        now = self._present(series.exchange)
        async for part, coverage in self._coverages(series, bars):
            if any(missing(part, coverage, now=now, failures_since=now)):
                return False
        return True

    async def _coverages(self, series: Series, bars: TimeRange) -> AsyncIterator[tuple[TimeRange, Coverage]]:
        """Yield what is known of each partition, oldest first, one at a time; nothing where it cannot be read."""
        for partition, part in partitions_of(series.source, bars):
            coverage = Coverage()
            with suppress(StorageUnavailableError):
                coverage = await self._storage.coverage(partition)
            yield part, coverage


def _none_can_answer(problems: Mapping[str, CbTradeError], not_looked_at: int) -> CbTradeError:
    if any(isinstance(error, ExchangeUnavailableError) for error in problems.values()):
        return NoExchangeNowError(problems, not_looked_at)
    codes = {error.code for error in problems.values()}
    return NoExchangeError(next(code for code in _CLOSEST_FIRST if code in codes), problems, not_looked_at)
