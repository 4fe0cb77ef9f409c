from __future__ import annotations

from datetime import timedelta
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, quick, table

from cb_trade_data.models.market import (
    OHLCV_SCHEMA,
    ORDER_BOOK_SCHEMA,
    TIMESTAMP,
    TRADES_SCHEMA,
    count_shared_times,
    differing,
    distinct,
    increases,
    ordered,
    repeats,
    rows_before,
    slice_range,
    sliced,
    text_bytes,
    timestamps_ms,
    union,
    upsert,
)
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


@quick(30)
@given(st.lists(st.integers(1, 40), min_size=100, max_size=400))
def test_upserting_page_after_page_leaves_few_pieces(page_lengths):
    """Whatever lengths pages have: each that is added goes through all pieces there are."""
    starts = [0, *accumulate(page_lengths)]
    whole = minute_bars(range(starts[-1]))
    rows = OHLCV_SCHEMA.empty_table()

    for start, end in pairwise(starts):
        rows = upsert(rows, whole.slice(start, end - start))

    assert_same_rows(rows, whole)
    assert rows.column("timestamp").num_chunks <= 64


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


# --- Rows of which several may be of one time ------------------------------------------------------------------------


def trades(*numbered: tuple[int, str]) -> pa.Table:
    """Return a trade for each minute and id, in that order; what else it says follows from both."""
    return pa.table(
        [
            pa.array([epoch_ms(minute(number)) for number, _ in numbered], pa.int64()).cast(TIMESTAMP),
            pa.array([trade_id for _, trade_id in numbered], pa.string()),
            pa.array(["buy" if number % 2 else "sell" for number, _ in numbered], pa.string()),
            pa.array([float(number) + len(trade_id) for number, trade_id in numbered], pa.float64()),
            pa.array([1.0 for _ in numbered], pa.float64()),
        ],
        schema=TRADES_SCHEMA,
    )


def ids(rows: pa.Table) -> list[str]:
    return [str(each) for each in rows.column("id").to_pylist()]


grouped = st.dictionaries(st.integers(0, 8), st.sets(st.integers(0, 12), min_size=1), max_size=6)


def rows_of(groups: dict[int, set[int]]) -> pa.Table:
    return trades(*((number, str(one)) for number in sorted(groups) for one in sorted(groups[number])))


def test_trades_of_one_time_are_in_the_order_of_their_numbers():
    assert ids(ordered(trades((1, "10"), (0, "7"), (1, "9"), (1, "10"), (1, "11")))) == ["7", "9", "10", "10", "11"]


def test_rows_that_are_in_order_are_not_copied():
    rows = trades((0, "7"), (1, "9"), (1, "10"), (1, "10"))

    assert ordered(rows) is rows


def test_a_trade_is_a_repeat_where_it_has_the_time_and_the_id_of_the_one_before():
    rows = trades((0, "7"), (1, "7"), (1, "9"), (1, "9"), (2, "9"))

    assert repeats(rows).tolist() == [False, False, False, True, False]
    assert repeats(minute_bars([0, 1])).tolist() == [False, False]


few_ids = st.sampled_from(["7", "07", "8", "10", "abc", "x"])


@quick(300)
@given(
    st.lists(st.tuples(st.integers(0, 3), few_ids), max_size=4).flatmap(
        lambda rows: st.sampled_from([rows, sorted(rows)])
    )
)
def test_trades_increase_where_they_are_in_order_and_each_id_is_greater_than_all_before_it(numbered):
    keys = [(len(trade_id), trade_id) for _, trade_id in numbered]
    times = [number for number, _ in numbered]
    expected = times == sorted(times) and all(one < other for one, other in pairwise(keys))

    rows = trades(*numbered)

    assert increases(rows) == expected
    if expected:
        assert ordered(rows) is rows
        assert not repeats(rows).any()


