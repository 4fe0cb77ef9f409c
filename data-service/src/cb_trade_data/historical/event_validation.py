"""The gate for what happens at any time, trades and funding: what of an answer can be stored, what it proves. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.exchange_source.facts import EventPaging, TimeUnit
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.kinds import EVENT_RULES, EventRules
from cb_trade_data.historical.placement import CLOCK_AHEAD_MAX, FIRST_BLOCK_MS
from cb_trade_data.historical.validation import CheckedPage
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import (
    SCHEMAS,
    distinct,
    increases,
    ordered,
    repeats,
    same,
    slice_range,
    timestamps_ms,
)
from cb_trade_data.models.partition import EVER
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange, intersect_all, subtract
from cb_trade_data.models.timeframe import EVERY_MS
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.stored_partition import Change

_BAD: Final = "is_bad"

_Flags = npt.NDArray[np.bool_]


def check_events(page: Page, window: TimeRange, kind: Kind, paging: EventPaging, now: datetime) -> CheckedPage:
    """Return the rows of *page* that belong to *window* and can be true, and what the answer proves.

    Args:
        page: The answer to a request for what happened in *window*.
        window: To the millisecond.
        now: The exchange's present when it answered.
    """
    rules = EVENT_RULES[kind]
    settled = TimeRange(EVER.start, EVERY_MS.floor(now - paging.settle_margin))
    times = timestamps_ms(page.rows)
    if page.rows.schema.equals(SCHEMAS[kind]) and _is_flawless(page.rows, times, window.intersect(settled), rules):
        answered = _Answered.of(page, times, window, paging, rules)
        if answered.range is not None and answered.crowded is None:
            return CheckedPage(
                page.rows,
                answered.range.intersect(settled),
                (),
                silence_counts=True,
                served_from=None,
                findings=_oddities(page.rows, rules),
                usual_silence=rules.usual_silence,
            )

    findings: Counter[Finding] = Counter()
    steps = np.diff(times)
    is_in_order = bool(np.all(steps >= 0) or np.all(steps <= 0))  # some answer newest first
    findings[Finding.UNSORTED] = 0 if is_in_order else int(np.count_nonzero(steps < 0))
    is_future = times > to_ms(now + CLOCK_AHEAD_MAX)
    is_time = (times >= FIRST_BLOCK_MS) & (times < to_ms(EVER.end))  # any other is in another unit
    in_window = (times >= to_ms(window.start)) & (times < to_ms(window.end))
    is_open = times >= to_ms(settled.end)
    findings[Finding.BAD_TIMESTAMP] = int(np.count_nonzero(~is_time))
    findings[Finding.FUTURE] = int(np.count_nonzero(is_time & is_future))
    findings[Finding.OUTSIDE] = int(np.count_nonzero(is_time & ~is_future & ~in_window))
    findings[Finding.OPEN] = int(np.count_nonzero(in_window & is_open & ~is_future))

    candidates = in_window & ~is_open & ~is_future
    is_bad = np.zeros(len(times), np.bool_)
    for finding, is_so in rules.flaws(page.rows).items():
        findings[finding] = int(np.count_nonzero(candidates & is_so & ~is_bad))
        is_bad |= is_so
    rows, is_bad = _chosen(page.rows, candidates), is_bad[candidates]
    rows = ordered(rows.append_column(_BAD, pa.array(is_bad)))
    is_bad, rows = rows.column(_BAD).to_numpy(), rows.drop_columns(_BAD)
    is_repeat = repeats(rows)
    is_conflict = _conflicts(rows, is_repeat) | rules.contradictions(rows, is_repeat)
    findings[Finding.CONFLICT] = int(np.count_nonzero(is_conflict))
    findings[Finding.DUPLICATE] = int(np.count_nonzero(is_repeat & ~is_conflict))
    findings[Finding.BACKWARDS] = rules.backwards(rows)
    findings.update(_oddities(rows, rules))

    row_times = timestamps_ms(rows)
    answered = _Answered.of(page, times[is_time & ~is_future], window, paging, rules)
    bad_times = distinct(row_times[is_bad | is_conflict])
    crowded = [] if answered.crowded is None else [answered.crowded]
    rejected = [*subtract(EVERY_MS.runs(bad_times), crowded), *crowded]
    is_good = ~is_repeat
    if len(bad_times):
        is_good &= ~np.isin(row_times, bad_times)
    for part in crowded:
        is_good &= (row_times < to_ms(part.start)) | (row_times >= to_ms(part.end))
    good = _chosen(rows, is_good)
    return CheckedPage(
        good if good.schema.equals(SCHEMAS[kind]) else good.cast(SCHEMAS[kind]),
        None if answered.range is None else answered.range.intersect(settled),
        tuple(sorted(rejected)),
        bool(np.all(is_time & ~is_future)),
        None,
        {finding: count for finding, count in findings.items() if count},
        usual_silence=rules.usual_silence,
    )


def settle_events(
    checked: CheckedPage, wanted: list[TimeRange], kind: Kind, now: datetime, neighbours_ms: Iterable[int]
) -> Change:
    """Return what to store of a checked page: the rows that were *wanted*, and what is now known of those times.

    Args:
        wanted: Disjoint ranges, to the millisecond; nothing outside them is changed.
        now: The exchange's present when it answered.
        neighbours_ms: The times of the rows that are known beside those of the page, in order.
    """
    if checked.answered is None:
        return Change(checked.rows.slice(0, 0), ())
    answered = list(intersect_all(wanted, [checked.answered]))
    rows = pa.concat_tables([slice_range(checked.rows, part) for part in answered] or [checked.rows.slice(0, 0)])
    rejected = list(intersect_all(answered, checked.rejected))
    clean = list(subtract(answered, rejected))
    if not checked.silence_counts:
        # A row whose time cannot be may be of any of these times.
        rows, rejected, clean = rows.slice(0, 0), answered, []

    silent = clean if checked.is_empty else []
    if (holes := EVENT_RULES[kind].holes) is not None:
        there_ms = [timestamps_ms(checked.rows), [to_ms(part.start) for part in checked.rejected], list(neighbours_ms)]
        known_ms = np.sort(np.concatenate([np.asarray(each, np.int64) for each in there_ms]))
        if len(known_ms):
            silent = list(intersect_all(clean, sorted(holes(distinct(known_ms), checked.answered))))
    segments = [Segment(part, State.FAILED, now, reason="the exchange sent unusable rows") for part in sorted(rejected)]
    segments += [Segment(part, State.HELD) for part in subtract(clean, silent)]
    segments += [Segment(part, State.EMPTY, now, asks=1) for part in silent]
    return Change(rows, tuple(segments))


def _is_flawless(rows: pa.Table, times: npt.NDArray[np.int64], within: TimeRange | None, rules: EventRules) -> bool:
    """Tell whether *rows* are all of that time, in order, each of a thing of its own and possible: as most pages are.

    It costs a third of looking for what is wrong.
    """
    if within is None or len(times) == 0:
        return False
    if times[0] < max(to_ms(within.start), FIRST_BLOCK_MS) or times[-1] >= to_ms(within.end) or not increases(rows):
        return False
    return not any(is_so.any() for is_so in rules.flaws(rows).values())


def _oddities(rows: pa.Table, rules: EventRules) -> dict[Finding, int]:
    found = {finding: count(rows) for finding, count in rules.oddities.items()}
    return {finding: count for finding, count in found.items() if count}


@dataclass(frozen=True)
class _Answered:
    """What an answer speaks for.

    Attributes:
        range: The part of the window; None for nothing.
        crowded: What of it has more rows than a page holds and cannot be divided: not all of them are to be had.
    """

    range: TimeRange | None
    crowded: TimeRange | None = None

    @classmethod
    def of(
        cls, page: Page, times: npt.NDArray[np.int64], window: TimeRange, paging: EventPaging, rules: EventRules
    ) -> _Answered:
        """Return what *page* speaks for.

        Args:
            times: Of the rows whose time can be one, in any order.
        """
        if page.rows.num_rows == 0:
            return cls(window)
        # What the exchange understands of a window may be more of it.
        unit_ms = 1_000 if paging.bounds.unit is TimeUnit.SECONDS else 1
        if paging.bounds.start is not None:
            times = times[times // unit_ms >= to_ms(window.start) // unit_ms]
        if paging.bounds.end is not None:
            times = times[times // unit_ms <= (to_ms(window.end) - 1) // unit_ms]
        if len(times) == 0:
            return cls(None)  # Rows that are all from elsewhere answer another question.
        is_cut = page.rows.num_rows >= paging.page_limit_rows if page.is_cut is None else page.is_cut
        if not is_cut:
            return cls(window)
        times = distinct(np.sort(times))
        unit = int(times[0]) // unit_ms
        if unit == times[-1] // unit_ms:
            # Asked again, the answer would be the same: what it was cut before, or behind, is not to be had.
            unit_start, unit_end = from_ms(unit * unit_ms), from_ms((unit + 1) * unit_ms)
            if paging.newest_first:
                crowded, beyond = TimeRange(unit_start, from_ms(int(times[0]) + 1)), _from(unit_start)
            else:
                crowded, beyond = TimeRange(from_ms(int(times[-1])), unit_end), _up_to(unit_end)
            return cls(window.intersect(beyond), window.intersect(crowded))
        border = from_ms(rules.believed(times, newest_first=paging.newest_first))
        return cls(window.intersect(_from(border) if paging.newest_first else _up_to(border)))


def _from(start: datetime) -> TimeRange:
    return TimeRange(start, EVER.end)


def _up_to(end: datetime) -> TimeRange:
    return TimeRange(EVER.start, end)


def _chosen(rows: pa.Table, is_chosen: _Flags) -> pa.Table:
    return rows if is_chosen.all() else rows.filter(pa.array(is_chosen))


def _conflicts(rows: pa.Table, is_repeat: _Flags) -> _Flags:
    """Tell for each row whether it is of the same thing as the one before it and says something else of it."""
    is_conflict = np.zeros(rows.num_rows, np.bool_)
    places = np.flatnonzero(is_repeat)
    if len(places):
        is_conflict[places] = ~same(rows.take(pa.array(places)), rows.take(pa.array(places - 1)))
    return is_conflict
