from __future__ import annotations

import pytest
from event_samples import DAY_PARTITION, many_trades, span_ms
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, minute, minute_bars, minute_numbers, minutes, quick, series, utc

from cb_trade_data.models import digest, market
from cb_trade_data.models.digest import unit_digests, units_of
from cb_trade_data.models.market import OHLCV_SCHEMA, count_shared_times, differing
from cb_trade_data.models.partition import partition_at
from cb_trade_data.quality.evidence import Found
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.stored_partition import Change, StoredPartition

PARTITION = partition_at(series(), minute(0))


def held(first: int, end: int) -> Segment:
    return Segment(minutes(first, end), State.HELD)


def test_an_empty_partition_has_the_schema_of_its_kind_and_no_version():
    empty = StoredPartition.empty(PARTITION)

    assert empty.rows.num_rows == 0
    assert empty.rows.schema.equals(OHLCV_SCHEMA)
    assert (empty.coverage, empty.version, empty.newest) == (Coverage(), None, None)


def test_changes_bring_rows_and_coverage_together_in_order():
    stored = StoredPartition(PARTITION, minute_bars([0, 1]), Coverage((held(0, 2),)), "v1")

    changed = stored.with_changes(
        [
            Change(minute_bars([1, 2], price=300), (held(1, 3),)),
            Change(minute_bars([2], price=700), (Segment(minutes(5, 6), State.EMPTY, minute(99), 1),)),
        ]
    )

    expected = [minute_bars([0]), minute_bars([1], price=300), minute_bars([2], price=700)]
    for number, row in enumerate(expected):
        assert_same_rows(changed.rows_in(minutes(number, number + 1)).combine_chunks(), row)
    assert changed.coverage == Coverage((held(0, 3), Segment(minutes(5, 6), State.EMPTY, minute(99), 1)))
    assert changed.version == "v1"


def test_a_stored_partition_does_not_change_when_changes_are_applied():
    stored = StoredPartition(PARTITION, minute_bars([0, 1]), Coverage((held(0, 2),)))

    stored.with_changes([Change(minute_bars([1], price=300), (held(2, 3),))])

    assert_same_rows(stored.rows, minute_bars([0, 1]))
    assert stored.coverage == Coverage((held(0, 2),))


def test_coverage_alone_can_change():
    failed = Segment(minutes(0, 2), State.FAILED, minute(9), reason="timeout")

    changed = StoredPartition.empty(PARTITION).with_changes([Change(minute_bars([]), (failed,))])

    assert changed.rows.num_rows == 0
    assert changed.coverage == Coverage((failed,))


def test_rows_of_a_range_include_its_start_and_exclude_its_end():
    stored = StoredPartition(PARTITION, minute_bars(range(5)))

    assert_same_rows(stored.rows_in(minutes(1, 3)).combine_chunks(), minute_bars([1, 2]))


def test_the_newest_row_is_the_last_one():
    assert StoredPartition(PARTITION, minute_bars([0, 62])).newest == utc("2024-02-29T01:00")


# --- Forgetting -------------------------------------------------------------------------------------------------------

known_minutes = st.dictionaries(st.integers(0, 30), st.sampled_from([State.HELD, State.EMPTY, State.FAILED]))


@quick()
@given(known_minutes, st.data())
def test_what_is_kept_since_an_instant_is_all_that_was_known_from_then_on(states, data):
    have_rows = {number for number, state in states.items() if state is State.HELD and data.draw(st.booleans())}
    stored = StoredPartition(
        PARTITION,
        minute_bars(sorted(have_rows)),
        Coverage().with_segments(
            Segment(minutes(number, number + 1), state, None if state is State.HELD else minute(99), reason=None)
            for number, state in states.items()
        ),
        "v1",
    )
    start = data.draw(st.integers(0, 31))

    kept = stored.since(minute(start))

    assert_same_rows(kept.rows, minute_bars(sorted(number for number in have_rows if number >= start)))
    known = {number: segment.state for segment in kept.coverage.segments for number in minute_numbers([segment.range])}
    assert known == {number: state for number, state in states.items() if number >= start}
    assert kept.version == "v1"


def test_what_is_found_in_changed_rows_is_not_known_before_they_are_written():
    stored = StoredPartition(PARTITION, minute_bars(range(3)), evidence={0: Found(3)})

    assert stored.with_changes([]).evidence == {0: Found(3)}
    assert stored.with_changes([Change(minute_bars([3]), ())]).evidence is None


@quick(60)
@given(st.lists(st.sets(st.integers(-30, 30).map(lambda hours: 60 * hours)), min_size=1, max_size=4))
def test_digests_that_are_still_known_after_changes_are_those_of_the_rows(states):
    """Hours of three days: a day that a change does not touch keeps its digest."""
    first, *others = states
    rows = minute_bars(sorted(first))
    stored = StoredPartition(PARTITION, rows, digests=unit_digests(rows, PARTITION.series))

    changes = [Change(minute_bars(sorted(each), 700.0 + number), ()) for number, each in enumerate(others)]
    changed = stored.with_changes(changes)

    actual = unit_digests(changed.rows, PARTITION.series)
    touched = units_of(minute_bars(sorted(set().union(*others))), PARTITION.series)
    assert changed.digests.items() <= actual.items()
    assert actual.keys() - changed.digests.keys() == touched


# --- Page after page --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [range(40), range(39, -1, -1)], ids=["oldest first", "newest first"])
def test_a_page_that_comes_costs_a_page_however_many_there_are(order, monkeypatch):
    """Of a day of two million trades there are two thousand: what each of them costs may not grow with the day."""
    looked_at = []
    for module in (market, digest):
        real = module.timestamps_ms
        monkeypatch.setattr(
            module, "timestamps_ms", lambda rows, real=real: looked_at.append(rows.num_rows) or real(rows)
        )
    state = StoredPartition.empty(DAY_PARTITION)

    for number in order:
        page = many_trades(60, first=20 * number)
        span = span_ms(20 * number, 20 * number + 20)
        state = state.with_changes([Change(page, (Segment(span, State.HELD),))])
        assert state.rows_in(span).num_rows == 60
        assert differing(page, state.rows).num_rows == 0
        assert count_shared_times(page, state.rows) == 20

    assert state.rows.num_rows == 2_400
    assert state.rows.column("timestamp").num_chunks <= len(order)
    assert max(looked_at) <= 60
    assert state.coverage == Coverage((Segment(span_ms(0, 800), State.HELD),))
