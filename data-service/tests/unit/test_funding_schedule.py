"""Where funding is missing: by the schedule that the times around show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick, span

from cb_trade_data.historical.kinds.funding_schedule import believed, holes
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.time_range import TimeRange

HOUR_MS = 3_600_000
FIRST_MS = 1_704_067_200_000


def missing_hours(intervals: Sequence[int], jitter_ms: Sequence[int] = ()) -> list[tuple[int, int]]:
    """Return the holes between payments so many hours apart, in hours since the first one, to the nearest."""
    times = np.array([0, *accumulate(intervals)], np.int64) * HOUR_MS + FIRST_MS
    times[: len(jitter_ms)] += np.array(jitter_ms, np.int64)
    return [
        (round((to_ms(hole.start) - FIRST_MS) / HOUR_MS), round((to_ms(hole.end) - FIRST_MS) / HOUR_MS))
        for hole in holes(times, TimeRange(from_ms(int(times[0])), from_ms(int(times[-1]) + 1)))
    ]


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], []),
        ([8], []),
        ([8, 8, 8, 8], []),
        ([8, 16, 8], [(16, 24)]),
        ([8, 8, 32], [(24, 48)]),
        ([24, 8, 8], [(8, 24)]),
        ([16, 16, 16], [(8, 16), (24, 32), (40, 48)]),
        ([8, 8, 8, 4, 4, 4], []),
        ([4, 4, 4, 8, 8, 8], []),
        ([4, 4, 4, 8, 4, 4], [(16, 20)]),
        ([1, 1, 3, 1, 1], [(3, 5)]),
        ([1, 1, 1, 2], []),  # nobody knows yet: a hole, or a new schedule
        ([8, 8, 8, 12, 4, 4, 4], [(28, 36)]),  # after the one schedule or the other
    ],
)
def test_an_interval_that_no_schedule_explains_has_a_hole(intervals, expected):
    assert missing_hours(intervals) == expected


@quick(100)
@given(st.lists(st.integers(0, 900), min_size=9, max_size=9))
def test_times_that_jitter_are_on_schedule(jitter_ms):
    assert missing_hours([8] * 8, jitter_ms) == []
    assert missing_hours([8, 8, 24, 8, 8], jitter_ms[:6]) == [(24, 40)]


def test_a_hole_holds_a_payment_that_was_booked_sooner_after_the_hour_than_the_one_before_it():
    times = np.array([0, 8 * HOUR_MS + 900, 24 * HOUR_MS, 32 * HOUR_MS], np.int64) + FIRST_MS

    [hole] = holes(times, TimeRange(from_ms(FIRST_MS), from_ms(FIRST_MS + 32 * HOUR_MS + 1)))

    assert to_ms(hole.start) <= FIRST_MS + 16 * HOUR_MS


@quick(100)
@given(st.sampled_from([1, 2, 4, 8]), st.sets(st.integers(4, 56)))
def test_every_missing_payment_between_those_of_one_schedule_is_in_a_hole(interval, gone):
    """However many are missing one after the other, as long as most of those around are there."""
    gone = {each for each in gone if not gone & {each - 4, each - 3, each - 2, each + 2, each + 3, each + 4}}
    kept = [each for each in range(61) if each not in gone]

    found = missing_hours([(after - before) * interval for before, after in pairwise(kept)])

    assert {hour for start, end in found for hour in range(start, end, interval)} == {each * interval for each in gone}


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        (span("2023-12-31T23:00:01", "2024-01-02T07:00"), []),
        (span("2023-12-31T15:00", "2024-01-02T06:30"), [span("2023-12-31T15:00", "2023-12-31T23:01")]),
        (span("2024-01-01", "2024-01-02T07:00:05"), [span("2024-01-02T06:59", "2024-01-02T07:00:05")]),
        (span("2024-01-01", "2024-01-03"), [span("2024-01-02T06:59", "2024-01-03")]),
    ],
)
def test_more_than_an_interval_of_silence_at_either_end_is_a_hole(answered, expected):
    """By the schedule of the hours beside it: a payment that is late is not taken for none."""
    times = np.array([0, *range(1, 31)], np.int64) * HOUR_MS + FIRST_MS

    assert list(holes(times, answered)) == expected


@pytest.mark.parametrize(
    ("hours", "newest_first", "expected_hours"),
    [
        ([0, 4, 8, 12], False, 12),
        ([0, 4, 8, 16], False, 8),  # and all of the interval that may have a hole is left to the next page
        ([0, 4], False, 4),
        ([0, 4, 8, 12], True, 0),
        ([0, 8, 12, 16], True, 8),
    ],
)
def test_a_page_is_not_believed_beyond_an_interval_that_may_have_a_hole(hours, newest_first, expected_hours):
    times = np.array(hours, np.int64) * HOUR_MS + FIRST_MS

    found = believed(times, newest_first=newest_first)

    assert round((found - FIRST_MS) / HOUR_MS) == expected_hours
