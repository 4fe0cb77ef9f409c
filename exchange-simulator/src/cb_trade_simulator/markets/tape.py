"""A market's trades one by one, as far back as anyone asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import DAY_MS, MINUTE_MS, MS_NS
from cb_trade_simulator.markets.trades import NO_TRADES, minute_of, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.history import History


class Tape:
    """The trades behind a `History`. Instants are nanoseconds since 1970 UTC; spans include start and exclude end.

    A trade of a millisecond is inside it: at its first nanosecond or after it, and before the next one's.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    def oldest(self, count: int, start_ns: int, end_ns: int, first_id: int = 0) -> Rows:
        """Return the first *count* `TRADE` rows in [start, end) with ids from *first_id* on, oldest first."""
        start_ns = max(start_ns, minute_of(first_id) * MS_NS)
        pieces: list[Rows] = [NO_TRADES]
        missing = count
        for minute in self._minutes(start_ns, end_ns):
            if missing <= 0:
                break
            trades = self._trades(minute, start_ns, end_ns)
            pieces.append(trades[trades["id"] >= first_id][:missing])
            missing -= len(pieces[-1])
        return np.concatenate(pieces)

    def newest(
        self, count: int, end_ns: int, start_ns: int = 0, *, first_id: int = 0, end_id: int | None = None
    ) -> Rows:
        """Return the last *count* `TRADE` rows in [start, end) with ids in [first_id, end_id), oldest first."""
        start_ns = max(start_ns, minute_of(first_id) * MS_NS)
        if end_id is not None:
            end_ns = min(end_ns, (minute_of(end_id) + MINUTE_MS) * MS_NS)
        pieces: list[Rows] = [NO_TRADES]
        missing = count
        for minute in self._minutes(start_ns, end_ns, backwards=True):
            if missing <= 0:
                break
            trades = self._trades(minute, start_ns, end_ns)
            trades = trades[trades["id"] >= first_id]
            trades = trades if end_id is None else trades[trades["id"] < end_id]
            pieces.append(trades[max(len(trades) - missing, 0) :])
            missing -= len(pieces[-1])
        return np.concatenate(pieces[::-1])

    def between(self, start_ns: int, end_ns: int) -> Rows:
        """Return all `TRADE` rows in [start, end), oldest first."""
        pieces = [self._trades(minute, start_ns, end_ns) for minute in self._minutes(start_ns, end_ns)]
        return np.concatenate([NO_TRADES, *pieces])

    def _minutes(self, start_ns: int, end_ns: int, *, backwards: bool = False) -> Iterator[np.void]:
        """Yield the minutes with trades that overlap [start, end)."""
        start_ms = max(start_ns // MS_NS // MINUTE_MS * MINUTE_MS, self._history.listed_ms)
        end_ms = -(-end_ns // MS_NS)
        days = range(start_ms // DAY_MS, -(-end_ms // DAY_MS))
        for day in reversed(days) if backwards else days:
            minutes = self._history.finished_minutes_of_day(day)
            first, stop = np.searchsorted(minutes["timestamp"], (start_ms, end_ms))
            minutes = minutes[first:stop]
            yield from (minute for minute in (minutes[::-1] if backwards else minutes) if minute["trades"])

    def _trades(self, minute: np.void, start_ns: int, end_ns: int) -> Rows:
        trades = self._history.trades_of(minute)
        opens_ns = int(minute["timestamp"]) * MS_NS
        if start_ns <= opens_ns and opens_ns + MINUTE_MS * MS_NS <= end_ns:
            return trades
        at_ns = nanoseconds(trades)
        inside: Rows = trades[(start_ns <= at_ns) & (at_ns < end_ns)]
        return inside
