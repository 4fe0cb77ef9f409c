"""Bars as columns of numbers, and the bars around each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.timeframe import Timeframe

Flags: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[np.float64]
RowNumbers: TypeAlias = npt.NDArray[np.int64]

PRICES: Final = ("open", "high", "low", "close")

# A bar so many times farther away than it would be in a series without holes is no neighbour any more.
_HOLES_SHARE_MAX: Final = 2


@dataclass(frozen=True)
class Bars:
    """The columns of some bars, in time order, unique.

    Attributes:
        duration_ms: The length of a bar, of the longest month where they are months.
    """

    times_ms: npt.NDArray[np.int64]
    open: Numbers
    high: Numbers
    low: Numbers
    close: Numbers
    volume: Numbers
    duration_ms: int

    @classmethod
    def of(cls, rows: pa.Table, timeframe: Timeframe) -> Bars:
        """Return the columns of *rows*, which are not copied where they lie in one piece."""
        opens, high, low, close, volume = (rows.column(name).to_numpy() for name in (*PRICES, "volume"))
        return cls(timestamps_ms(rows), opens, high, low, close, volume, timeframe.duration_ms)

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def prices(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """The columns of `PRICES`."""
        return self.open, self.high, self.low, self.close

    def slice(self, start: int, end: int) -> Bars:
        """Return the rows from number *start* on, those from *end* on left out, without copying them."""
        opens, high, low, close, volume = (column[start:end] for column in (*self.prices, self.volume))
        return Bars(self.times_ms[start:end], opens, high, low, close, volume, self.duration_ms)

    def follow(self, numbers: RowNumbers) -> Flags:
        """Tell of each of these rows, none of them the first, whether the one before is the bar right before it."""
        return np.asarray(self.times_ms[numbers] - self.times_ms[numbers - 1] <= self.duration_ms)

    def ends(self, reach: int) -> RowNumbers:
        """Return the first row and the last one, and those beside a hole behind which `around` sees nothing."""
        if len(self) == 0:
            return np.empty(0, np.int64)
        span_ms = int(self.times_ms[-1] - self.times_ms[0])
        breaks = np.empty(0, np.int64)
        if span_ms > (len(self) - 1) * self.duration_ms:  # else there are no holes
            breaks = np.flatnonzero(np.diff(self.times_ms) > self._within_ms(reach)) + 1
        return np.unique(np.concatenate([[0], breaks - 1, breaks, [len(self) - 1]]))

    def around(self, numbers: RowNumbers, reach: int) -> tuple[RowNumbers, Flags]:
        """Return the rows around each of these, and which of them are neighbours indeed.

        Args:
            reach: How many on either side. What lies beyond the edge of the rows, or behind a hole that is as long
                again, is none, whatever row number stands in its place.

        Returns:
            Two arrays of a line for each row and *reach* columns for those before, *reach* for those after it.
        """
        offsets = np.concatenate([np.arange(-reach, 0), np.arange(1, reach + 1)])
        places = numbers[:, None] + offsets
        within = np.clip(places, 0, len(self) - 1)
        distances = np.abs(self.times_ms[within] - self.times_ms[numbers, None])
        return within, (within == places) & (distances <= self._within_ms(reach))

    def _within_ms(self, reach: int) -> int:
        return reach * _HOLES_SHARE_MAX * self.duration_ms


def median(values: Numbers, is_there: Flags) -> Numbers:
    """Return the median of each line, of the values that are there; NaN where none is."""
    return quantile(values, is_there, 0.5)


def quantile(values: Numbers, is_there: Flags, share: float) -> Numbers:
    """Return what so great a share of the values of each line, of those that are there, do not exceed; NaN for none."""
    if values.shape[1] == 1:
        return np.where(is_there, values, np.nan)[:, 0]
    ascending = np.sort(np.where(is_there, values, np.inf), axis=1)
    counts = np.count_nonzero(is_there, axis=1)
    places = share * np.maximum(counts - 1, 0)
    floors, lines = places.astype(np.int64), np.arange(len(values))
    lower, upper = ascending[lines, floors], ascending[lines, np.minimum(floors + 1, values.shape[1] - 1)]
    with np.errstate(invalid="ignore"):  # between infinities
        found = np.where(places > floors, lower + (upper - lower) * (places - floors), lower)
    return np.where(counts > 0, found, np.nan)
