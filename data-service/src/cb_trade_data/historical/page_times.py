"""The times of a page, asked about all at once: most pages lie as they should, which takes no look at each row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.timeframe import Timeframe

Flags: TypeAlias = npt.NDArray[np.bool_]

# Farther away than any time, and no farther than that the step between two such times is a number, too.
_FARTHEST_MS: Final = 2**61


@dataclass(frozen=True)
class PageTimes:
    """The times of the rows of a page, as they came.

    Attributes:
        each_ms: Of each row; of those that are no times, how far away they are is not kept.
        earliest_ms: The first of them in time, `latest_ms` the last; of no rows both are 0.
        steps_ms: From each row to the next one, below 0 where times go back; of fewer than two rows, one of 1.
        step_min_ms: The smallest of these, `step_max_ms` the greatest.
    """

    each_ms: npt.NDArray[np.int64]
    earliest_ms: int
    latest_ms: int
    steps_ms: npt.NDArray[np.int64]
    step_min_ms: int
    step_max_ms: int

    @classmethod
    def of(cls, rows: pa.Table) -> PageTimes:
        """Return the times of *rows*."""
        times = np.clip(timestamps_ms(rows), -_FARTHEST_MS, _FARTHEST_MS)
        steps = times[1:] - times[:-1] if len(times) > 1 else np.ones(1, np.int64)
        edges = times if len(times) else np.zeros(1, np.int64)
        return cls(times, int(edges.min()), int(edges.max()), steps, int(steps.min()), int(steps.max()))

    @property
    def ascend(self) -> bool:
        """Whether each is later than the one before."""
        return self.step_min_ms > 0

    @property
    def are_in_order(self) -> bool:
        """Whether each is later than the one before, or each is earlier: some exchanges answer newest first."""
        return self.ascend or self.step_max_ms < 0

    @property
    def steps_back(self) -> int:
        """How many rows are earlier than the one before them, where that is not simply the order of all."""
        return 0 if self.are_in_order else int(np.count_nonzero(self.steps_ms < 0))

    def since(self, start_ms: int) -> Flags:
        """Tell of each row whether it is not before *start_ms*."""
        if self.earliest_ms >= start_ms:
            return np.ones(len(self.each_ms), np.bool_)
        if self.latest_ms < start_ms:
            return np.zeros(len(self.each_ms), np.bool_)
        return np.asarray(self.each_ms >= start_ms)

    def within(self, start_ms: int, end_ms: int) -> Flags:
        """Tell of each row whether it is of the time from *start_ms* on, *end_ms* left out."""
        return np.asarray(self.since(start_ms) & ~self.since(end_ms))

    def lie_in(self, start: datetime, end: datetime) -> bool:
        """Tell whether there are any, and all are of the time from *start* on, *end* left out."""
        return len(self.each_ms) > 0 and self.earliest_ms >= to_ms(start) and self.latest_ms < to_ms(end)

    def are_on_grid(self, grid: Timeframe) -> bool:
        """Tell whether a bar of *grid* opens at each of them."""
        if grid.is_calendar or len(self.each_ms) == 0:
            return bool(np.all(grid.on_grid(self.each_ms)))
        if not grid.on_grid(self.each_ms[:1])[0]:
            return False
        # Steps are those of the grid, nearly always, which is seen sooner than where each time lies.
        is_even = self.step_min_ms == self.step_max_ms == grid.duration_ms
        return is_even or len(self.each_ms) == 1 or not np.any(self.steps_ms % grid.duration_ms)

    def on_grid(self, grid: Timeframe) -> Flags:
        """Tell of each row whether a bar of *grid* opens there."""
        return np.ones(len(self.each_ms), np.bool_) if self.are_on_grid(grid) else grid.on_grid(self.each_ms)
