from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from unit_builders import any_ranges, disjoint_ranges, minute, minute_numbers, minutes, quick, utc

from cb_trade_data.models.time_range import TimeRange, intersect_all, join, subtract


def test_the_start_belongs_to_a_range_and_the_end_does_not():
    one = minutes(0, 2)

    assert minute(0) in one
    assert minute(2) - timedelta(microseconds=1) in one
    assert minute(2) not in one
    assert minute(0) - timedelta(microseconds=1) not in one


def test_a_range_without_an_instant_cannot_be_made():
    with pytest.raises(ValueError, match="ends after it starts"):
        TimeRange(minute(1), minute(1))
    with pytest.raises(ValueError, match="ends after it starts"):
        TimeRange(minute(2), minute(1))


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=1)), timezone(timedelta(minutes=-1))])
def test_an_instant_that_is_not_utc_is_refused_at_either_end(zone):
    early, late = datetime(2024, 1, 1, tzinfo=zone), datetime(2024, 1, 9, tzinfo=zone)

    with pytest.raises(ValueError, match="aware UTC"):
        TimeRange(early, utc("2024-01-05"))
    with pytest.raises(ValueError, match="aware UTC"):
        TimeRange(utc("2024-01-05"), late)


def test_a_range_is_written_half_open():
    assert str(TimeRange(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))) == (
        "[2024-01-01T00:00:00+00:00, 2024-02-01T00:00:00+00:00)"
    )


def test_ranges_that_only_touch_share_nothing():
    assert minutes(0, 2).intersect(minutes(2, 4)) is None
    assert minutes(2, 4).intersect(minutes(0, 2)) is None


@quick()
@given(any_ranges())
def test_two_ranges_share_exactly_the_minutes_that_are_in_both(ranges):
    for one in ranges:
        for other in ranges:
            shared = one.intersect(other)
            common = sorted({*minute_numbers([one])} & {*minute_numbers([other])})
            assert minute_numbers([shared] if shared else []) == common


def test_a_hole_between_two_covered_spans_is_left_with_its_own_edges():
    assert list(subtract([minutes(0, 5)], [minutes(0, 2), minutes(3, 5)])) == [minutes(2, 3)]


def test_what_is_wanted_stays_whole_where_nothing_is_covered():
    assert list(subtract([minutes(0, 5)], [])) == [minutes(0, 5)]


def test_cover_that_only_touches_takes_nothing_away():
    assert list(subtract([minutes(2, 4)], [minutes(0, 2), minutes(4, 6)])) == [minutes(2, 4)]


@quick(300)
@given(disjoint_ranges(), any_ranges())
def test_subtracting_leaves_exactly_the_uncovered_minutes_in_order(wanted, covered):
    rest = list(subtract(wanted, covered))

    assert minute_numbers(rest) == sorted({*minute_numbers(wanted)} - {*minute_numbers(covered)})


@quick()
@given(disjoint_ranges(), any_ranges())
def test_subtracting_never_cuts_where_nothing_is_covered(wanted, covered):
    """Needless pieces would cost needless pages."""
    edges = {edge for one in wanted for edge in (one.start, one.end)}
    cover_edges = {edge for one in covered for edge in (one.start, one.end)}

    for part in subtract(wanted, covered):
        assert {part.start, part.end} <= edges | cover_edges
        whole = next(one for one in wanted if part.start in one)
        assert part.start in (whole.start, *(one.end for one in covered))
        assert part.end in (whole.end, *(one.start for one in covered))


@quick(200)
@given(disjoint_ranges(), disjoint_ranges())
def test_intersecting_two_sets_leaves_exactly_the_minutes_in_both_in_order(ranges, others):
    shared = list(intersect_all(ranges, reversed(others)))

    assert minute_numbers(shared) == sorted({*minute_numbers(ranges)} & {*minute_numbers(others)})


@quick(200)
@given(any_ranges())
def test_joining_keeps_every_minute_once_and_in_order(ranges):
    assert minute_numbers(join(ranges)) == sorted({*minute_numbers(ranges)})


@quick(200)
@given(any_ranges())
def test_joined_ranges_neither_overlap_nor_touch(ranges):
    joined = list(join(ranges))

    assert all(one.end < other.start for one, other in pairwise(joined))


def test_a_range_inside_another_does_not_shorten_it_when_joined():
    assert list(join([minutes(0, 9), minutes(1, 3), minutes(9, 10)])) == [minutes(0, 10)]
