from __future__ import annotations

import io

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, quick, series, table

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.market import OHLCV_SCHEMA, slice_range
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.integrity import Verified, bytes_checksum
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.metadata import inspected
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.stored_partition import StoredPartition

LAYOUT = ParquetLayout()
PARTITION = partition_at(series(), minute(0))
COVERAGE = Coverage(
    (
        Segment(minutes(0, 40), State.HELD),
        Segment(minutes(40, 50), State.EMPTY, minute(90), asks=2),
        Segment(minutes(50, 60), State.FAILED, minute(91), reason="HTTP 503: “overloaded” \\ \x00"),
    )
)
STORED = StoredPartition(PARTITION, minute_bars(range(40)), COVERAGE)
STORED_DIGESTS = unit_digests(STORED.rows, PARTITION.series)
STORED_EVIDENCE = inspected(STORED)
DATA = LAYOUT.encode(STORED).to_pybytes()
FORMAT, SEGMENTS = b"cb_trade.format", b"cb_trade.coverage"
BATCHES, CHECKSUM = b"cb_trade.batches", b"cb_trade.checksum"


floats = st.floats(allow_nan=False)


def decode(data: pa.Buffer | bytes, wanted: TimeRange | None = None) -> StoredPartition:
    return LAYOUT.decode(PARTITION, StoredObject("part", pa.py_buffer(data), "v1"), (), wanted, Verified())


def foreign(rows: pa.Table, metadata: dict[bytes, bytes] | None) -> bytes:
    """Return a Parquet file that somebody else wrote."""
    sink = io.BytesIO()
    pq.write_table(rows.replace_schema_metadata(metadata), sink)
    return sink.getvalue()


def test_a_partition_comes_back_as_it_was_written():
    stored = decode(DATA)

    assert_same_rows(stored.rows, STORED.rows)
    assert stored.rows.schema.metadata is None
    assert (stored.partition, stored.coverage, stored.version) == (PARTITION, COVERAGE, "v1")


@quick(50)
@given(st.lists(st.tuples(*[floats] * 5), max_size=8))
def test_every_bit_of_every_number_comes_back(values):
    rows = table([(epoch_ms(minute(index)), *row) for index, row in enumerate(values)])

    assert_same_rows(decode(LAYOUT.encode(StoredPartition(PARTITION, rows))).rows, rows)


def test_the_extremes_of_numbers_come_back():
    numbers = [-0.0, 0.0, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 0.1 + 0.2]
    rows = table([(epoch_ms(minute(index)), *[number] * 5) for index, number in enumerate(numbers)])

    assert_same_rows(decode(LAYOUT.encode(StoredPartition(PARTITION, rows))).rows, rows)


def test_a_partition_without_rows_or_without_coverage_comes_back():
    empty = StoredPartition.empty(PARTITION)
    known = StoredPartition(PARTITION, minute_bars([]), COVERAGE)

    assert decode(LAYOUT.encode(empty)).coverage == Coverage()
    assert decode(LAYOUT.encode(known)).coverage == COVERAGE
    assert_same_rows(decode(LAYOUT.encode(known)).rows, minute_bars([]))


def test_a_whole_month_of_minutes_comes_back():
    """More than one row group."""
    rows = minute_bars(range(44_640))

    assert_same_rows(decode(LAYOUT.encode(StoredPartition(PARTITION, rows))).rows.combine_chunks(), rows)


@pytest.mark.parametrize(
    ("wanted", "groups"),
    [
        (None, 3),
        (minutes(0, 1), 1),
        (minutes(4319, 4320), 1),
        (minutes(4320, 4321), 1),
        (minutes(4319, 4321), 2),
        (minutes(4319.5, 4320), 0),
        (minutes(-10, 0), 0),
        (minutes(-10, 0.5), 1),
        (minutes(10_000, 20_000), 0),
        (minutes(9_999, 20_000), 1),
        (minutes(-10, 20_000), 3),
    ],
)
def test_only_the_row_groups_that_are_wanted_are_decoded_and_all_of_the_coverage(wanted, groups):
    """10,000 minutes: groups of 4,320, 4,320 and 1,360 rows."""
    rows = minute_bars(range(10_000))
    data = LAYOUT.encode(StoredPartition(PARTITION, rows, COVERAGE))

    stored = decode(data, wanted)

    assert pq.ParquetFile(pa.BufferReader(data)).num_row_groups == 3
    assert stored.coverage == COVERAGE
    assert stored.rows.num_rows in {0: [0], 1: [4_320, 1_360], 2: [8_640], 3: [10_000]}[groups]
    if wanted is not None:
        assert_same_rows(stored.rows_in(wanted).combine_chunks(), slice_range(rows, wanted).combine_chunks())


def test_rows_in_many_pieces_come_back():
    pieces = pa.concat_tables([minute_bars([0]), minute_bars([]), minute_bars([1, 2]).slice(1)])

    assert_same_rows(decode(LAYOUT.encode(StoredPartition(PARTITION, pieces))).rows, minute_bars([0, 2]))


def test_any_engine_reads_the_rows_with_their_types():
    rows = pq.read_table(io.BytesIO(DATA))

    assert [(field.name, str(field.type)) for field in rows.schema] == [
        ("timestamp", "timestamp[ms, tz=UTC]"),
        *((name, "double") for name in ("open", "high", "low", "close", "volume")),
    ]
    assert_same_rows(rows.replace_schema_metadata(None).cast(OHLCV_SCHEMA), STORED.rows)


def test_format_and_coverage_travel_in_the_file():
    metadata = pq.read_schema(io.BytesIO(DATA)).metadata

    assert metadata[FORMAT] == b"1"
    assert orjson.loads(metadata[SEGMENTS])[0] == {
        "start_time": epoch_ms(minute(0)),
        "end_time": epoch_ms(minute(40)),
        "state": "held",
    }


