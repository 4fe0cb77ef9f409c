"""The main job as the API sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cb_trade_data.historical.choice import Choice, OpenQuestion
from cb_trade_data.historical.comparing import ComparisonPage
from cb_trade_data.historical.inventory import InventoryPage
from cb_trade_data.historical.ledger import LedgerPage
from cb_trade_data.historical.planning import HistoryPlan
from cb_trade_data.historical.quality_report import QualityPage
from cb_trade_data.historical.receipt import Receipt
from cb_trade_data.models.frame import Stretch
from cb_trade_data.models.messages import Fill
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange


@dataclass(frozen=True)
class CurrentState:
    """How far storage and the exchange have come.

    Attributes:
        timestamp: Open time of the newest stored bar; None where nothing is stored. Of derived bars, of the newest one
            of which nothing is missing.
        closed_until: Exclusive end of the newest closed bar, by the exchange's clock.
    """

    timestamp: datetime | None
    closed_until: datetime


class IAnswer(Protocol):
    """What it will be is known at once; its rows come as they are had, one partition at a time.

    Attributes:
        start: What was asked for.
        end: What was asked for, clipped to the newest closed bar; `start` where no bar has closed since then.
        estimated_rows: The bars that the range has room for, less those before listing; None for kinds without bars.
        source_rows: The same of the exchange's own bars that it takes: more than that where bars are derived.
        receipt: Complete once `stretches` is exhausted.
    """

    @property
    def start(self) -> datetime: ...

    @property
    def end(self) -> datetime: ...

    @property
    def estimated_rows(self) -> int | None: ...

    @property
    def source_rows(self) -> int | None: ...

    @property
    def receipt(self) -> Receipt: ...

    def stretches(self) -> AsyncGenerator[Stretch, None]:
        """Yield the rows in time order, unique. To be closed (`aclosing`) when left early.

        Raises:
            CbTradeError: The exchange refuses the series. What it fails to answer is no error but a gap in the receipt.
                Storage that cannot be read is none either: what it holds comes from the exchange then.
        """


class IHistoricalDataManager(ABC):
    """Answers questions about history.

    All methods raise `RequestError` for what the exchange does not have, `ExchangeUnavailableError` where that cannot
    be found out, and `StorageUnavailableError` where storage cannot be read.
    """

    @abstractmethod
    def series(self, exchange: str, symbol: str, kind: str, timeframe: str | None) -> Series:
        """Return the series of that name; touches no network, so whether the symbol exists stays open."""

    @abstractmethod
    def series_or_derived(
        self, exchange: str, symbol: str, kind: str, timeframe: str | None, *, derive: bool = False
    ) -> Series:
        """Return the series of that name, or a derived one where the exchange lacks its bars or *derive* is set."""

    @abstractmethod
    async def choose(self, question: OpenQuestion, *, may_ask: bool) -> Choice:
        """Return which exchange answers a question that leaves it open; see `ExchangeChooser.choose`."""

    @abstractmethod
    async def open(self, series: Series, wanted: TimeRange, *, refresh: bool, fill: Fill = Fill.NONE) -> IAnswer:
        """Prepare an answer. Fetches no rows yet.

        Args:
            series: The exchange's own, or a derived one.
            fill: What stands where the exchange has no bar.

        Raises:
            RangeInFutureError: The range starts in the exchange's future.
        """

    @abstractmethod
    async def plan(
        self, series: Series, wanted: TimeRange, *, refresh: bool, rows_max: int | None = None
    ) -> HistoryPlan:
        """Return what an answer would read and fetch, for a derived series of its source; calls no exchange.

        Raises:
            RangeInFutureError: The range starts in the exchange's future.
            RangeTooLargeError: It has room for more than *rows_max* rows.
        """

    @abstractmethod
    async def coverage(self, series: Series, start: datetime | None, end: datetime | None, *, limit: int) -> LedgerPage:
        """Return what is known of a range, or of its first part; calls no exchange.

        Args:
            start: Inclusive; None begins where coverage does.
            end: Exclusive, clipped to the newest closed bar as far as the present is known; None ends where coverage
                does.
            limit: The most segments. A page also ends after a bounded number of partitions, however few there were.

        Raises:
            RangeInFutureError: The range starts in the future.
        """

    @abstractmethod
    async def compare(self, bars: Series, wanted: TimeRange) -> ComparisonPage:
        """Compare stored bars with those that the stored trades of the same market make; calls no exchange.

        Args:
            wanted: Its end is clipped to the newest closed bar as far as the present is known. A page ends after 31
                days of trades or 100,000 bars, but has at least one bar.

        Raises:
            RangeInFutureError: The range starts in the future.
            UnsupportedKindError: The exchange has no trades of the market that could be had.
        """

    @abstractmethod
    async def quality(
        self, bars: Series, start: datetime | None, end: datetime | None, *, details: bool, limit: int
    ) -> QualityPage:
        """Return how good what is stored of a range of bars is, or of its first part; calls no exchange.

        Args:
            start: Inclusive; None begins where coverage does.
            end: Exclusive, clipped to the newest closed bar as far as the present is known; None ends where coverage
                does.
            details: Whether rows are looked at as well. A page then ends after 31 days or 100,000 bars, or before the
                day for which a list of five thousand gaps or findings has no room, but has at least one day.
            limit: The most days. A page also ends after a bounded number of partitions.

        Raises:
            RangeInFutureError: The range starts in the future.
        """

    @abstractmethod
    async def inventory(
        self,
        exchange: str | None,
        symbol: str | None,
        *,
        after: str | None,
        limit: int,
        visible: Collection[str] | None = None,
    ) -> InventoryPage:
        """Return which series are stored; see `take_inventory`. Raises UnknownExchangeError for another exchange."""

    @abstractmethod
    async def current(self, series: Series) -> CurrentState:
        """Return how far storage and the exchange have come."""