def test_bars_increase_where_each_is_later_than_the_one_before():
    rows = minute_bars([0, 1, 2])

    assert increases(rows)
    assert increases(rows.slice(0, 0))
    assert not increases(pa.concat_tables([rows, rows.slice(2)]))
    assert not increases(pa.concat_tables([rows, rows.slice(1)]))


@quick(100)
@given(st.lists(st.integers(0, 9)))
def test_each_time_is_told_once(times):
    assert distinct(np.array(sorted(times), np.int64)).tolist() == sorted(set(times))


@quick(200)
@given(grouped, grouped)
def test_upserting_replaces_all_rows_of_a_time_together(old, fresh):
    result = upsert(rows_of(old), rows_of(fresh))

    assert result.equals(rows_of(old | fresh))


@quick(200)
@given(st.lists(grouped, min_size=1, max_size=5))
def test_a_union_has_all_rows_that_the_last_table_has_of_each_time(tables):
    expected = {}
    for groups in tables:
        expected |= groups

    assert union([rows_of(groups) for groups in tables]).equals(rows_of(expected))


@quick(200)
@given(grouped, grouped)
def test_times_differ_where_one_has_more_fewer_or_other_rows(fresh, rows):
    expected = {number: group for number, group in fresh.items() if group != rows.get(number)}

    assert differing(rows_of(fresh), rows_of(rows)).equals(rows_of(expected))
    assert count_shared_times(rows_of(fresh), rows_of(rows)) == len(fresh.keys() & rows.keys())


@quick(200)
@given(grouped, st.integers(1, 6))
def test_slices_end_where_time_moves_on(groups, rows_max):
    rows = rows_of(groups)

    parts = list(sliced(rows, rows_max))

    times = [timestamps_ms(part).tolist() for part in parts]
    assert pa.concat_tables([TRADES_SCHEMA.empty_table(), *parts]).equals(rows)
    assert all(before[-1] < after[0] for before, after in pairwise(times))
    assert all(len(each) <= rows_max or len(set(each)) == 1 for each in times)


@quick(100)
@given(st.lists(grouped, max_size=4), st.integers(-2, 10), st.integers(-1, 1))
def test_the_rows_before_a_time_are_counted_in_however_many_pieces_they_are(tables, number, more_ms):
    groups = {9 * place + time: ids for place, each in enumerate(tables) for time, ids in each.items()}
    pieces = [rows_of({time: groups[time]}) for time in sorted(groups)]
    rows = pa.concat_tables([TRADES_SCHEMA.empty_table(), *pieces])
    time_ms = epoch_ms(minute(number)) + more_ms

    assert rows_before(rows, time_ms) == sum(time < time_ms for time in timestamps_ms(rows).tolist())


def test_slices_of_bars_are_as_long_as_they_may_be():
    assert [part.num_rows for part in sliced(minute_bars(range(10)), 4)] == [4, 4, 2]


def test_texts_are_their_bytes_wherever_the_column_was_cut():
    texts = pa.array(["a", "bc", "", "déf"], pa.string())

    assert text_bytes(texts).to_pybytes() == "abcdéf".encode()
    assert text_bytes(texts[1:3]).to_pybytes() == b"bc"
    assert text_bytes(texts[:0]).to_pybytes() == b""


def test_order_books_with_another_level_or_another_number_differ():
    def books(*bids):
        times = pa.array(range(len(bids)), pa.int64()).cast(TIMESTAMP)
        return pa.table([times, list(bids), [[[9.0, 1.0]]] * len(bids), [7] * len(bids)], schema=ORDER_BOOK_SCHEMA)

    one, two, zero, minus_zero = [1.0, 2.0], [3.0, 4.0], [5.0, 0.0], [5.0, -0.0]
    known = books([one], [one], [one, two], [], [two, one], [zero])
    news = books([one], [one, two], [one, two], [one], [one, two], [minus_zero])

    assert timestamps_ms(differing(news, known)).tolist() == [1, 3, 4, 5]
    assert differing(known, known).num_rows == 0
