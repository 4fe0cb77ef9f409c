from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, quick, table

from cb_trade_data.models.market import OHLCV_SCHEMA, differing, slice_range, timestamps_ms, union, upsert
from cb_trade_data.models.time_range import TimeRange

numbers = st.sets(st.integers(0, 30))


def as_dict(rows: pa.Table) -> dict[int, tuple[float, ...]]:
    return {
        row["timestamp"].timestamp(): tuple(row[name] for name in OHLCV_SCHEMA.names[1:]) for row in rows.to_pylist()
    }


def test_bars_have_a_utc_millisecond_time_and_five_numbers_none_of_which_may_be_missing():
    assert [(field.name, str(field.type), field.nullable) for field in OHLCV_SCHEMA] == [
        ("timestamp", "timestamp[ms, tz=UTC]", False),
        ("open", "double", False),
        ("high", "double", False),
        ("low", "double", False),
        ("close", "double", False),
        ("volume", "double", False),
    ]


def test_times_are_epoch_milliseconds_whether_rows_are_in_one_piece_or_many():
    rows = pa.concat_tables([minute_bars([0, 1]), minute_bars([5])])
    expected = [epoch_ms(minute(number)) for number in (0, 1, 5)]

    assert timestamps_ms(rows).tolist() == expected
    assert timestamps_ms(rows.combine_chunks().to_batches()[0]).tolist() == expected
    assert timestamps_ms(minute_bars([])).tolist() == []


@quick(200)
@given(numbers, numbers)
def test_upserting_is_updating_a_dictionary_by_time(old, fresh):
    rows, news = minute_bars(sorted(old), price=100), minute_bars(sorted(fresh), price=5000)
    expected = as_dict(rows) | as_dict(news)

    result = upsert(rows, news)

    assert as_dict(result) == expected
    assert timestamps_ms(result).tolist() == sorted(timestamps_ms(result).tolist())
    assert result.num_rows == len(expected)
    assert result.schema.equals(OHLCV_SCHEMA)


@quick(50)
@given(st.lists(numbers, max_size=6))
def test_upserting_page_after_page_is_upserting_them_all(pages):
    rows = minute_bars([])
    expected: dict[int, tuple[float, ...]] = {}
    for price, page in enumerate(pages):
        fresh = minute_bars(sorted(page), price=1000.0 * price)
        rows = upsert(rows, fresh)
        expected |= as_dict(fresh)

    assert as_dict(rows) == expected
    assert timestamps_ms(rows).tolist() == sorted(timestamps_ms(rows).tolist())


@quick(100)
@given(st.lists(numbers, min_size=1, max_size=6))
def test_a_union_is_what_upserting_one_after_the_other_gives(pages):
    tables = [minute_bars(sorted(page), price=1000.0 * price) for price, page in enumerate(pages)]
    expected: dict[int, tuple[float, ...]] = {}
    for page in tables:
        expected |= as_dict(page)

    result = union(tables)

    assert as_dict(result) == expected
    assert timestamps_ms(result).tolist() == sorted(timestamps_ms(result).tolist())
    assert result.schema.equals(OHLCV_SCHEMA)


def test_upserting_leaves_the_rows_it_was_given_alone():
    rows = minute_bars([0, 1, 2])

    upsert(rows, minute_bars([1], price=9))

    assert_same_rows(rows, minute_bars([0, 1, 2]))


def test_upserting_shares_the_rows_outside_the_fresh_stretch():
    """A page added to a month must cost a page, not a month."""
    rows = minute_bars(range(100))

    result = upsert(rows, minute_bars([50], price=9))

    addresses = [chunk.buffers()[1].address for chunk in result.column("open").chunks]
    assert rows.column("open").chunk(0).buffers()[1].address in addresses


@quick(200)
@given(numbers, st.integers(-2, 32), st.integers(1, 34))
def test_a_slice_holds_exactly_the_rows_of_its_range(stored, first, length):
    sliced = slice_range(minute_bars(sorted(stored)), minutes(first, first + length))

    assert_same_rows(sliced, minute_bars(sorted(number for number in stored if first <= number < first + length)))


def test_a_slice_that_begins_or_ends_within_a_millisecond_keeps_to_the_instant():
    """What opened half a millisecond before the start is outside, what opens half a one before the end is inside."""
    later = timedelta(microseconds=500)

    sliced = slice_range(minute_bars([0, 1, 2]), TimeRange(minute(0) + later, minute(2) + later))

    assert_same_rows(sliced, minute_bars([1, 2]))


def test_a_slice_copies_nothing():
    rows = minute_bars(range(10))

    sliced = slice_range(rows, minutes(3, 5))

    assert sliced.column("open").chunk(0).buffers()[1].address == rows.column("open").chunk(0).buffers()[1].address


@quick()
@given(st.dictionaries(st.integers(0, 30), st.sampled_from([100.0, 700.0])), numbers)
def test_rows_differ_that_are_not_there_or_have_other_values(fresh: dict[int, float], there: set[int]):
    rows = pa.concat_tables([minute_bars([number]) for number in sorted(there)] or [minute_bars([])])
    news = pa.concat_tables([minute_bars([number], fresh[number]) for number in sorted(fresh)] or [minute_bars([])])

    found = differing(news, rows)

    expected = [
        minute_bars([number], fresh[number])
        for number in sorted(fresh)
        if number not in there or fresh[number] != 100.0
    ]
    assert_same_rows(found.combine_chunks(), pa.concat_tables(expected or [minute_bars([])]).combine_chunks())


def test_the_sign_of_a_zero_is_a_difference():
    """Checksums tell it, so whoever passes over equal rows must."""
    zero, minus_zero = (table([(0, 1.0, 1.0, 1.0, 1.0, volume)]) for volume in (0.0, -0.0))

    assert differing(zero, minus_zero).num_rows == 1
    assert differing(zero, zero).num_rows == 0
