"""What can befall a whole market rather than one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cb_trade_simulator.clock import MINUTE_MS, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cb_trade_simulator.markets.history import History


@runtime_checkable
class MarketEvent(Protocol):
    """Something that is decreed once and shows when the exchange's clock is there."""

    def apply(self, histories: Mapping[str, History], /) -> None:
        """Decree it. Raises KeyError for a symbol that is not traded."""
        ...


@dataclass(frozen=True)
class LateQuietMinutes:
    """The candle of a minute without trades is published only *minutes* after its close, on every market."""

    minutes: int

    def apply(self, histories: Mapping[str, History], /) -> None:
        for history in histories.values():
            history.changes.quiet_delay_ms = self.minutes * MINUTE_MS


@dataclass(frozen=True)
class Delisting:
    """A market ends at *at*, a whole minute: no row after it. It stays listed as inactive, unless it *vanishes*."""

    symbol: str
    at: datetime
    vanishes: bool = False

    def apply(self, histories: Mapping[str, History], /) -> None:
        histories[self.symbol].end(to_milliseconds(self.at), vanishes=self.vanishes)


@dataclass(frozen=True)
class Relisting:
    """A market ends at *end*, and another one of its name, with other prices, begins at *begin*; whole minutes."""

    symbol: str
    end: datetime
    begin: datetime

    def apply(self, histories: Mapping[str, History], /) -> None:
        history = histories[self.symbol]
        history.end(to_milliseconds(self.end))
        history.begin_again(to_milliseconds(self.begin))


@dataclass(frozen=True)
class Restating:
    """From *at* on, the candles that open in [start, end) have other values than those told before."""

    symbol: str
    start: datetime
    end: datetime
    at: datetime

    def apply(self, histories: Mapping[str, History], /) -> None:
        histories[self.symbol].restate(to_milliseconds(self.start), to_milliseconds(self.end), to_milliseconds(self.at))


@dataclass(frozen=True)
class Bursting:
    """The minute that holds *at* has at least so many *trades* (up to 9,999), and all of them in that millisecond."""

    symbol: str
    at: datetime
    trades: int

    def apply(self, histories: Mapping[str, History], /) -> None:
        histories[self.symbol].burst(to_milliseconds(self.at), self.trades)
