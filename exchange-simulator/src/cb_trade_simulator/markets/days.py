"""The long shape of a market: where each UTC day opens and how restless it is."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

from cb_trade_simulator.clock import DAY_MS, to_milliseconds
from cb_trade_simulator.markets.market import Market
from cb_trade_simulator.markets.randomness import Stream, generator

HORIZON = datetime(2040, 1, 1, tzinfo=UTC)
"""Markets are traded up to here. Days are drawn one after the other from the listing on, so there must be an end."""

VOLATILITY_MEMORY = 0.97  # share of a day's unusual volatility that is left the day after: calm and wild weeks
VOLATILITY_SPREAD = 0.45  # standard deviation of the logarithm of volatility
PRICE_MEMORY = 0.97  # share of the distance from the market's levels that is left the day after
TAIL_WEIGHT = 5  # degrees of freedom of a day's shock: a few days a year are extreme

QUIET_BEGINNING = 0.03  # activity on the first day, relative to a market that has grown up
DAYS_TO_GROW_UP = 365


class Days:
    """The days of one market, from its listing to the horizon, each counted from 1970."""

    def __init__(self, market: Market, seed: int) -> None:
        self.first = to_milliseconds(market.listed) // DAY_MS
        self.last = to_milliseconds(HORIZON) // DAY_MS - 1
        count = self.last - self.first + 1
        random = generator(seed, market.symbol, Stream.DAYS)
        self._volatility = _volatilities(market, random.standard_normal(count))
        shocks = random.standard_t(TAIL_WEIGHT, count) * np.sqrt((TAIL_WEIGHT - 2) / TAIL_WEIGHT)
        self._log_open = _level_line(market, self.first, count + 1) + _wandering(self._volatility * shocks)

    def log_open(self, day: int) -> float:
        """Return the logarithm of the price at the day's first instant; the next day's is where the day ends."""
        return float(self._log_open[day - self.first])

    def volatility(self, day: int) -> float:
        """Return the day's volatility: the standard deviation of its logarithmic return."""
        return float(self._volatility[day - self.first])

    def maturity(self, day: int) -> float:
        """Return how much is traded, from near 0 just after the listing to 1 a year later."""
        return min(1.0, QUIET_BEGINNING + (day - self.first) / DAYS_TO_GROW_UP)


def _volatilities(market: Market, shocks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return volatility day by day: its logarithm returns slowly to the market's typical value."""
    innovation = VOLATILITY_SPREAD * np.sqrt(1 - VOLATILITY_MEMORY**2)
    logarithms = np.empty_like(shocks)
    excitement = 0.0
    for day, shock in enumerate(shocks.tolist()):
        excitement = VOLATILITY_MEMORY * excitement + innovation * shock
        logarithms[day] = excitement
    # Less its variance, so that the mean square is the market's own.
    return np.asarray(market.daily_volatility * np.exp(logarithms - VOLATILITY_SPREAD**2))


def _wandering(returns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distance from the level line at each day's open (one more than returns), pulled back towards it."""
    distances = np.zeros(len(returns) + 1)
    distance = 0.0
    for day, log_return in enumerate(returns.tolist(), start=1):
        distance = PRICE_MEMORY * distance + log_return
        distances[day] = distance
    return distances


def _level_line(market: Market, first_day: int, count: int) -> npt.NDArray[np.float64]:
    epoch = date(1970, 1, 1)
    level_days = [(day - epoch).days for day, _ in market.levels]
    level_logs = [np.log(price) for _, price in market.levels]
    return np.asarray(np.interp(np.arange(first_day, first_day + count), level_days, level_logs))
