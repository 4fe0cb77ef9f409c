from __future__ import annotations

from datetime import timedelta
from functools import cache
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import disjoint_ranges, minute, minute_numbers, minutes, quick, span, utc

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.historical.planning import missing, pages
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Coverage, Segment, State

NOW = utc("2024-03-10")
MINUTE = Timeframe.parse("1m")
#: Each near a place where its bars are least alike: a leap February, the end of a year, an odd quarter.
GRIDS = [
    (MINUTE, utc("2024-02-28T23:55")),
    (Timeframe.parse("1w"), utc("2023-12-18")),
    (Timeframe.parse("1M"), utc("2023-11-01")),
    (Timeframe.parse("3M"), utc("2023-07-01")),
]


def exchange(page_limit_bars: int, *, is_proven: bool = True) -> ExchangeFacts:
    return ExchangeFacts("fake", ("1m", "1w", "1M", "3M"), page_limit_bars, is_proven=is_proven)


# --- What is missing -------------------------------------------------------------------------------------------------


def plan(wanted: TimeRange, *segments: Segment, **changes) -> list[TimeRange]:
    arguments = {"now": NOW, "failures_since": NOW} | changes
    return list(missing(wanted, Coverage(segments), **arguments))


def test_all_is_missing_where_nothing_is_known():
    assert plan(minutes(0, 9)) == [minutes(0, 9)]


def test_nothing_is_missing_where_all_is_held():
    assert plan(minutes(2, 5), Segment(minutes(0, 9), State.HELD)) == []


def test_head_middle_and_tail_holes_have_their_own_edges():
    stored = [Segment(minutes(2, 4), State.HELD), Segment(minutes(6, 8), State.HELD)]

    assert plan(minutes(0, 10), *stored) == [minutes(0, 2), minutes(4, 6), minutes(8, 10)]


def test_an_empty_answer_is_missing_again_when_its_date_says_so():
    segment = Segment(minutes(2, 4), State.EMPTY, NOW - timedelta(hours=1), 1)

    assert plan(minutes(0, 9), segment) == [minutes(0, 9)]
    assert plan(minutes(0, 9), segment, now=NOW - timedelta(milliseconds=1)) == [minutes(0, 2), minutes(4, 9)]


def test_a_failure_is_missing_for_who_comes_after_it():
    segment = Segment(minutes(2, 4), State.FAILED, NOW, reason="timeout")

    assert plan(minutes(2, 4), segment, failures_since=NOW) == []
    assert plan(minutes(2, 4), segment, failures_since=NOW + timedelta(milliseconds=1)) == [minutes(2, 4)]


def test_what_lies_after_delisting_is_never_asked_for_either():
    delisted = [minutes(-10, 2), minutes(6, 90)]

    assert plan(minutes(0, 9), absent=delisted) == plan(minutes(0, 9), absent=delisted, refresh=True) == [minutes(2, 6)]


def test_what_lies_before_listing_is_never_asked_for_not_even_on_refresh():
    unlisted = TimeRange(utc("1970-01-01"), minute(5))

    assert plan(minutes(0, 9), absent=[unlisted]) == [minutes(5, 9)]
    assert plan(minutes(0, 9), Segment(minutes(0, 9), State.HELD), absent=[unlisted], refresh=True) == [minutes(5, 9)]


def test_a_refresh_asks_for_everything_again():
    final = Segment(minutes(0, 9), State.EMPTY, NOW, 3)

    assert plan(minutes(0, 9), final) == []
    assert plan(minutes(0, 9), final, refresh=True) == [minutes(0, 9)]


@quick(200)
@given(disjoint_ranges(), disjoint_ranges(), st.integers(0, 39), st.integers(1, 40), st.integers(0, 40))
def test_missing_is_exactly_what_is_neither_settled_nor_unlisted(settled, unsettled, first, length, listed):
    """Whatever is not settled counts as nothing known."""
    facts = [Segment(part, State.HELD) for part in settled]
    facts += [
        Segment(part, State.FAILED, NOW - timedelta(days=1), reason="timeout")
        for part in unsettled
        if not any(part.intersect(other) for other in settled)
    ]
    facts.sort(key=lambda segment: segment.range.start)
    unlisted = minutes(-10, listed)

    gaps = plan(minutes(first, first + length), *facts, absent=[unlisted])

    wanted = {number for number in range(first, first + length) if number >= listed}
    assert minute_numbers(gaps) == sorted(wanted - {*minute_numbers(settled)})


