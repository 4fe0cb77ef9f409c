"""The gate: what of an exchange's answer is fit to be stored, and what the answer proves. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.page_times import Flags, PageTimes
from cb_trade_data.historical.placement import Placement
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, ordered, slice_range, timestamps_ms
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.stored_partition import Change

# A hole in an answered page is genuine once its bars are this old; some venues publish quiet minutes late.
_GENUINE_AFTER: Final = timedelta(days=1)

_NUMBERS: Final = OHLCV_SCHEMA.names[1:]

_Numbers = npt.NDArray[np.float64]

# So many that what a call costs does not matter, and so few that they stay in a core's cache.
_BLOCK_ROWS: Final = 16_384


@dataclass(frozen=True)
class CheckedPage:
    """What is left of an answer, and how far it can be believed.

    Attributes:
        rows: Good rows of the window, in time order, unique.
        answered: The part of the window that the answer speaks for; None if it speaks for nothing.
        rejected: Bars of which only unusable rows came: not absent, just not to be had this time. A time between two
            bars makes the one that it lies in unusable.
        silence_counts: Whether a bar that is not in the answer is absent. Where a row came whose time is none of the
            window and none of the grid or the past, it may have been the row of any bar that is missing.
        served_from: The oldest bar that the exchange still serves, where the answer shows it: a full and clean one of
            an exchange that always answers with its newest bars; None for all others.
        findings: How many rows showed each defect. `outside` alone is normal: some venues always fill a page.
        usual_silence: A lead no longer than this is none.
    """

    rows: pa.Table
    answered: TimeRange | None
    rejected: tuple[TimeRange, ...]
    silence_counts: bool
    served_from: datetime | None
    findings: Mapping[Finding, int]
    usual_silence: timedelta = timedelta(0)

    @property
    def is_empty(self) -> bool:
        """Whether the exchange said, believably, that it has nothing there."""
        return self.rows.num_rows == 0 and not self.rejected and self.silence_counts

    @property
    def lead(self) -> TimeRange | None:
        """The part before the first bar that came, where the exchange said, believably, that it has nothing there.

        All that an empty answer speaks for; None where the first bar that was asked for came.
        """
        if self.answered is None or not self.silence_counts:
            return None
        first_row = map(from_ms, timestamps_ms(self.rows)[:1].tolist())
        end = min([*first_row, *(bars.start for bars in self.rejected), self.answered.end])
        if self.is_empty or end - self.answered.start > self.usual_silence:
            return TimeRange(self.answered.start, end) if self.answered.start < end else None
        return None


def check_page(page: Page, window: TimeRange, grid: Timeframe, exchange: ExchangeFacts, now: datetime) -> CheckedPage:
    """Return the rows of *page* that belong to *window* and can be true, and what the answer proves.

    Args:
        page: The answer to a request for every bar of *window*.
        window: Grid edges. As many bars as it has were asked for.
        exchange: How it answers: what a full page leaves out depends on it.
        now: The exchange's present when it answered.
    """
    closed_until = grid.closed_until(now, exchange.settle_margin)
    if exchange.history_bars is None and window.end <= closed_until and _is_flawless(page.rows, window, grid):
        return CheckedPage(page.rows, window, (), silence_counts=True, served_from=None, findings={})

    times = PageTimes.of(page.rows)
    placement = Placement.of(times, window, grid, closed_until, now)
    findings = Counter(placement.findings)
    candidates, possible = placement.candidates, _possible(page.rows)
    is_bad = candidates & ~possible
    if is_bad.any():
        findings.update(_flaws(_only(page.rows, is_bad)))
    good = _only(page.rows, candidates & possible)
    if not times.ascend:
        good = _unique(ordered(good), findings)
    rejected: list[TimeRange] = []
    if good.num_rows != np.count_nonzero(candidates) or len(placement.misplaced_ms):
        came = np.concatenate([times.each_ms[candidates], placement.misplaced_ms])
        rejected = list(grid.runs(np.setdiff1d(came, timestamps_ms(good))))

    asked = grid.bars_in(window) if exchange.history_bars is None else exchange.history_bars
    count, sound_ms = len(times.each_ms), placement.sound_ms
    is_exact = count == asked == len(sound_ms) and times.are_in_order
    answered = None
    if len(sound_ms) or count == 0:  # else there is not one row to tell what it is an answer to
        is_full = not exchange.windows_only and count >= asked
        answered = _answered(sound_ms, window, grid, exchange, closed_until, is_full=is_full, is_exact=is_exact)
    shows_horizon = exchange.history_bars is not None and is_exact
    return CheckedPage(
        good if good.schema.equals(OHLCV_SCHEMA) else good.cast(OHLCV_SCHEMA),
        None if answered is None else answered.intersect(TimeRange(EVER.start, closed_until)),
        tuple(rejected),
        placement.silence_counts,
        from_ms(times.earliest_ms) if shows_horizon else None,
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
    rows = pa.concat_tables([slice_range(checked.rows, part) for part in answered] or [checked.rows.slice(0, 0)])
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
        young = list(subtract(clean, old))
        bars = list(join([*old, *intersect_all(young, grid.runs(timestamps_ms(rows)))])) if young else old
        segments += [Segment(part, State.HELD) for part in bars]
        segments += [Segment(part, State.EMPTY, now, asks=1) for part in subtract(clean, bars)]
    return Change(rows, tuple(segments))


def _is_flawless(rows: pa.Table, window: TimeRange, grid: Timeframe) -> bool:
    """Tell whether *rows* are every bar of *window*, in order, and nothing else: as nearly all pages are."""
    if not rows.schema.equals(OHLCV_SCHEMA) or rows.num_rows != grid.bars_in(window):
        return False
    return bool((timestamps_ms(rows) == grid.opens_in(window)).all() and _possible(rows).all())


def _answered(
    times: npt.NDArray[np.int64],
    window: TimeRange,
    grid: Timeframe,
    exchange: ExchangeFacts,
    closed_until: datetime,
    *,
    is_full: bool,
    is_exact: bool,
) -> TimeRange | None:
    """Return the part of *window* for which silence means absence; None where the answer speaks for nothing.

    Where an answer is not full, there was room for every bar. One that is full may have been cut, at either end: by a
    duplicate, say, which pushes another bar out. An exchange leaves out nothing between two rows that it sends, so it
    speaks for what lies between its first row and its last one.

    Args:
        times: Of the rows that are on the grid and not of the future, in any order.
        is_full: Whether no more rows would have had room.
        is_exact: Whether there are just as many rows as were asked for, in order, each of another bar: no row that does
            not belong has pushed another one out.
    """
    start_ms, end_ms = to_ms(window.start), to_ms(window.end)
    first, last = (int(times.min()), int(times.max())) if len(times) else (end_ms, start_ms)
    inside = times if first >= start_ms and last < end_ms else times[(times >= start_ms) & (times < end_ms)]
    sent = _Sent(
        hull=_hull(inside, grid),
        has_before=first < start_ms,
        has_after=last >= end_ms,
        ends_at_present=len(times) > 0 and last >= to_ms(grid.advance(closed_until, -1)),
        is_full=is_full,
        is_exact=is_exact,
    )
    if exchange.history_bars is not None:
        return _answered_with_newest(sent, window, exchange)
    if exchange.bounds is not None and exchange.bounds.end is not None:
        return _answered_up_to_end(sent, window, exchange)
    return _answered_from_start(sent, window, exchange)


@dataclass(frozen=True)
class _Sent:
    """What an answer says by the places of its rows; see `_answered`.

    Attributes:
        hull: From the first row of the window to the last one; None where no row is of it.
        has_before: Whether a row from before the window came; `has_after` from after it.
        ends_at_present: Whether the newest row is the newest there can be.
    """

    hull: TimeRange | None
    has_before: bool
    has_after: bool
    ends_at_present: bool
    is_full: bool
    is_exact: bool

    @property
    def is_all_outside(self) -> bool:
        """Whether rows came, and none of the window."""
        return self.hull is None and (self.has_before or self.has_after)


def _answered_with_newest(sent: _Sent, window: TimeRange, exchange: ExchangeFacts) -> TimeRange | None:
    """For an exchange that always sends its newest bars: only older ones than those it sends can be left out."""
    # Rows from before the window show that none of its bars is, unless the exchange should not have sent them.
    if not sent.is_full or (sent.has_before and sent.is_exact and exchange.bounds is None):
        return window
    return None if sent.hull is None else TimeRange(sent.hull.start, window.end)


def _answered_up_to_end(sent: _Sent, window: TimeRange, exchange: ExchangeFacts) -> TimeRange | None:
    """For an exchange that is told where the window ends: rows from elsewhere answer another question."""
    if sent.is_full:
        return sent.hull
    return None if sent.is_all_outside else _answered_with_room(sent, window, exchange)


def _answered_from_start(sent: _Sent, window: TimeRange, exchange: ExchangeFacts) -> TimeRange | None:
    """For an exchange that goes on after the window's end: it sends as many bars as were asked for, from the start on.

    Unless it ignores the start and sends the newest ones; those would end at the present. Where nothing is known of it,
    it may count back from an end, too.
    """
    if not sent.is_full:
        # One with only later rows went on to the next bar it has.
        is_other = sent.is_all_outside and (sent.has_before or sent.ends_at_present)
        return None if is_other else _answered_with_room(sent, window, exchange)
    begins_at_start = not sent.has_before and not sent.ends_at_present and (sent.has_after or exchange.is_proven)
    reaches_end = sent.has_after and sent.is_exact
    if sent.hull is None:
        return window if begins_at_start and reaches_end else None
    return TimeRange(window.start if begins_at_start else sent.hull.start, window.end if reaches_end else sent.hull.end)


def _answered_with_room(sent: _Sent, window: TimeRange, exchange: ExchangeFacts) -> TimeRange:
    """For an answer that had room for every bar, and was perhaps cut even so where nothing is known of the exchange."""
    return window if exchange.is_proven or sent.hull is None else sent.hull


def _hull(opens_ms: npt.NDArray[np.int64], grid: Timeframe) -> TimeRange | None:
    """Return the time from the first of these bars to the last one, both included."""
    if len(opens_ms) == 0:
        return None
    return TimeRange(from_ms(int(opens_ms.min())), grid.advance(from_ms(int(opens_ms.max())), 1))


def _only(rows: pa.Table, keep: Flags) -> pa.Table:
    """Return the rows to *keep*; all of them are not copied."""
    return rows if keep.all() else rows.filter(pa.array(keep))


def _possible(rows: pa.Table) -> Flags:
    """Tell for each row whether 0 ≤ low ≤ open, close ≤ high < ∞ and 0 ≤ volume < ∞."""
    columns = [column.to_numpy() for column in rows.columns[1:]]
    if rows.num_rows <= _BLOCK_ROWS:
        return _are_possible(*columns)
    blocks = range(0, rows.num_rows, _BLOCK_ROWS)
    return np.concatenate([_are_possible(*(each[start : start + _BLOCK_ROWS] for each in columns)) for start in blocks])


def _are_possible(opens: _Numbers, high: _Numbers, low: _Numbers, close: _Numbers, volume: _Numbers) -> Flags:
    # Comparisons with NaN are false.
    are_so = (low >= 0) & (low <= opens) & (low <= close)
    are_so &= (high >= opens) & (high >= close) & (high < np.inf)
    are_so &= (volume >= 0) & (volume < np.inf)
    return are_so


def _flaws(rows: pa.Table) -> dict[Finding, int]:
    """Return how many of these rows, none of them possible, are so for what; a row counts for the first that fits."""
    numbers = np.column_stack([rows.column(name).to_numpy() for name in _NUMBERS])
    finite = np.isfinite(numbers).all(axis=1)
    negative = finite & (numbers < 0).any(axis=1)
    return {
        Finding.NOT_A_NUMBER: int(np.count_nonzero(~finite)),
        Finding.NEGATIVE: int(np.count_nonzero(negative)),
        Finding.IMPOSSIBLE: int(np.count_nonzero(finite & ~negative)),
    }


def _unique(rows: pa.Table, findings: Counter[Finding]) -> pa.Table:
    """Return sorted *rows* with one row per time, and none of a time of which they tell different tales."""
    times = timestamps_ms(rows)
    again = np.flatnonzero(np.diff(times) == 0) + 1
    if len(again) == 0:
        return rows
    numbers = np.column_stack([rows.column(name).to_numpy() for name in _NUMBERS])
    differs = np.any(numbers[again] != numbers[again - 1], axis=1)
    disputed = np.isin(times, times[again[differs]])
    keep = ~disputed
    keep[again] = False
    findings[Finding.CONFLICT] = int(np.count_nonzero(disputed))
    findings[Finding.DUPLICATE] = int(np.count_nonzero(~disputed[again]))
    return rows.filter(pa.array(keep))
