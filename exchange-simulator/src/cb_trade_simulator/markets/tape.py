"""A market's trades one by one, as far back as anyone asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import DAY_MS, MINUTE_MS
from cb_trade_simulator.markets.trades import TRADE, trades_of_minute

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.history import History

NO_TRADES: Rows = np.empty(0, TRADE)


class Tape:
    """The trades behind a `History`. Instants are milliseconds since 1970 UTC; spans include start, exclude end."""

    def __init__(self, history: History) -> None:
        self._history = history

    def newest(self, count: int, end_ms: int) -> Rows:
        """Return the last *count* `TRADE` rows before *end_ms*, oldest first; fewer if there are no more."""
        days = range((end_ms - 1) // DAY_MS, self._history.listed_ms // DAY_MS - 1, -1)
        pieces: list[Rows] = []
        missing = count
        for minute in self._minutes_with_trades(days, backwards=True):
            if missing <= 0:
                break
            if minute["timestamp"] < end_ms:
                trades = self._trades(minute, 0, end_ms)[-missing:]
                pieces.insert(0, trades)
                missing -= len(trades)
        return np.concatenate([NO_TRADES, *pieces])

    def oldest(self, count: int, start_ms: int, end_ms: int) -> Rows:
        """Return the first *count* `TRADE` rows in [start, end), oldest first; fewer if there are no more."""
        start_ms = max(start_ms, self._history.listed_ms)
        pieces: list[Rows] = []
        missing = count
        for minute in self._minutes_with_trades(range(start_ms // DAY_MS, -(-end_ms // DAY_MS))):
            if missing <= 0 or minute["timestamp"] >= end_ms:
                break
            if minute["timestamp"] + MINUTE_MS > start_ms:
                trades = self._trades(minute, start_ms, end_ms)[:missing]
                pieces.append(trades)
                missing -= len(trades)
        return np.concatenate([NO_TRADES, *pieces])

    def _minutes_with_trades(self, days: Iterable[int], *, backwards: bool = False) -> Iterable[np.void]:
        for day in days:
            minutes = self._history.finished_minutes_of_day(day)
            minutes = minutes[minutes["trades"] > 0]
            yield from minutes[::-1] if backwards else minutes

    def _trades(self, minute: np.void, start_ms: int, end_ms: int) -> Rows:
        trades = trades_of_minute(self._history.market, self._history.seed, minute)
        return trades[(start_ms <= trades["timestamp"]) & (trades["timestamp"] < end_ms)]
