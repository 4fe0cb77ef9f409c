from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import MINUTE, disjoint_ranges, minute, minutes, quick

from cb_trade_data.historical.ledger import LedgerPage, LedgerWriter, tiles
from cb_trade_data.historical.reach import Reach
from cb_trade_data.models.time_range import TimeRange, subtract
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.series_facts import SeriesFacts

STORED = [State.HELD, State.EMPTY, State.FAILED]


@st.composite
def coverages(draw: st.DrawFn) -> Coverage:
    """What may be stored: some ranges, each in some state that is stored."""
    ranges = draw(disjoint_ranges())
    return Coverage().with_segments(
        Segment(each, draw(st.sampled_from(STORED)), minute(draw(st.integers(100, 101))), asks=1) for each in ranges
    )


ranges = st.lists(st.integers(0, 40), min_size=2, max_size=2, unique=True).map(lambda ends: minutes(*sorted(ends)))


@st.composite
def reaches(draw) -> Reach:
    """Draw when the exchange began to have bars, when it ceased and since when it serves them, each known or not."""
    first, last = sorted(draw(st.lists(st.integers(-2, 45), min_size=2, max_size=2, unique=True)))
    facts = SeriesFacts("BTCUSDT")
    if draw(st.booleans()):
        facts = facts.with_listing(minute(first), minute(50))
    if draw(st.booleans()):
        facts = facts.with_delisting(minute(last), minute(50))
    horizon = draw(st.none() | st.integers(-2, 45))
    return Reach(facts) if horizon is None else Reach(facts, minute(horizon), "it serves no more")


NO_LIMIT = Reach(SeriesFacts("BTCUSDT"))


def held(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.HELD)


def unknown(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.UNKNOWN)


def unlisted(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.UNLISTED)


def assert_tiled(wanted: TimeRange, segments: list[Segment]) -> None:
    assert segments[0].range.start == wanted.start
    assert segments[-1].range.end == wanted.end
    assert all(before.range.end == after.range.start for before, after in pairwise(segments))


@quick(300)
@given(ranges, coverages(), reaches())
def test_segments_tile_the_range(wanted, coverage, reach):
    """No overlap, no hole: nothing is left unexplained."""
    assert_tiled(wanted, list(tiles(wanted, coverage, reach)))


@quick(300)
@given(ranges, coverages(), reaches())
def test_each_instant_is_told_as_it_is_known(wanted, coverage, reach):
    for segment in tiles(wanted, coverage, reach):
        known = [each for each in coverage.segments if each.range.intersect(segment.range)]
        is_served = reach.horizon is None or segment.range.start >= reach.horizon
        match segment.state:
            case State.UNLISTED | State.DELISTED:
                [source] = [each for each in reach.facts.absences if each.state is segment.state]
                assert segment.range.intersect(source.range) == segment.range
            case State.UNKNOWN:
                assert known == []
                assert is_served
            case State.UNAVAILABLE:
                assert segment.range.end <= reach.horizon
                assert segment.reason == "it serves no more"
                assert {each.state for each in known} <= {State.FAILED}
            case _:
                [source] = known
                assert (source.state, source.asked_at, source.asks) == (segment.state, segment.asked_at, segment.asks)
                assert is_served or segment.state is not State.FAILED
        if segment.state not in {State.UNLISTED, State.DELISTED}:
            assert not any(segment.range.intersect(absent) for absent in reach.facts.absent)


def test_what_coverage_does_not_mention_is_unknown():
    coverage = Coverage((held(2, 4), held(6, 8)))

    assert list(tiles(minutes(0, 10), coverage, NO_LIMIT)) == [
        unknown(0, 2),
        held(2, 4),
        unknown(4, 6),
        held(6, 8),
        unknown(8, 10),
    ]


def test_before_the_listing_it_does_not_matter_what_was_stored():
    coverage = Coverage((Segment(minutes(0, 6), State.EMPTY, minute(9), 1), held(6, 8)))

    reach = Reach(SeriesFacts("BTCUSDT", minute(6), minute(9)))
    assert list(tiles(minutes(0, 8), coverage, reach)) == [unlisted(0, 6), held(6, 8)]


