"""What one pair is: its name, its grid of prices and amounts, and the character of its trading."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

# Quote volumes are whole multiples of one price tick times one amount step, and venues write eight decimals.
MAX_DECIMALS = 8


@dataclass(frozen=True, slots=True)
class Market:
    """One spot pair or linear perpetual.

    Attributes:
        symbol: The unified name, `BTC/USDT`, or `BTC/USDT:USDT` for a perpetual settled in its quote currency.
        listed: Open time of the first minute, aware UTC.
        price_decimals: A price is a whole number of ticks of 10^-price_decimals.
        amount_decimals: An amount is a whole number of steps of 10^-amount_decimals.
        levels: Prices on some dates, in order. The price wanders around the line through them (straight in
            logarithms, flat before the first and after the last), so that the long shape looks familiar.
        daily_volatility: Typical standard deviation of a day's logarithmic return.
        trades_per_minute: Mean number of trades once grown up. Below about 3, quiet minutes are common.
        trade_value: Typical worth of one trade, in the quote currency.
        funding_hours: Every how many hours since 1970 a perpetual's funding is paid, at first.
        funding_changes: From when on (whole hours, aware UTC, in order) it is paid every how many hours instead.
    """

    symbol: str
    listed: datetime
    price_decimals: int
    amount_decimals: int
    levels: tuple[tuple[date, float], ...]
    daily_volatility: float
    trades_per_minute: float
    trade_value: float
    funding_hours: int = 8
    funding_changes: tuple[tuple[datetime, int], ...] = ()

    def __post_init__(self) -> None:
        if self.listed.tzinfo is not UTC or self.listed.second or self.listed.microsecond:
            raise ValueError(f"{self.symbol}: the first minute must be a whole minute, in UTC")
        if self.price_decimals + self.amount_decimals > MAX_DECIMALS:
            raise ValueError(f"{self.symbol}: price and amount decimals together must not exceed {MAX_DECIMALS}")
        if not self.levels:
            raise ValueError(f"{self.symbol}: at least one price level is needed")

    def listed_at(self, begin: datetime) -> Market:
        """Return the same market, but listed at *begin*."""
        return replace(self, listed=begin)

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.partition("/")[2].partition(":")[0]

    @property
    def is_perpetual(self) -> bool:
        return ":" in self.symbol

    @property
    def price_tick(self) -> str:
        """The smallest step of a price, as text: `0.01`."""
        return smallest(self.price_decimals)

    @property
    def amount_step(self) -> str:
        """The smallest step of an amount, as text: `0.00001`, `1`."""
        return smallest(self.amount_decimals)


def smallest(decimals: int) -> str:
    """Return 10^-decimals as text.

    >>> smallest(2), smallest(0)
    ('0.01', '1')
    """
    return f"{10.0**-decimals:.{decimals}f}"
