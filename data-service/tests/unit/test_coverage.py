from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import minute, minutes, quick, utc

from cb_trade_data.models.instants import EPOCH
from cb_trade_data.storage.coverage import Coverage, Segment, State, joined

MILLISECOND = timedelta(milliseconds=1)
SIZE = 24

Fact = tuple[State, datetime | None, int, str | None]


def held(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.HELD)


def empty(first: int, end: int, asked_at: datetime, asks: int = 1) -> Segment:
    return Segment(minutes(first, end), State.EMPTY, asked_at, asks)


def failed(first: int, end: int, asked_at: datetime, reason: str = "timeout") -> Segment:
    return Segment(minutes(first, end), State.FAILED, asked_at, reason=reason)


def fact(segment: Segment) -> Fact:
    return segment.state, segment.asked_at, segment.asks, segment.reason


def by_minute(segments: tuple[Segment, ...]) -> dict[int, Fact]:
    return {
        number: fact(segment)
        for number in range(SIZE)
        for segment in segments
        if segment.range.start <= minute(number) < segment.range.end
    }


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    first, end = sorted(draw(st.lists(st.integers(0, SIZE), min_size=2, max_size=2, unique=True)))
    asked_at = draw(st.sampled_from([minute(number) for number in (100, 129, 130, 131, 160, 200)]))
    return draw(
        st.sampled_from(
            [
                held(first, end),
                empty(first, end, asked_at, 1),
                empty(first, end, asked_at, 2),
                failed(first, end, asked_at, "timeout"),
                failed(first, end, asked_at, "refused"),
            ]
        )
    )


news = st.lists(segments(), max_size=8)


# --- Merging ---------------------------------------------------------------------------------------------------------


@quick(500)
@given(news)
def test_merging_segments_is_merging_the_facts_of_each_minute(news):
    expected: dict[int, Fact] = {}
    failed_since_empty: set[int] = set()  # how their answers are counted has tests of its own
    for new in news:
        for number in by_minute((new,)):
            state, asked_at, asks, _ = expected.get(number, (None, None, 0, None))
            if state is State.HELD:
                continue
            if state is State.EMPTY and new.state is State.EMPTY:
                if new.asked_at >= asked_at + timedelta(minutes=30):
                    expected[number] = (State.EMPTY, new.asked_at, asks + new.asks, None)
                continue
            if state is State.EMPTY and new.state is State.FAILED:
                failed_since_empty.add(number)
            expected[number] = fact(new)

    merged = by_minute(Coverage().with_segments(news).segments)

    assert set(merged) == set(expected)
    for number, (state, asked_at, asks, reason) in merged.items():
        if number in failed_since_empty:
            assert state is expected[number][0]
        else:
            assert (state, asked_at, asks, reason) == expected[number]


@quick(300)
@given(news)
def test_segments_are_disjoint_in_order_and_joined(news):
    merged = Coverage().with_segments(news).segments

    for one, other in pairwise(merged):
        assert one.range.end <= other.range.start
        assert one.range.end < other.range.start or fact(one) != fact(other)


@quick()
@given(news)
def test_merging_all_at_once_is_merging_one_by_one(news):
    one_by_one = Coverage()
    for new in news:
        one_by_one = one_by_one.with_segments([new])

    assert Coverage().with_segments(news) == one_by_one


def test_coverage_does_not_change_when_something_is_merged_into_it():
    before = Coverage((held(0, 5),))

    before.with_segments([held(5, 9)])

    assert before == Coverage((held(0, 5),))


@pytest.mark.parametrize("new", [empty(2, 4, minute(500)), failed(2, 4, minute(500))])
def test_nothing_takes_away_from_what_is_held(new):
    assert Coverage((held(0, 5),)).with_segments([new]) == Coverage((held(0, 5),))


@pytest.mark.parametrize("old", [empty(0, 5, minute(500), 3), failed(0, 5, minute(500))])
def test_rows_that_came_after_all_make_their_bars_held(old):
    merged = Coverage((old,)).with_segments([held(2, 3)]).segments

    assert [(segment.range, segment.state) for segment in merged] == [
        (minutes(0, 2), old.state),
        (minutes(2, 3), State.HELD),
        (minutes(3, 5), old.state),
    ]
    assert fact(merged[0]) == fact(merged[2]) == fact(old)


def test_a_second_empty_answer_within_half_an_hour_is_the_same_piece_of_evidence():
    """Neither counted nor dated anew: a client that asks every minute must not make a quiet bar final."""
    first = empty(0, 5, minute(100))

    assert Coverage((first,)).with_segments([empty(0, 5, minute(130) - MILLISECOND)]) == Coverage((first,))


def test_a_second_empty_answer_half_an_hour_later_counts():
    merged = Coverage((empty(0, 5, minute(100)),)).with_segments([empty(0, 5, minute(130))])

    assert merged == Coverage((empty(0, 5, minute(130), 2),))


def test_an_empty_answer_that_is_older_than_the_one_known_is_no_news():
    known = empty(0, 5, minute(100), 2)

    assert Coverage((known,)).with_segments([empty(0, 5, minute(10))]) == Coverage((known,))


