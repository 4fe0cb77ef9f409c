"""Everything one market ever traded, by random access and as it looked at any instant."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import DAY_MS, HOUR_MS, MINUTE_MS, from_milliseconds, to_milliseconds
from cb_trade_simulator.markets.candle import NO_CANDLES
from cb_trade_simulator.markets.changes import Burst, Changes, Life, Restatement
from cb_trade_simulator.markets.days import Days
from cb_trade_simulator.markets.folding import fold
from cb_trade_simulator.markets.funding import Funding
from cb_trade_simulator.markets.minutes import MAX_TRADES_PER_MINUTE, minutes_of_day
from cb_trade_simulator.markets.timeframes import TIMEFRAMES, first_open, open_of, shifted
from cb_trade_simulator.markets.trades import trades_of_minute, unfinished_minute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.outages import Outage
    from cb_trade_simulator.markets.timeframes import Timeframe

DAYS_OF_MINUTES_KEPT = 200  # 115 kB each
LEAST_AT_A_TIME_MS = DAY_MS  # in which missing candles are looked for: minutes are made by the day
DAYS_OF_HOURS_KEPT = 10_000  # 2 kB each: all there are, so that a page of daily candles is slow only once


class History:
    """One market's candles. Instants are milliseconds since 1970 UTC; spans include start and exclude end.

    Every method takes *now_ms*: nothing later exists for it, and the candle that holds it is made only of what has
    happened so far. Safe to use from several threads: days are made twice at worst, and identically.

    Args:
        market: The pair.
        outages: When its venue stands still.
        seed: The simulator's seed.
        fills_quiet_minutes: Whether the venue has a flat candle for a minute without trades, or none.
        funding_jitter_ms: How long after the full hour the venue may book a perpetual's funding.

    Attributes:
        funding: A perpetual's funding; nobody may ask for a spot market's.
    """

    def __init__(
        self,
        market: Market,
        outages: Iterable[Outage],
        seed: int,
        *,
        fills_quiet_minutes: bool = True,
        funding_jitter_ms: int = 0,
    ) -> None:
        self.market = market
        self.seed = seed
        self.listed_ms = to_milliseconds(market.listed)
        self.changes = Changes((Life(self.listed_ms),))
        self.funding = Funding(market, self.changes, seed, funding_jitter_ms)
        self._fills = fills_quiet_minutes
        self._outages = tuple(outages)
        self._days_of = lru_cache(None)(self._make_days)
        self._minutes_of = lru_cache(DAYS_OF_MINUTES_KEPT)(self._make_minutes)
        self._hours_of = lru_cache(DAYS_OF_HOURS_KEPT)(self._make_hours)

    def is_known(self, now_ms: int) -> bool:
        """Return whether the venue knows the name at *now_ms*: listed by then, and not vanished with its end."""
        ended_ms = self.changes.ended_ms
        return self.listed_ms <= now_ms and not (self.changes.vanishes and ended_ms is not None and ended_ms <= now_ms)

    def is_traded(self, now_ms: int) -> bool:
        """Return whether a market of the name trades at *now_ms*."""
        return any(life.begin_ms <= now_ms < (life.end_ms or now_ms + 1) for life in self.changes.lives)

    def end(self, at_ms: int, *, vanishes: bool = False) -> None:
        """Decree that the market ends at *at_ms*: no minute opens from then on."""
        _check_minute(at_ms)
        *before, last = self.changes.lives
        if at_ms <= last.begin_ms:
            raise ValueError(f"{self.market.symbol} cannot end before it begins")
        self.changes.lives = (*before, replace(last, end_ms=at_ms))
        self.changes.vanishes = vanishes
        self._forget()

    def begin_again(self, at_ms: int) -> None:
        """Decree that another market of the same name, with prices of its own, begins at *at_ms*."""
        _check_minute(at_ms)
        ended_ms = self.changes.ended_ms
        if ended_ms is None or at_ms < ended_ms:
            raise ValueError(f"{self.market.symbol} cannot begin again before it has ended")
        self.changes.lives = (*self.changes.lives, Life(at_ms))
        self._forget()

    def restate(self, start_ms: int, end_ms: int, at_ms: int) -> None:
        """Decree that the candles opening in [start, end) have other values when asked for from *at_ms* on."""
        self.changes.restatements.append(Restatement(start_ms, end_ms, at_ms))

    def burst(self, at_ms: int, trades: int) -> None:
        """Decree that the minute that holds *at_ms* has at least so many trades, and all of them at that instant."""
        if not 0 < trades <= MAX_TRADES_PER_MINUTE:
            raise ValueError(f"a minute has 1 to {MAX_TRADES_PER_MINUTE} trades")
        self.changes.bursts[at_ms - at_ms % MINUTE_MS] = Burst(at_ms, trades)
        self._forget()

    def candles(
        self, timeframe: Timeframe, start_ms: int, end_ms: int, now_ms: int, *, unpublished: bool = False
    ) -> Rows:
        """Return the candles that open in [start, end), oldest first; the last one may be unfinished.

        Those of quiet minutes that are not published yet are left out, unless the *unpublished* are wanted too.
        """
        start_ms = max(first_open(timeframe, start_ms), open_of(timeframe, self.listed_ms))
        end_ms = first_open(timeframe, end_ms)
        if not timeframe.is_made_of_hours or self.changes.touches(start_ms, end_ms, now_ms):
            return fold(self.minutes(start_ms, end_ms, now_ms, unpublished=unpublished), timeframe)
        settled_ms = now_ms - (0 if unpublished else self.changes.quiet_delay_ms)
        this_hour_ms = settled_ms - settled_ms % HOUR_MS
        hours = _slice(self._hours_of, start_ms, min(end_ms, this_hour_ms))
        minutes = self.minutes(max(start_ms, this_hour_ms), end_ms, now_ms, unpublished=unpublished)
        return fold(np.concatenate((hours, minutes)), timeframe)

    def oldest(self, timeframe: Timeframe, count: int, start_ms: int, end_ms: int, now_ms: int) -> Rows:
        """Return the first *count* candles that open in [start, end); fewer if there are no more."""
        cursor_ms = max(first_open(timeframe, start_ms), open_of(timeframe, self.listed_ms))
        end_ms = min(end_ms, self._last_ms(now_ms) + 1)
        found = NO_CANDLES
        while len(found) < count and cursor_ms < end_ms:
            stop_ms = max(
                shifted(timeframe, cursor_ms, count - len(found)),
                first_open(timeframe, cursor_ms + LEAST_AT_A_TIME_MS),
            )
            stop_ms = min(stop_ms, first_open(timeframe, end_ms))
            found = np.concatenate((found, self.candles(timeframe, cursor_ms, stop_ms, now_ms)))
            cursor_ms = stop_ms
        return found[:count]

    def newest(self, timeframe: Timeframe, count: int, end_ms: int, now_ms: int, start_ms: int = 0) -> Rows:
        """Return the last *count* candles that open in [start, end), oldest first; fewer if there are no more."""
        first_ms = max(first_open(timeframe, start_ms), open_of(timeframe, self.listed_ms))
        cursor_ms = first_open(timeframe, min(end_ms, self._last_ms(now_ms) + 1))
        found = NO_CANDLES
        while len(found) < count and cursor_ms > first_ms:
            from_ms = min(
                shifted(timeframe, cursor_ms, len(found) - count),
                open_of(timeframe, cursor_ms - LEAST_AT_A_TIME_MS),
            )
            from_ms = max(from_ms, first_ms)
            found = np.concatenate((self.candles(timeframe, from_ms, cursor_ms, now_ms), found))
            cursor_ms = from_ms
        return found[max(len(found) - count, 0) :]

    def minutes(self, start_ms: int, end_ms: int, now_ms: int, *, unpublished: bool = False) -> Rows:
        """Return the one-minute candles that open in [start, end), oldest first; the last one may be unfinished."""
        this_minute_ms = now_ms - now_ms % MINUTE_MS
        minutes = _slice(self._minutes_of, start_ms, min(end_ms, this_minute_ms))
        if start_ms <= this_minute_ms < end_ms:
            minutes = np.concatenate((minutes, self._unfinished(this_minute_ms, now_ms)))
        return self.changes.restated(minutes if unpublished else self.changes.published(minutes, now_ms), now_ms)

    def finished_minutes_of_day(self, day: int) -> Rows:
        """Return all one-minute candles of a day (counted from 1970) as they are in the end, whatever the time is."""
        return self._minutes_of(day)

    def trades_of(self, minute: np.void) -> Rows:
        """Return the `TRADE` rows of one finished minute candle, oldest first."""
        trades = trades_of_minute(self.market, self.seed, minute)
        burst = self.changes.bursts.get(int(minute["timestamp"]))
        if burst is not None:
            trades["timestamp"] = burst.at_ms
        return trades

    def _last_ms(self, now_ms: int) -> int:
        """Return an instant after which there is nothing: now, or the market's end."""
        ended_ms = self.changes.ended_ms
        return now_ms if ended_ms is None else min(now_ms, ended_ms - 1)

    def _forget(self) -> None:
        for made in (self._days_of, self._minutes_of, self._hours_of):
            made.cache_clear()

    def _make_days(self, life: Life, seed: int) -> Days:
        return Days(self.market.listed_at(from_milliseconds(life.begin_ms)), seed)

    def _make_minutes(self, day: int) -> Rows:
        parts = [self._minutes_of_life(number, life, day) for number, life in enumerate(self.changes.lives)]
        minutes = self.changes.burst(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return minutes if self._fills else minutes[minutes["trades"] > 0]

    def _minutes_of_life(self, number: int, life: Life, day: int) -> Rows:
        if (day + 1) * DAY_MS <= life.begin_ms or (life.end_ms is not None and life.end_ms <= day * DAY_MS):
            return NO_CANDLES
        seed = self.seed + number  # another market, although of the same name
        market = self.market.listed_at(from_milliseconds(life.begin_ms))
        minutes = minutes_of_day(market, self._days_of(life, seed), self._outages, seed, day)
        return minutes if life.end_ms is None else minutes[minutes["timestamp"] < life.end_ms]

    def _make_hours(self, day: int) -> Rows:
        return fold(self._minutes_of(day), TIMEFRAMES["1h"])

    def _unfinished(self, minute_ms: int, now_ms: int) -> Rows:
        minute = _slice(self._minutes_of, minute_ms, minute_ms + MINUTE_MS)
        if len(minute) == 0:  # not listed yet, an outage, or quiet on a venue that omits quiet minutes
            return NO_CANDLES
        trades = self.trades_of(minute[0])
        before = self._close_before(minute_ms) if self._fills else None
        return unfinished_minute(minute[0], trades, now_ms, before)

    def _close_before(self, minute_ms: int) -> int | None:
        """Return the close of the last candle before a minute in the same market; None before the first."""
        begin_ms = max(life.begin_ms for life in self.changes.lives if life.begin_ms <= minute_ms)
        for day in range(minute_ms // DAY_MS, begin_ms // DAY_MS - 1, -1):
            before = _slice(self._minutes_of, max(day * DAY_MS, begin_ms), minute_ms, days=(day,))
            if len(before):
                return int(before["close"][-1])
        return None


def _check_minute(at_ms: int) -> None:
    if at_ms % MINUTE_MS:
        raise ValueError("markets begin and end on whole minutes")


def _slice(rows_of: Callable[[int], Rows], start_ms: int, end_ms: int, days: Iterable[int] | None = None) -> Rows:
    """Return the rows in [start, end) out of daily blocks."""
    if start_ms >= end_ms:
        return NO_CANDLES
    blocks = [rows_of(day) for day in days or range(start_ms // DAY_MS, -(-end_ms // DAY_MS))]
    blocks[0] = blocks[0][np.searchsorted(blocks[0]["timestamp"], start_ms) :]
    blocks[-1] = blocks[-1][: np.searchsorted(blocks[-1]["timestamp"], end_ms)]
    return np.concatenate(blocks)
