from __future__ import annotations

import io

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, minutes, quick, series, table

from cb_trade_data.errors import NewerFormatError
from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.frame import FRAME_ROWS, framed
from cb_trade_data.models.market import OHLCV_SCHEMA, slice_range
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts import StoredObject
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.metadata import inspected
from cb_trade_data.storage.stored_partition import StoredPartition

LAYOUT = ArrowLayout()
PARTITION = partition_at(series(), minute(0))
COVERAGE = Coverage(
    (
        Segment(minutes(0, 20), State.HELD),
        Segment(minutes(20, 50), State.EMPTY, minute(90), asks=2),
        Segment(minutes(50, 60), State.FAILED, minute(91), reason="HTTP 503: “overloaded” \\ \x00"),
    )
)
STORED = StoredPartition(PARTITION, minute_bars(range(20)), COVERAGE)
STORED_DIGESTS = unit_digests(STORED.rows, PARTITION.series)
STORED_EVIDENCE = inspected(STORED)
DATA = LAYOUT.encode(STORED).to_pybytes()
METADATA = dict(pa.ipc.open_file(DATA).schema.metadata)

floats = st.floats(allow_nan=False)


def decode(data: pa.Buffer | bytes, wanted: TimeRange | None = None) -> StoredPartition:
    return LAYOUT.decode(PARTITION, StoredObject("part", pa.py_buffer(data), "v1"), (), wanted, Verified())


def streamed(stored: StoredPartition) -> pa.Table:
    """Return the rows as a client reads them from the frames."""
    messages = [stored.rows.schema.serialize(), *(frame.message for frame in stored.frames)]
    return pa.ipc.open_stream(b"".join(map(bytes, messages))).read_all()


def foreign(rows: pa.Table, metadata: dict[bytes, bytes] | None) -> bytes:
    """Return an Arrow file that somebody else wrote."""
    sink = io.BytesIO()
    rows = rows.replace_schema_metadata(metadata)
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
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


def test_a_partition_without_rows_or_without_coverage_comes_back():
    known = StoredPartition(PARTITION, minute_bars([]), COVERAGE)

    assert decode(LAYOUT.encode(StoredPartition.empty(PARTITION))).coverage == Coverage()
    assert decode(LAYOUT.encode(known)).coverage == COVERAGE
    assert_same_rows(decode(LAYOUT.encode(known)).rows, minute_bars([]))


def test_rows_in_many_pieces_come_back():
    pieces = pa.concat_tables([minute_bars([0]), minute_bars([]), minute_bars([1, 2]).slice(1)])

    assert_same_rows(decode(LAYOUT.encode(StoredPartition(PARTITION, pieces))).rows, minute_bars([0, 2]))


def test_decoded_rows_lie_in_the_bytes_of_the_object():
    """A mapped file is not copied into memory."""
    data = pa.py_buffer(DATA)
    stored = LAYOUT.decode(PARTITION, StoredObject("part", data, "v1"), (), None, Verified())

    for column in stored.rows.columns:
        for buffer in column.chunk(0).buffers():
            assert buffer is None or data.address <= buffer.address <= data.address + data.size - buffer.size


def test_any_engine_reads_the_rows_with_their_types():
    rows = pa.ipc.open_file(DATA).read_all()

    assert_same_rows(rows.replace_schema_metadata(None).cast(OHLCV_SCHEMA), STORED.rows)
    assert orjson.loads(rows.schema.metadata[b"cb_trade.coverage"])[0]["state"] == "held"
    assert rows.schema.metadata[b"cb_trade.format"] == b"1"


def test_equal_partitions_are_equal_bytes():
    assert LAYOUT.encode(decode(DATA)).to_pybytes() == DATA


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (None, 40_000),
        (minutes(0, 1), 16_384),
        (minutes(16_383, 16_384), 16_384),
        (minutes(16_383, 16_385), 32_768),
        (minutes(32_768, 32_769), 7_232),
        (minutes(16_383.5, 16_384), 0),
        (minutes(-10, 0), 0),
        (minutes(40_000, 50_000), 0),
        (minutes(-10, 50_000), 40_000),
    ],
)
def test_only_the_batches_that_are_wanted_are_decoded_and_all_of_the_coverage(wanted, rows):
    """40,000 minutes: batches of 16,384, 16,384 and 7,232 rows."""
    all_rows = minute_bars(range(40_000))

    stored = decode(LAYOUT.encode(StoredPartition(PARTITION, all_rows, COVERAGE)), wanted)

    assert (stored.rows.num_rows, stored.coverage) == (rows, COVERAGE)
    if wanted is not None:
        assert_same_rows(stored.rows_in(wanted).combine_chunks(), slice_range(all_rows, wanted).combine_chunks())


