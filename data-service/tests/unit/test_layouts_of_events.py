"""Trades, funding rates and order books as bytes of every layout: what comes back, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from event_samples import (
    DAY_PARTITION,
    FUNDING,
    ODD_IDS,
    STORED_BOOKS,
    STORED_FUNDING,
    TRADES,
    at_ms,
    holding,
    many_trades,
    span_ms,
    trades,
)
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, quick

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.market import slice_range
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import Layout, StoredObject
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.stored_partition import StoredPartition

LAYOUTS = {"parquet": ParquetLayout(), "arrow": ArrowLayout(), "json": JsonLayout()}
SAMPLES = {
    "trades": holding(TRADES, trades((3, "7"), (3, "10"), (3, "😀/.."), (5, "a.b")), span_ms(0, 9)),
    "funding_rate": STORED_FUNDING,
    "order_book": STORED_BOOKS,
}


@pytest.fixture(params=LAYOUTS)
def layout(request) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture(params=SAMPLES)
def stored(request) -> StoredPartition:
    return SAMPLES[request.param]


def encode(layout: Layout, stored: StoredPartition) -> tuple[bytes, dict[str, bytes]]:
    """Return the bytes of the committing object, and the entries."""
    plan = layout.plan_entries(stored, stored.rows, None)
    return bytes(layout.encode(stored, plan.paths)), dict(plan.documents)


def decode(
    layout: Layout,
    partition,
    data: bytes,
    entries: Mapping[str, bytes],
    wanted: TimeRange | None = None,
) -> StoredPartition:
    return layout.decode(partition, StoredObject("part", pa.py_buffer(data), "v1"), entries, wanted, Verified())


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)
groups = st.dictionaries(st.integers(0, 6), st.sets(ids, min_size=1, max_size=3), max_size=4)


@quick(60)
@given(groups)
def test_any_id_comes_back(groups):
    by_length = {
        time: sorted(some, key=lambda each: (len(each.encode()), each.encode())) for time, some in groups.items()
    }
    rows = trades(*((time, each) for time in sorted(groups) for each in by_length[time]))
    stored = holding(TRADES, rows, span_ms(0, 9))

    for layout in LAYOUTS.values():
        found = decode(layout, DAY_PARTITION, *encode(layout, stored))

        assert_same_rows(found.rows.combine_chunks(), rows)
        assert found.coverage == stored.coverage


def test_every_document_of_a_day_has_a_name_of_its_own(layout):
    stored = holding(TRADES, trades(*((7, each) for each in ODD_IDS)), span_ms(0, 9))

    plan = layout.plan_entries(stored, stored.rows, None)

    assert len(plan.documents) == len(set(plan.paths)) == (len(ODD_IDS) if layout.has_entries else 0)


def test_equal_partitions_are_equal_bytes(layout, stored):
    data, entries = encode(layout, stored)

    assert encode(layout, decode(layout, stored.partition, data, entries)) == (data, entries)


def test_rows_in_many_pieces_are_the_same_bytes_and_come_back(layout, stored):
    """As page after page leaves them."""
    pieces = [stored.rows.slice(0, 1), stored.rows.slice(1, 0), stored.rows.slice(1, 2), stored.rows.slice(3)]
    in_pieces = replace(stored, rows=pa.concat_tables(pieces))

    data, entries = encode(layout, in_pieces)

    assert_same_rows(decode(layout, stored.partition, data, entries).rows.combine_chunks(), stored.rows)
    assert layout.metadata(StoredObject("part", pa.py_buffer(data), "v1")) == layout.metadata(
        StoredObject("part", pa.py_buffer(encode(layout, stored)[0]), "v1")
    )


def test_a_flipped_bit_of_the_committing_object_is_noticed_or_does_not_matter(layout, stored):
    """Rows that are wrong, rows that are gone, coverage that says otherwise: none of it may pass for the truth."""
    data, entries = encode(layout, stored)
    digests = unit_digests(stored.rows, stored.partition.series)
    wrong = []
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        try:
            found = decode(layout, stored.partition, bytes(damaged), entries)
        except ValueError:
            continue
        if (
            not found.rows.combine_chunks().equals(stored.rows)
            or found.coverage != stored.coverage
            or found.digests not in ({}, digests)
        ):
            wrong.append(place)

    assert wrong == []


def test_a_flipped_bit_of_a_document_is_noticed_or_does_not_matter(stored):
    data, entries = encode(LAYOUTS["json"], stored)
    wrong = []
    for path, document in entries.items():
        for place in range(8 * len(document)):
            damaged = bytearray(document)
            damaged[place // 8] ^= 1 << place % 8
            try:
                found = decode(LAYOUTS["json"], stored.partition, data, entries | {path: bytes(damaged)})
            except ValueError:
                continue
            if not found.rows.combine_chunks().equals(stored.rows):
                wrong.append((path, place))

    assert wrong == []


def test_a_file_cut_short_is_refused(layout, stored):
    data, entries = encode(layout, stored)

    for length in (0, 1, 6, 8, len(data) // 4, len(data) // 2, len(data) - 10, len(data) - 6, len(data) - 1):
        with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
            decode(layout, stored.partition, data[:length], entries)


def test_the_object_of_one_kind_is_none_of_another(layout):
    data, entries = encode(layout, SAMPLES["funding_rate"])

    with pytest.raises(ValueError, match=r"columns|is missing"):
        decode(layout, DAY_PARTITION, data, entries)


@pytest.mark.parametrize(
    "value", ['{"id": 7}', '{"id": null}', '{"side": 1}', '{"price": null}', '{"timestamp": null}']
)
def test_a_document_that_is_no_trade_is_refused(value):
    stored = SAMPLES["trades"]
    data, entries = encode(LAYOUTS["json"], stored)
    path = next(iter(entries))
    entries[path] = orjson.dumps(orjson.loads(entries[path]) | orjson.loads(value))

    with pytest.raises(ValueError, match="not the document of a row"):
        decode(LAYOUTS["json"], stored.partition, data, entries)


@pytest.mark.parametrize("columns", [5, 1], ids=["as today", "other columns"])
def test_a_later_format_is_told_from_damage_whatever_it_holds(columns):
    rows = SAMPLES["trades"].rows
    rows = rows.select(rows.schema.names[:columns]).replace_schema_metadata({b"cb_trade.format": b"2"})
    parquet, arrow = pa.BufferOutputStream(), pa.BufferOutputStream()
    pq.write_table(rows, parquet)
    with pa.ipc.new_file(arrow, rows.schema) as writer:
        writer.write_table(rows)

    for name, sink in (("parquet", parquet), ("arrow", arrow)):
        with pytest.raises(NewerFormatError):
            decode(LAYOUTS[name], DAY_PARTITION, sink.getvalue().to_pybytes(), {})


# --- Batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["parquet", "arrow"])
@pytest.mark.parametrize("of_one_ms", [1, 2, 7, 40_000])
def test_batches_end_where_time_moves_on(name, of_one_ms):
    """Also where one millisecond has more rows than a batch."""
    layout, rows = LAYOUTS[name], many_trades(100_000, of_one_ms)
    data, _ = encode(layout, holding(TRADES, rows, span_ms(0, 100_000)))

    batches = layout.metadata(StoredObject("part", pa.py_buffer(data), "v1")).batches

    assert len(batches) > 1
    assert all(before.last_ms < after.first_ms for before, after in pairwise(batches))
    for wanted in (span_ms(0, 1), span_ms(1, 2), span_ms(1_170, 1_172), span_ms(50_000, 50_001), None):
        found = decode(layout, DAY_PARTITION, data, {}, wanted)
        if wanted is None:
            assert_same_rows(found.rows.combine_chunks(), rows)
        else:
            expected = slice_range(rows, wanted).combine_chunks()
            assert_same_rows(found.rows_in(wanted).combine_chunks(), expected)


@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_an_hour_of_a_busy_day_is_read_by_decoding_little_more_than_it(name):
    """Of 200,000 trades, one in 400 ms, 9,000 are of one hour."""
    rows = trades(*((400 * number, str(number)) for number in range(200_000)))
    data, _ = encode(LAYOUTS[name], holding(TRADES, rows, span_ms(0, 86_400_000)))
    wanted = TimeRange(at_ms(3_600_000 * 5), at_ms(3_600_000 * 6))

    found = decode(LAYOUTS[name], DAY_PARTITION, data, {}, wanted)

    assert found.rows_in(wanted).num_rows == 9_000
    assert found.rows.num_rows <= 70_000


def test_funding_rates_without_mark_prices_are_not_those_with_the_price_zero(layout):
    """A missing one is not a number that one could mistake it for."""
    rows = STORED_FUNDING.rows
    zeros = rows.set_column(2, rows.schema.field(2), pa.array([0.0] * len(rows)))
    known = unit_digests(rows, FUNDING)

    data, entries = encode(layout, STORED_FUNDING)
    zero_data, zero_entries = encode(layout, holding(FUNDING, zeros, *STORED_FUNDING.coverage.ranges(State.HELD)))

    found = decode(layout, STORED_FUNDING.partition, data, entries).rows.column("mark_price").to_pylist()
    assert found == [None, 62_345.5, None, 5e-324]
    assert (data, entries) != (zero_data, zero_entries)
    assert unit_digests(zeros, FUNDING) != known