def test_what_the_exchange_serves_no_more_is_unavailable_unless_it_answered_while_it_did():
    empty = Segment(minutes(0, 2), State.EMPTY, minute(9), 1)
    failed = Segment(minutes(6, 10), State.FAILED, minute(9), reason="timeout")
    coverage = Coverage((empty, held(3, 5), failed))

    assert list(tiles(minutes(0, 12), coverage, Reach(SeriesFacts("BTCUSDT"), minute(8), "no more"))) == [
        empty,
        Segment(minutes(2, 3), State.UNAVAILABLE, reason="no more"),
        held(3, 5),
        Segment(minutes(5, 8), State.UNAVAILABLE, reason="no more"),
        replace(failed, range=minutes(8, 10)),
        unknown(10, 12),
    ]


def written(parts: list[list[Segment]], limit: int = 100) -> LedgerPage:
    ledger = LedgerWriter(limit)
    for part in parts:
        ledger.add(part)
    return ledger.page(TimeRange(parts[0][0].range.start, parts[-1][-1].range.end))


def test_what_goes_on_over_the_edge_of_a_partition_is_one_segment():
    page = written([[unknown(0, 2), held(2, 4)], [held(4, 6)], [held(6, 7), unknown(7, 8)]])

    assert page == LedgerPage(minutes(0, 8), (unknown(0, 2), held(2, 7), unknown(7, 8)), is_last=True)


def test_a_page_ends_where_the_first_segment_begins_that_has_no_room():
    page = written([[unknown(0, 2), held(2, 4)], [held(4, 6), unknown(6, 9)]], limit=2)

    assert page == LedgerPage(minutes(0, 6), (unknown(0, 2), held(2, 6)), is_last=False)


def test_a_page_with_room_for_exactly_all_segments_is_the_last():
    assert written([[unknown(0, 2), held(2, 4)]], limit=2).is_last


def test_a_page_that_was_not_told_everything_is_not_the_last():
    ledger = LedgerWriter(10)
    ledger.add([held(0, 4)])

    assert ledger.page(minutes(0, 9)) == LedgerPage(minutes(0, 4), (held(0, 4),), is_last=False)


def test_a_ledger_is_full_once_it_has_seen_where_the_next_page_begins():
    ledger = LedgerWriter(2)
    ledger.add([unknown(0, 2), held(2, 4)])
    assert not ledger.is_full

    ledger.add([held(4, 5)])
    assert not ledger.is_full

    ledger.add([unknown(5, 6)])
    assert ledger.is_full


@quick(200)
@given(coverages(), reaches(), st.integers(1, 6), st.sets(st.integers(1, 39), max_size=4))
def test_pages_of_any_size_put_together_are_the_whole(coverage, reach, limit, borders):
    """Wherever the partitions meet."""
    whole = written([list(tiles(minutes(0, 40), coverage, reach))])
    edges = [minute(0), *(minute(border) for border in sorted(borders)), minute(40)]
    parts = [TimeRange(start, end) for start, end in pairwise(edges)]
    found: list[Segment] = []
    rest = minutes(0, 40)
    while True:
        ledger = LedgerWriter(limit)
        for part in parts:
            if (shared := part.intersect(rest)) is not None and not ledger.is_full:
                ledger.add(tiles(shared, coverage, reach))
        page = ledger.page(rest)
        assert 1 <= len(page.segments) <= limit
        assert_tiled(page.range, list(page.segments))
        found += page.segments
        if page.is_last:
            break
        rest = TimeRange(page.range.end, rest.end)

    assert tuple(found) == whole.segments


@quick(200)
@given(ranges, coverages(), reaches())
def test_what_is_expected_is_what_may_be_there_and_what_is_held_is_a_part_of_it(wanted, coverage, reach):
    page = written([list(tiles(wanted, coverage, reach))])

    listed = list(subtract([wanted], reach.facts.absent))
    assert page.bars_expected(MINUTE) == sum(MINUTE.bars_in(part) for part in listed)
    stored = subtract(listed, subtract([wanted], coverage.ranges(State.HELD)))
    assert page.bars_held(MINUTE) == sum(MINUTE.bars_in(part) for part in stored)


def test_an_empty_page_expects_nothing():
    page = LedgerPage.empty()

    assert (page.range, page.segments, page.is_last) == (None, (), True)
    assert (page.bars_expected(MINUTE), page.bars_held(MINUTE)) == (0, 0)


@pytest.mark.parametrize("state", [state for state in State if state not in {State.UNLISTED, State.DELISTED}])
def test_all_that_was_listed_is_expected_whatever_became_of_it(state):
    assert LedgerPage(minutes(0, 5), (Segment(minutes(0, 5), state),), is_last=True).bars_expected(MINUTE) == 5