def test_three_independent_empty_answers_are_counted_as_three():
    coverage = Coverage()
    for number in range(3):
        coverage = coverage.with_segments([empty(0, 5, minute(100 + 30 * number))])

    assert coverage == Coverage((empty(0, 5, minute(160), 3),))


def test_an_empty_answer_counts_only_where_there_was_one_before():
    merged = Coverage((empty(2, 4, minute(100)),)).with_segments([empty(0, 6, minute(200))])

    assert merged == Coverage((empty(0, 2, minute(200)), empty(2, 4, minute(200), 2), empty(4, 6, minute(200))))


def test_an_answer_replaces_a_failure():
    assert Coverage((failed(0, 5, minute(100)),)).with_segments([empty(0, 5, minute(101))]) == Coverage(
        (empty(0, 5, minute(101)),)
    )


def test_a_failed_re_check_does_not_take_back_the_empty_answers_before_it():
    merged = Coverage((empty(0, 5, minute(100), 2),)).with_segments([failed(0, 5, minute(200))])

    assert merged.segments == (Segment(minutes(0, 5), State.FAILED, minute(200), 2, "timeout"),)
    assert merged.with_segments([failed(0, 5, minute(300))]).segments[0].asks == 2
    assert merged.with_segments([empty(0, 5, minute(300))]) == Coverage((empty(0, 5, minute(300), 3),))


def test_an_empty_answer_soon_after_another_is_no_new_evidence_although_a_failure_came_between():
    merged = Coverage().with_segments([empty(0, 5, minute(100)), failed(0, 5, minute(101)), empty(0, 5, minute(102))])

    assert [(segment.state, segment.asks) for segment in merged.segments] == [(State.EMPTY, 1)]


def test_rows_that_came_after_a_failed_re_check_are_simply_held():
    merged = Coverage((Segment(minutes(0, 5), State.FAILED, minute(200), 2, "timeout"),)).with_segments([held(0, 5)])

    assert merged == Coverage((held(0, 5),))


def test_a_later_failure_replaces_an_earlier_one():
    later = failed(0, 5, minute(200), "refused")

    assert Coverage((failed(0, 5, minute(100)),)).with_segments([later]) == Coverage((later,))


def test_neighbours_with_the_same_facts_become_one_and_others_stay_apart():
    merged = Coverage().with_segments(
        [held(3, 6), held(0, 3), failed(6, 7, minute(100), "a"), failed(7, 8, minute(100), "b"), held(9, 10)]
    )

    assert merged == Coverage((held(0, 6), failed(6, 7, minute(100), "a"), failed(7, 8, minute(100), "b"), held(9, 10)))


@pytest.mark.parametrize(
    "later",
    [
        held(6, 8),
        held(4, 8),
        empty(5, 8, minute(100), 2),
        empty(5, 8, minute(101)),
        failed(5, 8, minute(100)),
        Segment(minutes(5, 8), State.EMPTY, minute(100), 1, "reason"),
    ],
)
def test_only_a_segment_that_follows_at_once_with_equal_facts_is_joined(later):
    first = empty(0, 5, minute(100))

    assert not first.joins(later)
    assert list(joined([first, later])) == [first, later]
    assert first.joins(empty(5, 8, minute(100)))


def test_nothing_joined_is_nothing():
    assert list(joined([])) == []


# --- Asking again ----------------------------------------------------------------------------------------------------


def settles(segment: Segment, now: datetime, failures_since: datetime | None = None) -> bool:
    return segment.settles(now, failures_since if failures_since is not None else now)


ASKED = utc("2024-02-29T12:00")


@pytest.mark.parametrize("state", [State.HELD, State.UNLISTED, State.DELISTED, State.UNAVAILABLE])
def test_what_is_known_for_good_is_not_asked_again(state):
    assert settles(Segment(minutes(0, 5), state), utc("2199-01-01"))


@pytest.mark.parametrize(("asks", "believed"), [(1, timedelta(hours=1)), (2, timedelta(days=7))], ids=["once", "twice"])
def test_an_empty_answer_is_believed_for_a_while(asks, believed):
    segment = empty(0, 5, ASKED, asks)

    assert settles(segment, ASKED)
    assert settles(segment, ASKED + believed - MILLISECOND)
    assert not settles(segment, ASKED + believed)
    assert not settles(segment, ASKED + believed * 100)


@pytest.mark.parametrize("asks", [3, 4])
def test_the_third_empty_answer_is_final(asks):
    assert settles(empty(0, 5, ASKED, asks), utc("2199-01-01"))


def test_a_failure_is_no_answer_for_who_comes_later():
    segment = failed(0, 5, ASKED)

    assert settles(segment, ASKED, failures_since=ASKED - MILLISECOND)
    assert settles(segment, ASKED, failures_since=ASKED)
    assert not settles(segment, ASKED + timedelta(days=1), failures_since=ASKED + MILLISECOND)


@pytest.mark.parametrize(("asks", "believed"), [(1, timedelta(hours=1)), (2, timedelta(days=7))], ids=["once", "twice"])
def test_until_when_an_empty_answer_is_believed_can_be_told(asks, believed):
    assert empty(0, 5, ASKED, asks).believed_until == ASKED + believed


