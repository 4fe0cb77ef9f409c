"""What a plugin offers, and what the rest of the service sees of all plugins together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import pyarrow as pa

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.models.past_error import PastError
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange


@dataclass(frozen=True)
class Page:
    """One answer of an exchange, as it came: not yet checked, in whatever order, whatever it holds.

    Attributes:
        rows: Columns of the kind's schema, every row that came; a missing number is NaN, a missing text is empty. With
            other columns it is no answer, see `page_shape`.
        calls: How many calls to the exchange it took, failed tries included.
        is_cut: Whether there may be more where it ends; None where the number of rows tells that, as it does of bars.
        goes_on_at: Of trades that are all of one millisecond, as many as a page holds, the id from which on to ask for
            the rest, which no window can divide; None where that cannot be asked for, and for all other answers.
    """

    rows: pa.Table
    calls: int = 1
    is_cut: bool | None = None
    goes_on_at: str | None = None


@dataclass(frozen=True)
class Market:
    """What an exchange says of one of its markets.

    Attributes:
        id: The exchange's own name for it.
        is_active: Whether it is traded; False for one that was delisted and is still listed as a name.
    """

    id: str
    is_active: bool = True


@dataclass(frozen=True)
class ExchangeCondition:
    """How an exchange is doing, and what we allow ourselves with it.

    Attributes:
        status: `unused`, `ok`, or why its last call failed.
        breaker: `closed` while calls go through, `open` while none does, `half-open` while one finds out.
        markets_held_up: Markets for which the same is done, each by itself, because answers about them were nonsense.
        calls_per_sec: What the budget allows now; less than `full_calls_per_sec` after the exchange found it too much.
        full_calls_per_sec: What it allows at most.
        waiting: Calls that wait for their turn.
        under_way: Calls that wait for the exchange.
        paused_secs: How long the exchange wants to be left alone from now on.
        calls: How many calls were made since the start.
        errors: How many of them failed, by `limit` (asked too often), `refusal` (of the question itself), `nonsense`
            (an answer that cannot be believed) and `unavailable` (no answer).
        last_error: The last of them that was no refusal, whatever has succeeded since.
    """

    status: str = "unused"
    breaker: Literal["closed", "open", "half-open"] = "closed"
    markets_held_up: int = 0
    calls_per_sec: float = 0.0
    full_calls_per_sec: float = 0.0
    waiting: int = 0
    under_way: int = 0
    paused_secs: float = 0.0
    calls: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    last_error: PastError | None = None


class IExchangeAPIClient(ABC):
    """One exchange. The connector makes one instance per process, and decides when which call is made.

    Every method that fetches makes its calls at once, tries once, and raises

    - `ExchangeUnavailableError` when no answer came;
    - `ExchangeNonsenseError` when one came that cannot be believed;
    - `ExchangeLimitError` when the exchange was asked too often;
    - `ExchangeRefusalError` when it refuses the question itself.
    """

    facts: ExchangeFacts

    def markets_due(self, name: str, *, anew: bool) -> str | None:
        """Return which part of its markets has to be loaded before the next call about one of them; None for none.

        Touches no network. None for a client that knows its markets without asking. What is due is loaded by the
        connector, once for all who need it and in its turn; a client loads nothing by itself.

        Args:
            name: A symbol, or a market id.
            anew: Whether what was loaded long ago is due again; if not, what was ever loaded will do.
        """
        del name, anew
        return None

    async def load_markets(self, part: str) -> None:
        """Load what `markets_due` named, which costs `facts.markets_cost`."""
        del part

    @abstractmethod
    async def market(self, symbol: str) -> Market:
        """Return what the exchange says of *symbol*, from memory once the markets are loaded.

        Raises:
            UnknownSymbolError: The exchange has no such market.
        """

    @abstractmethod
    async def symbol_of(self, market_id: str) -> str | None:
        """Return the symbol by which a market goes today, which a rename changes; None where there is no such one."""

    @abstractmethod
    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        """Fetch the bars that open in *window*, which holds at most `facts.page_limit_bars` bars, with one call."""

    async def fetch_trades(self, series: Series, window: TimeRange, from_id: str | None = None) -> Page:
        """Fetch the trades of *window*, or a page of them, with one call; see `EventPaging`.

        All trades of a millisecond that an answer begins or ends with may not be in it.

        Only called where `facts.event_paging` knows how.

        Args:
            from_id: Where to go on, whatever the window: `Page.goes_on_at` of the answer before; None at first.
        """
        raise NotImplementedError(f"{self.facts.id} has no trades")

    async def fetch_funding_rates(self, series: Series, window: TimeRange) -> Page:
        """Fetch the funding rates of *window*, or a page of them, with one call; see `fetch_trades`."""
        raise NotImplementedError(f"{self.facts.id} has no funding rates")

    @abstractmethod
    async def fetch_first_open(self, series: Series) -> datetime | None:
        """Fetch the open time of the first bar the exchange has, with one call; None where it has none.

        Only called where `facts.jumps_to_first`.
        """

    @abstractmethod
    async def fetch_time(self) -> datetime | None:
        """Fetch the exchange's clock; None for an exchange that does not tell."""

    @abstractmethod
    async def close(self) -> None:
        """Release connections; the client may not be used afterwards."""


