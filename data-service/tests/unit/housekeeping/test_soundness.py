from __future__ import annotations

import math
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import bars, minute, minute_bars, minutes, quick, series, span, table, utc

from cb_trade_data.models.partition import partition_at
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.housekeeping.findings import Finding, FindingKind
from cb_trade_data.storage.housekeeping.soundness import flaws
from cb_trade_data.storage.stored_partition import StoredPartition

PARTITION = partition_at(series(), minute(0))


def held(first: float, end: float) -> Segment:
    return Segment(minutes(first, end), State.HELD)


def stored(rows: pa.Table, *segments: Segment) -> StoredPartition:
    return StoredPartition(PARTITION, rows, Coverage(segments))


def found(partition: StoredPartition) -> dict[FindingKind, tuple[int, str]]:
    return {finding.kind: (finding.count, finding.detail) for finding in flaws(partition, "some/path")}


def test_a_sound_partition_has_no_flaw():
    empty = Segment(minutes(3, 5), State.EMPTY, minute(99), 1)

    assert found(stored(minute_bars([0, 2]), held(0, 3), empty)) == {}
    assert found(stored(minute_bars([]), empty)) == {}
    assert found(StoredPartition.empty(PARTITION)) == {}


@quick()
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_exactly_the_rows_that_no_held_range_holds_are_found(numbers, held_numbers):
    segments = Coverage().with_segments(held(number, number + 1) for number in held_numbers).segments

    findings = found(stored(minute_bars(sorted(numbers)), *segments))

    if stray := sorted(numbers - held_numbers):
        assert findings == {FindingKind.ROWS_NOT_HELD: (len(stray), f"the first at {minute(stray[0]).isoformat()}")}
    else:
        assert findings == {}


def test_rows_where_the_exchange_had_nothing_are_found():
    empty = Segment(minutes(1, 2), State.EMPTY, minute(99), 1)

    assert list(found(stored(minute_bars([0, 1]), held(0, 1), empty))) == [FindingKind.ROWS_NOT_HELD]


def test_rows_in_the_wrong_order_are_found():
    assert found(stored(minute_bars([0, 2, 1]), held(0, 3))) == {
        FindingKind.ROWS_OUT_OF_ORDER: (1, f"the first at {minute(1).isoformat()}")
    }


def test_two_rows_of_one_time_are_found():
    assert found(stored(minute_bars([0, 1, 1]), held(0, 3))) == {
        FindingKind.ROWS_OUT_OF_ORDER: (1, f"the first at {minute(1).isoformat()}")
    }


def test_rows_off_the_grid_are_found():
    assert found(stored(minute_bars([0, 0.5, 1]), held(0, 3))) == {
        FindingKind.ROWS_OFF_GRID: (1, f"the first at {minute(0.5).isoformat()}")
    }


@pytest.mark.parametrize("stray", ["2024-01-31T23:59", "2024-03-01T00:00"])
def test_rows_of_another_partition_are_found(stray):
    held_everywhere = Coverage((Segment(span("2024-01-01", "2024-04-01"), State.HELD),))
    findings = found(StoredPartition(PARTITION, bars([utc(stray)]), held_everywhere))

    assert findings[FindingKind.ROWS_OUTSIDE_PARTITION] == (1, f"the first at {utc(stray).isoformat()}")


def test_times_beyond_every_calendar_are_found():
    findings = found(stored(table([[2**62, 1, 1, 1, 1, 1]]), held(0, 3)))

    assert findings[FindingKind.ROWS_OUTSIDE_PARTITION] == (1, f"the first at {2**62} ms after the epoch")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", range(1, 6))
def test_numbers_that_are_none_are_found(number, column):
    rows = minute_bars([0, 1]).to_pydict()
    rows[list(rows)[column]][1] = number
    broken = pa.table(rows, schema=minute_bars([]).schema)

    assert found(stored(broken, held(0, 3))) == {FindingKind.NOT_FINITE: (1, f"the first at {minute(1).isoformat()}")}


def test_coverage_in_the_wrong_order_is_found():
    assert found(stored(minute_bars([0]), held(5, 6), held(0, 1))) == {
        FindingKind.COVERAGE_OUT_OF_ORDER: (1, f"the first is held {minutes(0, 1)}")
    }


def test_coverage_that_overlaps_is_found():
    failed = Segment(minutes(2, 4), State.FAILED, minute(99))

    assert found(stored(minute_bars([0]), held(0, 3), failed)) == {
        FindingKind.COVERAGE_OUT_OF_ORDER: (1, f"the first is failed {minutes(2, 4)}")
    }


@pytest.mark.parametrize("outside", [span("2024-01-31T23:59", "2024-02-01T00:01"), span("2024-02-29", "2024-03-02")])
def test_coverage_of_another_partition_is_found(outside):
    assert found(stored(minute_bars([]), Segment(outside, State.HELD))) == {
        FindingKind.COVERAGE_OUTSIDE_PARTITION: (1, f"the first is held {outside}")
    }


def test_a_finding_says_where():
    (finding,) = flaws(replace(StoredPartition.empty(PARTITION), rows=minute_bars([0])), "some/path")

    assert finding == Finding(FindingKind.ROWS_NOT_HELD, "some/path", f"the first at {minute(0).isoformat()}", count=1)


@pytest.mark.parametrize("kind", list(FindingKind))
def test_every_finding_comes_with_advice(kind):
    assert kind.advice