@pytest.mark.parametrize("segment", [empty(0, 5, ASKED, 3), Segment(minutes(0, 5), State.HELD)], ids=str)
def test_what_is_believed_for_ever_has_no_end(segment):
    assert segment.believed_until is None


@pytest.mark.parametrize("state", [State.HELD, State.UNLISTED, State.DELISTED])
def test_what_is_held_and_where_there_is_no_market_is_final(state):
    assert Segment(minutes(0, 5), state).is_final


@pytest.mark.parametrize(("asks", "is_final"), [(1, False), (2, False), (3, True), (4, True)])
def test_an_empty_answer_is_final_from_the_third_one_on(asks, is_final):
    assert empty(0, 5, ASKED, asks).is_final == is_final


@pytest.mark.parametrize("segment", [failed(0, 5, ASKED), Segment(minutes(0, 5), State.UNAVAILABLE)])
def test_what_could_not_be_had_is_not_final(segment):
    assert not segment.is_final
    assert not Segment(minutes(0, 5), State.UNKNOWN).is_final


def test_what_is_unknown_settles_nothing():
    assert not settles(Segment(minutes(0, 5), State.UNKNOWN), ASKED)


def test_settled_are_the_ranges_that_need_not_be_asked_for():
    coverage = Coverage((held(0, 2), empty(2, 4, ASKED), empty(4, 6, ASKED, 2), failed(6, 8, ASKED), held(9, 10)))

    early = list(coverage.settled(ASKED + timedelta(minutes=59), failures_since=ASKED))
    late = list(coverage.settled(ASKED + timedelta(hours=1), failures_since=ASKED + MILLISECOND))

    assert early == [minutes(0, 2), minutes(2, 4), minutes(4, 6), minutes(6, 8), minutes(9, 10)]
    assert late == [minutes(0, 2), minutes(4, 6), minutes(9, 10)]


# --- Looking ---------------------------------------------------------------------------------------------------------


def test_a_look_at_a_part_cuts_segments_to_it():
    coverage = Coverage((held(0, 4), failed(4, 6, ASKED), held(8, 10)))

    assert list(coverage.within(minutes(2, 9))) == [held(2, 4), failed(4, 6, ASKED), held(8, 9)]
    assert list(coverage.within(minutes(6, 8))) == []
    assert list(coverage.within(minutes(10, 12))) == []


def test_the_ranges_of_a_state_leave_out_all_others():
    coverage = Coverage((held(0, 4), failed(4, 6, ASKED), held(8, 10)))

    assert list(coverage.ranges(State.HELD)) == [minutes(0, 4), minutes(8, 10)]
    assert list(coverage.ranges(State.EMPTY)) == []


# --- As JSON ---------------------------------------------------------------------------------------------------------


@quick()
@given(news)
def test_segments_survive_the_way_through_json(news):
    for segment in news:
        assert Segment.from_json(orjson.loads(orjson.dumps(segment.to_json()))) == segment


def test_a_date_at_the_epoch_survives_as_well():
    """Zero is a time, not the lack of one."""
    segment = Segment(minutes(0, 1), State.EMPTY, EPOCH, 1)

    assert Segment.from_json(segment.to_json()) == segment


def test_json_leaves_out_the_facts_that_do_not_apply():
    assert held(0, 1).to_json() == {
        "start_time": 1_709_164_680_000,
        "end_time": 1_709_164_740_000,
        "state": "held",
    }
    assert set(empty(0, 1, ASKED).to_json()) == {"start_time", "end_time", "state", "asked_at", "asks"}
    assert set(failed(0, 1, ASKED).to_json()) == {"start_time", "end_time", "state", "asked_at", "reason"}


def test_the_states_are_spelled_as_the_contract_spells_them():
    stored = {"held", "empty", "unlisted", "delisted", "unavailable", "failed"}
    assert {state.value for state in State} == stored | {"unknown"}


# --- Clocks that were wrong ---


@pytest.mark.parametrize("asks", [1, 2])
def test_an_empty_answer_from_a_clock_far_ahead_is_asked_about_again_and_gives_way(asks):
    wrong = empty(0, 5, minute(0) + timedelta(days=400), asks)
    now = minute(10)

    assert not wrong.settles(now, now)
    again = Coverage((wrong,)).with_segments([empty(0, 5, now)])

    assert again == Coverage((empty(0, 5, now, asks),))
    assert again.segments[0].settles(now + MILLISECOND, now)


def test_an_empty_answer_from_a_clock_a_little_ahead_counts():
    segment = empty(0, 5, minute(10))

    assert segment.settles(minute(8), minute(8))
    assert Coverage((segment,)).with_segments([empty(0, 5, minute(8))]) == Coverage((segment,))


@pytest.mark.parametrize(("ahead", "settles"), [(0, True), (5, True), (11, False), (10**6, False)])
def test_a_failure_from_a_clock_far_ahead_keeps_nobody_from_asking(ahead, settles):
    now = minute(0)

    assert failed(0, 5, minute(ahead)).settles(now, now) is settles
