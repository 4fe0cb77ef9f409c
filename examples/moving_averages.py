"""A fast and a slow moving average of closing prices, and where they cross: kept up to date as bars arrive.

The same numbers come out, bit for bit, whether the bars arrive one by one or a million at a time: each average is the
sum of its own bars, oldest first, and of nothing before them. So a backtest and a live strategy agree.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bar_times import Milliseconds, bars_later

Prices = NDArray[np.float64]
Flags = NDArray[np.bool_]

BUY = 1
SELL = -1


@dataclass(frozen=True, slots=True)
class Averages:
    """What is known at the close of each bar; all arrays are as long as the bars that were added.

    Attributes:
        fast: Mean of the last `fast_bars` closes; NaN while there are not so many since the last hole.
        slow: The same with `slow_bars`.
        signals: BUY where the fast average has just risen above the slow one, SELL where it has just ceased to be
            above it, else 0.
        after_hole: Whether bars are missing just before this one.
    """

    fast: Prices
    slow: Prices
    signals: NDArray[np.int8]
    after_hole: Flags


class MovingAverages:
    """Takes a series' bars in time order, in pieces of any size.

    A hole in time begins everything anew, whether it is a gap or a market at rest: a mean with bars missing inside is
    no mean of the last N bars, and a crossing that nobody saw is no signal. A position at the edge of it is the
    caller's to think about.
    """

    def __init__(self, fast_bars: int, slow_bars: int, timeframe: str) -> None:
        """Begin without any bars; ValueError unless 0 < *fast_bars* < *slow_bars* and *timeframe* is one."""
        if not 0 < fast_bars < slow_bars:
            raise ValueError(
                f"the fast average must be shorter than the slow one, not {fast_bars} and {slow_bars} bars"
            )
        self._fast_bars = fast_bars
        self._slow_bars = slow_bars
        self._timeframe = timeframe
        self._next_open_ms = bars_later(np.zeros(0, np.int64), timeframe)  # empty: no bar came yet
        self._unbroken_bars = 0
        self._closes = np.zeros(slow_bars - 1)  # before the first bar: never part of an average that is told
        self._was_above = np.zeros(1, np.bool_)

    def add(self, opens_ms: Milliseconds, closes: Prices) -> Averages:
        """Take the next bars, by open time (milliseconds since 1970 UTC) and closing price; return what they tell."""
        after_hole = self._holes_before(opens_ms)
        unbroken_bars = self._count_unbroken(after_hole)
        closes = np.concatenate([self._closes, closes])
        fast = np.where(unbroken_bars >= self._fast_bars, _means(closes, self._fast_bars, len(opens_ms)), np.nan)
        slow = np.where(unbroken_bars >= self._slow_bars, _means(closes, self._slow_bars, len(opens_ms)), np.nan)

        above = np.concatenate([self._was_above, fast > slow])
        # Not at the first bar with both averages: on which side they were before it is not known.
        crossed = (above[1:] != above[:-1]) & (unbroken_bars > self._slow_bars)
        signals = np.where(crossed, np.where(above[1:], BUY, SELL), 0).astype(np.int8)

        self._closes = closes[len(opens_ms) :].copy()  # a view would keep all of them in memory
        self._was_above = above[-1:].copy()
        return Averages(fast, slow, signals, after_hole)

    def _holes_before(self, opens_ms: Milliseconds) -> Flags:
        expected_ms = np.concatenate([self._next_open_ms, bars_later(opens_ms, self._timeframe)])
        self._next_open_ms = expected_ms[-1:].copy()
        is_first = len(expected_ms) == len(opens_ms)  # of all, where nothing was expected
        found = opens_ms[is_first:] != expected_ms[:-1]
        return np.concatenate([np.zeros(1, np.bool_), found]) if is_first and len(opens_ms) else found

    def _count_unbroken(self, after_hole: Flags) -> NDArray[np.int64]:
        """Return how many bars follow each other without a hole, up to and including each bar."""
        positions = np.arange(len(after_hole))
        begins = np.maximum.accumulate(np.where(after_hole, positions, -self._unbroken_bars))
        counts = positions - begins + 1
        self._unbroken_bars = int(counts[-1]) if len(counts) else self._unbroken_bars
        return counts


def _means(closes: Prices, bars: int, count: int) -> Prices:
    """Return the means of the *bars* closes up to each of the last *count* ones."""
    first = len(closes) - count - bars + 1
    total = np.zeros(count)
    # Not a running sum: that would carry its rounding along, and depend on where it began.
    for offset in range(first, first + bars):
        total += closes[offset : offset + count]
    return total / bars