# --- The fewest pages ------------------------------------------------------------------------------------------------


def gaps_of(bars: set[int], cuts: set[int], grid: Timeframe, base) -> list[TimeRange]:
    """Return the ranges of these bars, counted from *base*; two that touch at one of *cuts* stay apart."""
    gaps = []
    for _, run in groupby(enumerate(sorted(bars)), key=lambda pair: pair[1] - pair[0]):
        ordered = [bar for _, bar in run]
        edges = [ordered[0], *(bar for bar in ordered[1:] if bar in cuts), ordered[-1] + 1]
        gaps += [TimeRange(grid.advance(base, first), grid.advance(base, end)) for first, end in pairwise(edges)]
    return gaps


def fewest(bars: frozenset[int], limit: int) -> int:
    """Return the least number of windows of *limit* bars that cover *bars*, by trying every place for each window."""

    @cache
    def rest(first: int) -> int:
        later = [bar for bar in bars if bar >= first]
        if not later:
            return 0
        return 1 + min(rest(start + limit) for start in range(min(later) - limit + 1, min(later) + 1))

    return rest(0)


bar_sets = st.frozensets(st.integers(0, 15), min_size=1)


@quick(400)
@given(st.sampled_from(GRIDS), bar_sets, st.sets(st.integers(0, 15)), st.integers(1, 6))
def test_pages_cover_every_missing_bar_with_the_fewest_windows_there_can_be(grid_and_base, bars, cuts, limit):
    grid, base = grid_and_base

    windows = list(pages(gaps_of(bars, cuts, grid, base), grid, exchange(limit)))

    numbers = [
        range(grid.ordinal(window.start) - grid.ordinal(base), grid.ordinal(window.end) - grid.ordinal(base))
        for window in windows
    ]
    assert bars <= {bar for window in numbers for bar in window}
    assert len(windows) == fewest(bars, limit)
    for window, bars_of_it in zip(windows, numbers, strict=True):
        assert grid.snap(window) == window
        assert 1 <= len(bars_of_it) <= limit
        assert bars_of_it[0] in bars
        assert bars_of_it[-1] in bars
    assert all(one.end <= other.start for one, other in pairwise(windows))


def test_no_gaps_need_no_pages():
    assert list(pages([], MINUTE, exchange(1000))) == []


@pytest.mark.parametrize(("bars", "calls"), [(1, 1), (999, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 3)])
def test_a_long_gap_is_cut_at_the_page_limit(bars, calls):
    windows = list(pages([minutes(0, bars)], MINUTE, exchange(1000)))

    assert len(windows) == calls
    assert [MINUTE.bars_in(window) for window in windows[:-1]] == [1000] * (calls - 1)
    assert sum(MINUTE.bars_in(window) for window in windows) == bars


def test_holes_that_one_page_reaches_are_fetched_together():
    assert list(pages([minutes(0, 1), minutes(999, 1000)], MINUTE, exchange(1000))) == [minutes(0, 1000)]
    assert list(pages([minutes(0, 1), minutes(1000, 1001)], MINUTE, exchange(1000))) == [
        minutes(0, 1),
        minutes(1000, 1001),
    ]


def test_a_hole_that_a_page_reaches_in_part_goes_on_in_the_next():
    windows = list(pages([minutes(0, 2), minutes(998, 1005)], MINUTE, exchange(1000)))

    assert windows == [minutes(0, 1000), minutes(1000, 1005)]


def test_of_an_exchange_that_is_not_proven_each_hole_is_asked_for_by_itself():
    windows = list(pages([minutes(0, 1), minutes(5, 1010)], MINUTE, exchange(1000, is_proven=False)))

    assert windows == [minutes(0, 1), minutes(5, 1005), minutes(1005, 1010)]


def test_pages_of_months_count_months():
    whole = span("2023-01-01", "2025-01-01")

    windows = list(pages([whole], Timeframe.parse("1M"), exchange(7)))

    assert windows == [
        span("2023-01-01", "2023-08-01"),
        span("2023-08-01", "2024-03-01"),
        span("2024-03-01", "2024-10-01"),
        span("2024-10-01", "2025-01-01"),
    ]


def test_pages_are_found_one_at_a_time():
    taken: list[TimeRange] = []

    def gaps():
        for number in range(0, 10_000, 10):
            taken.append(minutes(number, number + 1))
            yield taken[-1]

    next(pages(gaps(), MINUTE, exchange(5)))

    assert len(taken) <= 2