class IDataSourceConnector(ABC):
    """All exchanges behind one face: polite, patient, and with their clocks read."""

    @property
    @abstractmethod
    def exchanges(self) -> Sequence[str]:
        """The names of all that there are, sorted."""

    @abstractmethod
    def facts(self, exchange: str) -> ExchangeFacts:
        """Return the facts of an exchange; touches no network.

        Raises:
            UnknownExchangeError: No plugin goes by that name.
        """

    @abstractmethod
    async def market(self, series: Series) -> Market:
        """Return what the exchange says of the symbol; see `IExchangeAPIClient.market`."""

    @abstractmethod
    async def known_market(self, series: Series) -> Market | None:
        """Return what `market` would as far as this process has been told; None where it would ask the exchange.

        Touches no network.

        Raises:
            UnknownSymbolError: The exchange has no such market.
        """

    @abstractmethod
    def leaves_alone(self, series: Series) -> bool:
        """Tell whether a call about the market of *series* would not be made now, because of calls that failed."""

    @abstractmethod
    async def symbol_of(self, exchange: str, market_id: str) -> str | None:
        """Return the symbol by which a market goes today; see `IExchangeAPIClient.symbol_of`."""

    @abstractmethod
    def known_now(self, exchange: str) -> datetime | None:
        """Return the exchange's present if its clock has been read in this process; touches no network."""

    @abstractmethod
    async def now(self, exchange: str) -> datetime:
        """Return the exchange's present; the local one, logged, where the exchange does not tell."""

    @abstractmethod
    async def fetch_page(
        self, series: Series, next_window: Callable[[], TimeRange | None], urgency: Callable[[], int]
    ) -> Page | None:
        """Fetch one page as soon as there is a place for it, trying again where that may help.

        What is fetched is decided when its turn has come, not when it begins to wait: by then something else may be
        needed more, or nothing at all.

        Args:
            next_window: Called when the turn has come, and again for each try after one that failed, with the same to
                return; None, at any of them, where nothing is wanted any more.
            urgency: Called whenever a place is free; of all who wait, the smallest goes first. In bars still wanted.

        Returns:
            None where *next_window* returned None.

        Raises:
            ExchangeUnavailableError: Every try failed, or the exchange refuses.
            UnknownSymbolError: It has no such market, perhaps not any more.
        """

    @abstractmethod
    async def fetch_first_open(self, series: Series) -> datetime | None:
        """Find the open time of the first bar with few calls; None where there is none. Raises as `fetch_page` does.

        Of a kind without bars: that of the market's first bar, before which nothing of it can have happened.
        """

    @abstractmethod
    async def fetch_last_open(self, series: Series) -> datetime | None:
        """Find the open time of the last closed bar with few calls, for a market that is traded no more.

        Of a kind without bars: the last millisecond of the market's last bar.
        """

    @abstractmethod
    def conditions(self) -> dict[str, ExchangeCondition]:
        """Return how each exchange is doing. Calls nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Close every client that was made."""
