"""Where the rows of a page of bars lie: which of them are of bars that were asked for and have closed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.page_times import Flags, PageTimes
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

# An exchange's clock is not further ahead of what we take it for; see `exchange_source.clock`.
CLOCK_AHEAD_MAX: Final = timedelta(minutes=5)

# Of Bitcoin: nobody traded before. Seconds that are taken for milliseconds lie in January 1970.
FIRST_BLOCK_MS: Final = to_ms(datetime(2009, 1, 3, tzinfo=UTC))


@dataclass(frozen=True)
class Placement:
    """Where the rows of a page lie.

    Attributes:
        candidates: Which rows are of bars that were asked for and have closed.
        sound_ms: The times of all that are on the grid and not of the future, in the order in which they came.
        misplaced_ms: The open times of the bars that were asked for and within which a row lies, ascending.
        silence_counts: Whether none may have been the row of any bar: by a time that is none of the window, and none of
            the grid or the past.
        findings: How many rows lie where they should not.
    """

    candidates: Flags
    sound_ms: npt.NDArray[np.int64]
    misplaced_ms: npt.NDArray[np.int64]
    silence_counts: bool
    findings: Mapping[Finding, int]

    @classmethod
    def of(
        cls, times: PageTimes, window: TimeRange, grid: Timeframe, closed_until: datetime, now: datetime
    ) -> Placement:
        """Return where the rows lie of the answer to a request for every bar of *window*.

        Args:
            closed_until: Where the newest closed bar ends.
            now: The exchange's present when it answered.
        """
        if times.ascend and times.lie_in(window.start, min(window.end, closed_until)) and times.are_on_grid(grid):
            everything = np.ones(len(times.each_ms), np.bool_)
            return cls(everything, times.each_ms, np.empty(0, np.int64), silence_counts=True, findings={})
        return cls._sorted_out(times, window, grid, closed_until, now)

    @classmethod
    def _sorted_out(
        cls, times: PageTimes, window: TimeRange, grid: Timeframe, closed_until: datetime, now: datetime
    ) -> Placement:
        in_window = times.within(to_ms(window.start), to_ms(window.end))
        # Any other is in another unit, whatever grid it happens to hit.
        is_time = (times.since(FIRST_BLOCK_MS) | in_window) & ~times.since(to_ms(EVER.end))
        on_grid = times.on_grid(grid) & is_time
        is_future = times.since(to_ms(now + CLOCK_AHEAD_MAX) + 1)
        sound = on_grid & ~is_future
        is_open = times.since(to_ms(closed_until))
        return cls(
            sound & in_window & ~is_open,
            times.each_ms[sound],
            _bars_of(times.each_ms[~on_grid & in_window & ~is_open], grid),
            silence_counts=bool(np.all(on_grid | in_window) and not np.any(is_future)),
            findings={
                Finding.UNSORTED: times.steps_back,
                Finding.BAD_TIMESTAMP: int(np.count_nonzero(~is_time)),
                Finding.OFF_GRID: int(np.count_nonzero(is_time & ~on_grid)),
                Finding.FUTURE: int(np.count_nonzero(on_grid & is_future)),
                Finding.OUTSIDE: int(np.count_nonzero(sound & ~in_window)),
                Finding.OPEN: int(np.count_nonzero(sound & in_window & is_open)),
            },
        )


def _bars_of(times_ms: npt.NDArray[np.int64], grid: Timeframe) -> npt.NDArray[np.int64]:
    """Return the open times of the bars in which these times lie, ascending."""
    return np.array([to_ms(grid.floor(from_ms(time))) for time in np.unique(times_ms).tolist()], np.int64)
