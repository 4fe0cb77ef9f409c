"""Everything one market ever traded, by random access and as it looked at any instant."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import DAY_MS, HOUR_MS, MINUTE_MS, to_milliseconds
from cb_trade_simulator.markets.candle import NO_CANDLES
from cb_trade_simulator.markets.days import Days
from cb_trade_simulator.markets.folding import fold
from cb_trade_simulator.markets.minutes import minutes_of_day
from cb_trade_simulator.markets.timeframes import TIMEFRAMES, first_open, open_of, shifted
from cb_trade_simulator.markets.trades import trades_of_minute, unfinished_minute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.outages import Outage
    from cb_trade_simulator.markets.timeframes import Timeframe

DAYS_OF_MINUTES_KEPT = 200  # 115 kB each
DAYS_OF_HOURS_KEPT = 10_000  # 2 kB each: all there are, so that a page of daily candles is slow only once


class History:
    """One market's candles. Instants are milliseconds since 1970 UTC; spans include start and exclude end.

    Every method takes *now_ms*: nothing later exists for it, and the candle that holds it is made only of what has
    happened so far. Safe to use from several threads: days are made twice at worst, and identically.
    """

    def __init__(self, market: Market, outages: Iterable[Outage], seed: int) -> None:
        self.market = market
        self.seed = seed
        self.listed_ms = to_milliseconds(market.listed)
        self._outages = tuple(outages)
        self._minutes_of = lru_cache(DAYS_OF_MINUTES_KEPT)(self._make_minutes)
        self._hours_of = lru_cache(DAYS_OF_HOURS_KEPT)(self._make_hours)

    def candles(self, timeframe: Timeframe, start_ms: int, end_ms: int, now_ms: int) -> Rows:
        """Return the candles that open in [start, end), oldest first; the last one may be unfinished."""
        start_ms = max(first_open(timeframe, start_ms), open_of(timeframe, self.listed_ms))
        end_ms = first_open(timeframe, end_ms)
        if not timeframe.is_made_of_hours:
            return fold(self.minutes(start_ms, end_ms, now_ms), timeframe)
        this_hour_ms = now_ms - now_ms % HOUR_MS
        hours = _slice(self._hours_of, start_ms, min(end_ms, this_hour_ms))
        minutes = self.minutes(max(start_ms, this_hour_ms), end_ms, now_ms)
        return fold(np.concatenate((hours, minutes)), timeframe)

    def oldest(self, timeframe: Timeframe, count: int, start_ms: int, end_ms: int, now_ms: int) -> Rows:
        """Return the first *count* candles that open in [start, end); fewer if there are no more."""
        cursor_ms = max(first_open(timeframe, start_ms), open_of(timeframe, self.listed_ms))
        end_ms = min(end_ms, now_ms + 1)
        found = NO_CANDLES
        while len(found) < count and cursor_ms < end_ms:
            stop_ms = min(shifted(timeframe, cursor_ms, count - len(found)), end_ms)
            found = np.concatenate((found, self.candles(timeframe, cursor_ms, stop_ms, now_ms)))
            cursor_ms = stop_ms
        return found

    def newest(self, timeframe: Timeframe, count: int, end_ms: int, now_ms: int) -> Rows:
        """Return the last *count* candles that open before *end_ms*, oldest first; fewer if there are no more."""
        first_ms = open_of(timeframe, self.listed_ms)
        cursor_ms = first_open(timeframe, min(end_ms, now_ms + 1))
        found = NO_CANDLES
        while len(found) < count and cursor_ms > first_ms:
            start_ms = shifted(timeframe, cursor_ms, len(found) - count)
            found = np.concatenate((self.candles(timeframe, start_ms, cursor_ms, now_ms), found))
            cursor_ms = start_ms
        return found

    def minutes(self, start_ms: int, end_ms: int, now_ms: int) -> Rows:
        """Return the one-minute candles that open in [start, end), oldest first; the last one may be unfinished."""
        this_minute_ms = now_ms - now_ms % MINUTE_MS
        finished = _slice(self._minutes_of, start_ms, min(end_ms, this_minute_ms))
        if not start_ms <= this_minute_ms < end_ms:
            return finished
        return np.concatenate((finished, self._unfinished(this_minute_ms, now_ms)))

    def finished_minutes_of_day(self, day: int) -> Rows:
        """Return all one-minute candles of a day (counted from 1970) as they are in the end, whatever the time is."""
        return self._minutes_of(day)

    @cached_property
    def _days(self) -> Days:
        return Days(self.market, self.seed)

    def _make_minutes(self, day: int) -> Rows:
        return minutes_of_day(self.market, self._days, self._outages, self.seed, day)

    def _make_hours(self, day: int) -> Rows:
        return fold(self._minutes_of(day), TIMEFRAMES["1h"])

    def _unfinished(self, minute_ms: int, now_ms: int) -> Rows:
        minute = _slice(self._minutes_of, minute_ms, minute_ms + MINUTE_MS)
        if len(minute) == 0:  # not listed yet, or an outage
            return NO_CANDLES
        trades = trades_of_minute(self.market, self.seed, minute[0])
        return unfinished_minute(minute[0], trades, now_ms, self._close_before(minute_ms))

    def _close_before(self, minute_ms: int) -> int | None:
        """Return the close of the last candle before a minute; None before the first."""
        for day in range(minute_ms // DAY_MS, self.listed_ms // DAY_MS - 1, -1):
            before = _slice(self._minutes_of, day * DAY_MS, minute_ms, days=(day,))
            if len(before):
                return int(before["close"][-1])
        return None


def _slice(rows_of: Callable[[int], Rows], start_ms: int, end_ms: int, days: Iterable[int] | None = None) -> Rows:
    """Return the rows in [start, end) out of daily blocks."""
    if start_ms >= end_ms:
        return NO_CANDLES
    blocks = [rows_of(day) for day in days or range(start_ms // DAY_MS, -(-end_ms // DAY_MS))]
    blocks[0] = blocks[0][np.searchsorted(blocks[0]["timestamp"], start_ms) :]
    blocks[-1] = blocks[-1][: np.searchsorted(blocks[-1]["timestamp"], end_ms)]
    return np.concatenate(blocks)