@pytest.mark.parametrize("version", [None, b"", b"0", b"-1", b"1.0", b"x"])
def test_a_format_that_never_was_is_refused(version):
    metadata = {name: value for name, value in METADATA.items() if name != b"cb_trade.format"}
    metadata |= {} if version is None else {b"cb_trade.format": version}

    with pytest.raises(ValueError, match="format"):
        decode(foreign(STORED.rows, metadata))


@pytest.mark.parametrize(
    "rows",
    [
        STORED.rows.slice(1),
        pa.concat_tables([STORED.rows.slice(1), STORED.rows.slice(0, 1)]).combine_chunks(),
        minute_bars(range(20), price=101),
        minute_bars([]),
        STORED.rows.drop_columns(["volume"]),
        STORED.rows.set_column(0, "timestamp", STORED.rows.column("timestamp").cast(pa.timestamp("us", tz="UTC"))),
    ],
)
def test_other_rows_than_those_of_the_metadata_are_refused(rows):
    with pytest.raises(ValueError, match=r"checksum|batches|columns"):
        decode(foreign(rows, METADATA))


@pytest.mark.parametrize("length", [0, 1, 6, 8, len(DATA) // 2, len(DATA) - 10, len(DATA) - 6, len(DATA) - 1])
def test_a_file_cut_short_is_refused(length):
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        decode(DATA[:length])


@pytest.mark.parametrize("data", [b"ARROW1", b"ARROW1\x00\x00ARROW1", b"{}", b"\x00" * 1000, DATA[8:], DATA + b"x"])
def test_what_is_no_arrow_file_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011 - the reader's own words
        decode(data)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_noticed_or_does_not_matter_wherever_it_is(bit):
    """Rows that are wrong, rows that are gone, coverage that says otherwise: none of it may pass for the truth."""
    wrong = []
    for place in range(len(DATA)):
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
            or not streamed(stored).equals(STORED.rows)
        ):
            wrong.append(place)

    assert wrong == []


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_in_the_evidence_takes_nothing_else_with_it(bit):
    start = DATA.rindex(b'{"checksum":', 0, DATA.rindex(b'"found":'))
    for place in range(start, DATA.index(b"}", DATA.index(b"]]]", start))):
        damaged = bytearray(DATA)
        damaged[place] ^= 1 << bit

        stored = decode(bytes(damaged))

        assert (stored.evidence, stored.evidence_is_damaged) == (None, True)
        assert (stored.rows.equals(STORED.rows), stored.coverage, stored.digests) == (True, COVERAGE, STORED_DIGESTS)


@pytest.mark.parametrize("metadata", [METADATA | {b"cb_trade.checksum": b"0"}, {}], ids=["as today", "other metadata"])
@pytest.mark.parametrize("columns", [STORED.rows.schema.names, ["timestamp"]], ids=["as today", "other columns"])
def test_a_later_format_is_told_from_damage_whatever_it_holds(metadata, columns):
    with pytest.raises(NewerFormatError):
        decode(foreign(STORED.rows.select(columns), {**metadata, b"cb_trade.format": b"2"}))


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [(None, [0, 1, 2]), (minutes(FRAME_ROWS, FRAME_ROWS + 1), [1]), (minutes(99_000, 99_001), [])],
)
def test_the_frames_of_rows_are_the_bytes_in_the_file(wanted, numbers):
    all_rows = minute_bars(range(2 * FRAME_ROWS + 5))
    data = LAYOUT.encode(StoredPartition(PARTITION, all_rows, COVERAGE))

    stored = decode(data, wanted)

    expected = framed(all_rows).frames
    assert [each.message for each in stored.frames] == [expected[number].message for number in numbers]
    for frame in stored.frames:
        assert data.address <= frame.message.address < data.address + data.size
        batch = pa.ipc.read_record_batch(frame.message, all_rows.schema)
        assert_same_rows(pa.table(batch), stored.rows.slice(frame.first, frame.rows).combine_chunks())
