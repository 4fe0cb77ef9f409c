"""What a plugin offers, and what the rest of the service sees of all plugins together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange


@dataclass(frozen=True)
class Page:
    """One answer of an exchange, as it came: not yet checked, in whatever order, whatever it holds.

    Attributes:
        rows: Columns of the kind's schema, every row that came; a missing number is NaN.
        calls: How many calls to the exchange it took, failed tries included.
    """

    rows: pa.Table
    calls: int = 1


class IExchangeAPIClient(ABC):
    """One exchange. The connector makes one instance per process and serialises nothing else around it.

    Every method that fetches raises `ExchangeUnavailableError` when no believable answer came.
    """

    facts: ExchangeFacts

    @abstractmethod
    async def market_id(self, symbol: str) -> str:
        """Return the exchange's own name for *symbol*; loads the markets the first time.

        Raises:
            UnknownSymbolError: The exchange has no such market.
        """

    @abstractmethod
    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        """Fetch the bars that open in *window*, which holds at most `facts.page_limit_bars` bars, with one call."""

    @abstractmethod
    async def fetch_first_open(self, series: Series) -> datetime | None:
        """Fetch the open time of the first bar the exchange has; None where it has none."""

    @abstractmethod
    async def fetch_time(self) -> datetime | None:
        """Fetch the exchange's clock; None for an exchange that does not tell."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections; the client may not be used afterwards."""


class IDataSourceConnector(ABC):
    """All exchanges behind one face: polite, patient, and with their clocks read."""

    @abstractmethod
    def facts(self, exchange: str) -> ExchangeFacts:
        """Return the facts of an exchange; touches no network.

        Raises:
            UnknownExchangeError: No plugin goes by that name.
        """

    @abstractmethod
    async def market_id(self, series: Series) -> str:
        """Return the exchange's own name for the symbol; see `IExchangeAPIClient.market_id`."""

    @abstractmethod
    def known_now(self, exchange: str) -> datetime | None:
        """Return the exchange's present if its clock has been read in this process; touches no network."""

    @abstractmethod
    async def now(self, exchange: str) -> datetime:
        """Return the exchange's present; the local one, logged, where the exchange does not tell."""

    @abstractmethod
    async def fetch_page(self, series: Series, window: TimeRange) -> Page:
        """Fetch one page, trying again where that may help.

        Raises:
            ExchangeUnavailableError: Every try failed.
        """

    @abstractmethod
    async def fetch_first_open(self, series: Series) -> datetime | None:
        """Fetch the open time of the first bar; raises as `fetch_page` does."""

    @abstractmethod
    def health(self) -> dict[str, str]:
        """Return each exchange's state as last seen: `unused`, `ok` or why its last call failed. Calls nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Close every client that was made."""
