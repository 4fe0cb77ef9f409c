"""The grid of each timeframe: which open times it allows, and where each candle ends."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from cb_trade_simulator.clock import DAY_MS, HOUR_MS, MINUTE_MS

# 1970-01-05 was a Monday, the day on which exchanges open their weeks.
FIRST_MONDAY_MS = 4 * DAY_MS

Instants = npt.NDArray[np.int64]


class Timeframe(Protocol):
    """One length of candle. All instants are milliseconds since 1970 UTC."""

    def opens(self, instants: Instants) -> Instants:
        """Return for each instant the open time of the candle that holds it."""
        ...

    def shift(self, opens: Instants, candles: int) -> Instants:
        """Return the open times that many candles later (earlier if negative)."""
        ...

    @property
    def is_made_of_hours(self) -> bool:
        """Whether every candle begins and ends on a full hour."""
        ...


class FixedTimeframe:
    """Candles that are all equally long."""

    def __init__(self, length_ms: int, anchor_ms: int = 0) -> None:
        self._length_ms = length_ms
        self._anchor_ms = anchor_ms

    def opens(self, instants: Instants) -> Instants:
        return instants - (instants - self._anchor_ms) % self._length_ms

    def shift(self, opens: Instants, candles: int) -> Instants:
        return opens + candles * self._length_ms

    @property
    def is_made_of_hours(self) -> bool:
        return self._length_ms % HOUR_MS == 0


class CalendarMonths:
    """Candles that begin on the first of a month, or of every so many months counted from a January."""

    is_made_of_hours = True

    def __init__(self, months: int = 1) -> None:
        self._months = months

    def opens(self, instants: Instants) -> Instants:
        months = self._to_months(instants)
        return self._to_instants(months - months % self._months)

    def shift(self, opens: Instants, candles: int) -> Instants:
        return self._to_instants(self._to_months(opens) + candles * self._months)

    @staticmethod
    def _to_months(instants: Instants) -> Instants:
        return np.asarray(instants).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)

    @staticmethod
    def _to_instants(months: Instants) -> Instants:
        return months.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)


class InZone:
    """The candles of a timeframe by the clocks of a zone that is *hours* ahead of UTC all year."""

    is_made_of_hours = True

    def __init__(self, timeframe: Timeframe, hours: int) -> None:
        self._timeframe = timeframe
        self._ahead_ms = hours * HOUR_MS

    def opens(self, instants: Instants) -> Instants:
        return self._timeframe.opens(instants + self._ahead_ms) - self._ahead_ms

    def shift(self, opens: Instants, candles: int) -> Instants:
        return self._timeframe.shift(opens + self._ahead_ms, candles) - self._ahead_ms


TIMEFRAMES: dict[str, Timeframe] = {
    "1m": FixedTimeframe(MINUTE_MS),
    "3m": FixedTimeframe(3 * MINUTE_MS),
    "5m": FixedTimeframe(5 * MINUTE_MS),
    "15m": FixedTimeframe(15 * MINUTE_MS),
    "30m": FixedTimeframe(30 * MINUTE_MS),
    "1h": FixedTimeframe(HOUR_MS),
    "2h": FixedTimeframe(2 * HOUR_MS),
    "4h": FixedTimeframe(4 * HOUR_MS),
    "6h": FixedTimeframe(6 * HOUR_MS),
    "8h": FixedTimeframe(8 * HOUR_MS),
    "12h": FixedTimeframe(12 * HOUR_MS),
    "1d": FixedTimeframe(DAY_MS),
    "3d": FixedTimeframe(3 * DAY_MS),
    "1w": FixedTimeframe(7 * DAY_MS, anchor_ms=FIRST_MONDAY_MS),
    "1M": CalendarMonths(),
}
"""The lengths most venues share; a venue's own table says which it has and may add others."""


def choose(*names: str) -> dict[str, Timeframe]:
    """Return the timeframes of these names."""
    return {name: TIMEFRAMES[name] for name in names}


def open_of(timeframe: Timeframe, instant_ms: int) -> int:
    """Return the open time of the candle that holds *instant_ms*."""
    return int(timeframe.opens(np.asarray(instant_ms, np.int64)))


def first_open(timeframe: Timeframe, instant_ms: int) -> int:
    """Return the first open time of the grid that is not before *instant_ms*."""
    open_ms = open_of(timeframe, instant_ms)
    return open_ms if open_ms == instant_ms else shifted(timeframe, open_ms, 1)


def shifted(timeframe: Timeframe, open_ms: int, candles: int) -> int:
    """Return the open time that many candles after *open_ms* (before it if negative)."""
    return int(timeframe.shift(np.asarray(open_ms, np.int64), candles))