def test_writing_leaves_the_partition_alone():
    before = STORED.rows.schema.metadata

    LAYOUT.encode(STORED)

    assert STORED.rows.schema.metadata == before


def test_equal_partitions_are_equal_bytes():
    assert LAYOUT.encode(decode(DATA)).to_pybytes() == DATA


GOOD_METADATA = dict(pq.read_schema(io.BytesIO(DATA)).metadata)


@pytest.mark.parametrize("version", [None, b"", b"0", b"-1", b"1.0", b"x"])
def test_a_format_that_never_was_is_refused(version):
    metadata = {name: value for name, value in GOOD_METADATA.items() if name != FORMAT}
    metadata |= {} if version is None else {FORMAT: version}

    with pytest.raises(ValueError, match="format"):
        decode(foreign(STORED.rows, metadata))


@pytest.mark.parametrize("version", [b"2", b"10"])
@pytest.mark.parametrize("metadata", [GOOD_METADATA | {CHECKSUM: b"0"}, {}], ids=["as today", "other metadata"])
@pytest.mark.parametrize("columns", [STORED.rows.schema.names, ["timestamp"]], ids=["as today", "other columns"])
def test_a_later_format_is_told_from_damage_whatever_it_holds(version, metadata, columns):
    with pytest.raises(NewerFormatError):
        decode(foreign(STORED.rows.select(columns), {**metadata, FORMAT: version}))


def test_a_file_that_is_not_ours_is_refused():
    with pytest.raises(ValueError, match="format"):
        decode(foreign(STORED.rows, None))


@pytest.mark.parametrize(
    "coverage",
    [
        None,
        b"",
        b"{",
        pytest.param(b"null"),
        pytest.param(b"1"),
        b'["held"]',
        b"[null]",
        b"[{}]",
        b'[{"start_time": 0, "end_time": 60000}]',
        b'[{"start_time": 0, "end_time": 60000, "state": "unknown"}]',
        b'[{"start_time": 60000, "end_time": 0, "state": "held"}]',
        b'[{"start_time": "0", "end_time": 60000, "state": "held"}]',
        b'[{"start_time": 0, "end_time": 9223372036854775807, "state": "held"}]',
        b'[{"start_time": null, "end_time": 60000, "state": "held"}]',
    ],
)
def test_coverage_that_cannot_be_read_is_refused_like_rows_that_cannot(coverage):
    metadata = {name: value for name, value in GOOD_METADATA.items() if name != SEGMENTS}
    metadata |= {} if coverage is None else {SEGMENTS: coverage}
    metadata[CHECKSUM] = bytes_checksum((coverage or b"") + metadata[BATCHES]).encode()

    with pytest.raises(ValueError):  # noqa: PT011 - many words, one kind
        decode(foreign(STORED.rows, metadata))


def test_metadata_that_was_tampered_with_is_refused():
    metadata = GOOD_METADATA | {SEGMENTS: GOOD_METADATA[SEGMENTS].replace(b"empty", b"held ")}

    with pytest.raises(ValueError, match="checksum of the metadata"):
        decode(foreign(STORED.rows, metadata))


@pytest.mark.parametrize(
    "rows",
    [
        STORED.rows.slice(1),
        STORED.rows.slice(0, 39),
        pa.concat_tables([STORED.rows.slice(1), STORED.rows.slice(0, 1)]),
        minute_bars(range(40), price=101),
        minute_bars(range(1, 41)),
        minute_bars([]),
    ],
)
def test_rows_that_are_not_those_of_the_metadata_are_refused(rows):
    with pytest.raises(ValueError, match=r"checksum|row groups"):
        decode(foreign(rows, GOOD_METADATA))


@pytest.mark.parametrize(
    "rows",
    [
        STORED.rows.drop_columns(["volume"]),
        STORED.rows.append_column("extra", STORED.rows.column("open")),
        STORED.rows.select([*OHLCV_SCHEMA.names[:4], "volume", "close"]),
        STORED.rows.rename_columns(["time", *OHLCV_SCHEMA.names[1:]]),
        STORED.rows.set_column(0, "timestamp", STORED.rows.column("timestamp").cast(pa.timestamp("ms"))),
        STORED.rows.set_column(0, "timestamp", STORED.rows.column("timestamp").cast(pa.timestamp("us", tz="UTC"))),
        STORED.rows.set_column(1, "open", STORED.rows.column("open").cast(pa.float32(), safe=False)),
    ],
)
def test_other_columns_are_refused(rows):
    with pytest.raises(ValueError, match="columns"):
        decode(foreign(rows, GOOD_METADATA))


@pytest.mark.parametrize("length", [0, 1, 4, 8, len(DATA) // 2, len(DATA) - 9, len(DATA) - 8, len(DATA) - 1])
def test_a_file_cut_short_is_refused(length):
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        decode(DATA[:length])


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1PAR1", b"{}", b"\x00" * 1000, b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        decode(data)


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_flipped_bit_is_noticed_or_does_not_matter_wherever_it_is(bit):
    """Rows that are wrong, rows that are gone, coverage that says otherwise: none of it may pass for the truth."""
    wrong = []
    for place in range(bit % 3, len(DATA), 3):
        damaged = bytearray(DATA)
        damaged[place] ^= 1 << bit
        try:
            stored = decode(bytes(damaged))
        except ValueError:
            continue
        if (
            not stored.rows.equals(STORED.rows)
            or stored.coverage != COVERAGE
            or stored.digests not in ({}, STORED_DIGESTS)
            or stored.evidence not in (None, STORED_EVIDENCE)
        ):
            wrong.append(place)

    assert wrong == []
