"""The gate: what of an exchange's answer is fit to be stored, and what the answer proves. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, slice_range, timestamps_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.stored_partition import Change

# A hole in an answered page is genuine once its bars are this old; some venues publish quiet minutes late.
_GENUINE_AFTER: Final = timedelta(days=1)

_PRICES: Final = ("open", "high", "low", "close")


class Finding(StrEnum):
    """What can be wrong with a row of an answer."""

    OFF_GRID = "off_grid"
    OUTSIDE = "outside"
    NOT_A_NUMBER = "not_a_number"
    IMPOSSIBLE = "impossible"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNSORTED = "unsorted"


@dataclass(frozen=True)
class CheckedPage:
    """What is left of an answer, and how far it can be believed.

    Attributes:
        rows: Good rows of the window, in time order, unique.
        answered: The part of the window that the answer speaks for; None if it speaks for nothing.
        rejected: Bars of which only unusable rows came: not absent, just not to be had this time.
        silence_counts: Whether a bar that is not in the answer is absent. Where a row came whose time is unusable, it
            may have been the row of any bar that is missing.
        findings: How many rows showed each defect. `outside` alone is normal: some venues always fill a page.
    """

    rows: pa.Table
    answered: TimeRange | None
    rejected: tuple[TimeRange, ...]
    silence_counts: bool
    findings: Mapping[Finding, int]

    @property
    def is_empty(self) -> bool:
        """Whether the exchange said, believably, that it has nothing there."""
        return self.rows.num_rows == 0 and not self.rejected and self.silence_counts


def check_page(page: Page, window: TimeRange, grid: Timeframe) -> CheckedPage:
    """Return the rows of *page* that belong to *window* and can be true, and what the answer proves.

    Args:
        page: The answer to a request for every bar of *window*.
        window: Grid edges. As many bars as it has were asked for.
    """
    findings: Counter[Finding] = Counter()
    times = timestamps_ms(page.rows)
    findings[Finding.UNSORTED] = int(np.count_nonzero(np.diff(times) < 0))
    # A time that no calendar of ours holds is in another unit, whatever grid it happens to hit.
    on_grid = grid.on_grid(times) & (times >= to_ms(EVER.start)) & (times < to_ms(EVER.end))
    findings[Finding.OFF_GRID] = int(np.count_nonzero(~on_grid))
    inside = (times >= to_ms(window.start)) & (times < to_ms(window.end))
    findings[Finding.OUTSIDE] = int(np.count_nonzero(on_grid & ~inside))

    answered = _answered(page, times[on_grid], window, grid)
    candidates = on_grid & inside
    finite, possible = _sanity(page.rows)
    findings[Finding.NOT_A_NUMBER] = int(np.count_nonzero(candidates & ~finite))
    findings[Finding.IMPOSSIBLE] = int(np.count_nonzero(candidates & finite & ~possible))

    good = page.rows.filter(pa.array(candidates & finite & possible)).sort_by("timestamp")
    good, conflicting = _unique(good, findings)
    unusable = np.setdiff1d(times[candidates], timestamps_ms(good))
    findings[Finding.CONFLICT] = conflicting
    return CheckedPage(
        good.cast(OHLCV_SCHEMA),
        answered,
        tuple(grid.runs(unusable)),
        bool(np.all(on_grid)),
        {finding: count for finding, count in findings.items() if count},
    )


def settle(checked: CheckedPage, wanted: list[TimeRange], grid: Timeframe, now: datetime) -> Change:
    """Return what to store of a checked page: the rows that were *wanted*, and what is now known of those bars.

    Args:
        wanted: Disjoint ranges with edges on the grid; nothing outside them is changed.
        now: The exchange's present when it answered.
    """
    if checked.answered is None:
        return Change(checked.rows.slice(0, 0), ())
    answered = list(intersect_all(wanted, [checked.answered]))
    rows = pa.concat_tables([checked.rows.slice(0, 0), *(slice_range(checked.rows, part) for part in answered)])
    rejected = list(intersect_all(answered, checked.rejected))
    clean = list(subtract(answered, rejected))

    if not checked.silence_counts:
        bars = list(intersect_all(clean, grid.runs(timestamps_ms(rows))))
        rejected += subtract(clean, bars)
        clean = bars

    segments = [Segment(part, State.FAILED, now, reason="the exchange sent unusable rows") for part in sorted(rejected)]
    if checked.is_empty:
        segments += [Segment(part, State.EMPTY, now, asks=1) for part in clean]
    else:
        genuine_until = grid.floor(now - _GENUINE_AFTER)
        held = [part for part in clean if part.start < genuine_until]
        old = [TimeRange(part.start, min(part.end, genuine_until)) for part in held]
        bars = list(join([*old, *intersect_all(clean, grid.runs(timestamps_ms(rows)))]))
        segments += [Segment(part, State.HELD) for part in bars]
        segments += [Segment(part, State.EMPTY, now, asks=1) for part in subtract(clean, bars)]
    return Change(rows, tuple(segments))


def _answered(page: Page, times: npt.NDArray[np.int64], window: TimeRange, grid: Timeframe) -> TimeRange | None:
    """Return the part of *window* for which silence means absence.

    A page that came full but does not reach the window's end was cut: by a duplicate, say, which pushes the newest
    candle out. A page that only has rows from before the window answers another question.
    """
    if page.rows.num_rows < grid.bars_in(window) or len(times) == 0:
        strays = len(times) > 0 and int(times.max()) < to_ms(window.start)
        nothing_usable = page.rows.num_rows > 0 and len(times) == 0
        return None if strays or nothing_usable else window
    reached = grid.advance(from_ms(int(times.max())), 1)
    if reached <= window.start:
        return None
    return TimeRange(window.start, min(reached, window.end))


def _sanity(rows: pa.Table) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell for each row whether its numbers are finite, and whether 0 ≤ low ≤ open, close ≤ high and 0 ≤ volume."""
    opens, high, low, close = (rows.column(name).to_numpy() for name in _PRICES)
    volume = rows.column("volume").to_numpy()
    finite = np.isfinite(opens) & np.isfinite(high) & np.isfinite(low) & np.isfinite(close) & np.isfinite(volume)
    # Comparisons with NaN are false, so such rows are neither finite nor possible.
    possible = (low >= 0) & (low <= opens) & (low <= close) & (high >= opens) & (high >= close) & (volume >= 0)
    return np.asarray(finite), np.asarray(possible)


def _unique(rows: pa.Table, findings: Counter[Finding]) -> tuple[pa.Table, int]:
    """Return sorted *rows* with one row per time, and how many were dropped for telling different tales of one."""
    times = timestamps_ms(rows)
    repeats = np.flatnonzero(np.diff(times) == 0) + 1
    if len(repeats) == 0:
        return rows, 0
    numbers = np.column_stack([rows.column(name).to_numpy() for name in (*_PRICES, "volume")])
    differs = np.any(numbers[repeats] != numbers[repeats - 1], axis=1)
    disputed = np.isin(times, times[repeats[differs]])
    keep = ~disputed
    keep[repeats] = False
    findings[Finding.DUPLICATE] += int(np.count_nonzero(~differs))
    return rows.filter(pa.array(keep)), int(np.count_nonzero(disputed))
