"""Whatever the format and however rows are cut: every one arrives once, with all its bits, in messages that fit."""

from __future__ import annotations

import math

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, quick, series, table, utc

from cb_trade_data.api.encoders import ENCODERS, ChunkEncoder
from cb_trade_data.models.frame import FRAME_ROWS, Stretch, framed
from cb_trade_data.models.messages import WireFormat

MEBIBYTE = 1024 * 1024
LONGEST_ID = "😀" * 64
# As long as a number gets: 17 digits, a point, a three-digit exponent with its sign.
LONGEST_FLOAT = 2.7776852113709037e-205
TWO_BARS = table(
    [(1_704_067_200_000, 42283.58, 42298.62, 42261.02, 42298.61, 35.92724), (1_704_067_260_000, 1, 2, 0, 1, 0)]
)
ROWS = minute_bars(range(2 * FRAME_ROWS + 100))
FRAMED = framed(ROWS)


@pytest.fixture(scope="module", params=list(WireFormat))
def wire_format(request) -> WireFormat:
    return request.param


def encoder(wire_format, chunk_rows=None, request_id="r1", timeframe="1m") -> ChunkEncoder:
    return ENCODERS[wire_format](request_id, series(timeframe=timeframe), chunk_rows)


def read(wire_format, chunks) -> pa.Table:
    """Return the rows as a client reads them."""
    if wire_format is WireFormat.ARROW:
        stream = b"".join(bytes(chunk.binary) for chunk in chunks)
        return pa.ipc.open_stream(stream).read_all() if stream else table([])
    rows = []
    for chunk in chunks:
        assert chunk.binary is None
        data = orjson.loads(chunk.text)["data"]
        rows += (row.values() for row in data) if isinstance(data, list) else zip(*data.values(), strict=True)
    return table([tuple(row) for row in rows])


def test_a_chunk_of_rows_has_the_fields_of_the_contract_in_their_order():
    (chunk,) = encoder(WireFormat.JSON).chunks(Stretch(TWO_BARS))

    assert chunk.text == (
        b'{"type":"historical_data_chunk","request_id":"r1","sequence":0,"rows":2,'
        b'"start_time":1704067200000,"end_time":1704067320000,"data":['
        b'{"timestamp":1704067200000,"open":42283.58,"high":42298.62,"low":42261.02,"close":42298.61,"volume":35.92724},'
        b'{"timestamp":1704067260000,"open":1.0,"high":2.0,"low":0.0,"close":1.0,"volume":0.0}]}'
    )


def test_a_chunk_of_columns_has_an_array_for_each():
    (chunk,) = encoder(WireFormat.JSON_COLUMNS).chunks(Stretch(TWO_BARS))

    assert chunk.text.endswith(
        b'"end_time":1704067320000,"data":{"timestamp":[1704067200000,1704067260000],"open":[42283.58,1.0],'
        b'"high":[42298.62,2.0],"low":[42261.02,0.0],"close":[42298.61,1.0],"volume":[35.92724,0.0]}}'
    )


def test_a_chunk_of_arrow_says_how_many_bytes_follow_and_the_first_has_the_schema_in_them():
    first, second = encoder(WireFormat.ARROW, 1).chunks(Stretch(TWO_BARS))

    for number, chunk in enumerate((first, second)):
        assert orjson.loads(chunk.text) == {
            "type": "historical_data_chunk",
            "request_id": "r1",
            "sequence": number,
            "rows": 1,
            "start_time": 1704067200000 + 60_000 * number,
            "end_time": 1704067260000 + 60_000 * number,
            "bytes": len(chunk.binary),
        }
    assert_same_rows(
        pa.ipc.open_stream(first.binary).read_all().combine_chunks(), TWO_BARS.slice(0, 1).combine_chunks()
    )


@pytest.mark.parametrize(
    ("timeframe", "last_open", "end"),
    [
        ("1m", "2024-12-31T23:59", "2025-01-01"),
        ("1w", "2024-12-30", "2025-01-06"),
        ("1M", "2024-02-01", "2024-03-01"),
        ("3M", "2024-10-01", "2025-01-01"),
    ],
)
def test_a_chunk_ends_where_its_last_bar_ends_so_that_a_client_can_resume_there(wire_format, timeframe, last_open, end):
    rows = table([(epoch_ms(utc(last_open)), 1, 1, 1, 1, 1)])

    (chunk,) = encoder(wire_format, timeframe=timeframe).chunks(Stretch(rows))

    message = orjson.loads(chunk.text)
    assert (message["start_time"], message["end_time"]) == (epoch_ms(utc(last_open)), epoch_ms(utc(end)))


numbers = st.floats(allow_nan=False, allow_infinity=False)


@quick(100)
@given(st.lists(st.tuples(*[numbers] * 5), min_size=1, max_size=5))
def test_every_number_arrives_with_all_its_bits(wire_format, values):
    rows = table([(epoch_ms(minute(index)), *row) for index, row in enumerate(values)])

    chunks = list(encoder(wire_format).chunks(Stretch(rows)))

    assert_same_rows(read(wire_format, chunks).combine_chunks(), rows)


@quick(50)
@given(st.lists(st.integers(0, 30), max_size=4), st.integers(1, 12))
def test_cutting_keeps_every_row_once_and_no_chunk_is_empty_or_too_large(wire_format, pieces, chunk_rows):
    """Also where rows come in several stretches, and a stretch lies in several pieces of memory."""
    whole = minute_bars(range(sum(pieces)))
    ends = [sum(pieces[: number + 1]) for number in range(len(pieces))]
    stretches = [Stretch(whole.slice(end - rows, rows)) for end, rows in zip(ends, pieces, strict=True)]
    halves = [pa.concat_tables([each.rows.slice(0, 3), each.rows.slice(3)]) for each in stretches]
    encode = encoder(wire_format, chunk_rows)

    chunks = [chunk for rows in halves for chunk in encode.chunks(Stretch(rows))]

    assert_same_rows(read(wire_format, chunks).combine_chunks(), whole.combine_chunks())
    assert all(1 <= chunk.rows <= chunk_rows for chunk in chunks)
    assert len(chunks) == sum(math.ceil(rows / chunk_rows) for rows in pieces)
    assert [orjson.loads(chunk.text)["sequence"] for chunk in chunks] == list(range(len(chunks)))
    assert [orjson.loads(chunk.text)["rows"] for chunk in chunks] == [chunk.rows for chunk in chunks]


def test_no_number_is_longer_than_the_longest_we_reckon_with():
    assert len(orjson.dumps(LONGEST_FLOAT)) == 23


def test_the_largest_chunk_of_the_longest_numbers_fits_into_a_message(wire_format):
    count = 20_000
    first_ms = 253_402_300_799_000 - 60_000 * count
    longest = table([(first_ms + 60_000 * row, *[LONGEST_FLOAT] * 5) for row in range(count)])
    encode = encoder(wire_format, 10_000_000, LONGEST_ID)
    encode._sequence = 10**9

    chunks = list(encode.chunks(Stretch(longest)))

    assert len(chunks) < 40
    for chunk in chunks:
        assert len(chunk.text) < MEBIBYTE
        assert chunk.binary is None or len(chunk.binary) < MEBIBYTE


@pytest.mark.parametrize("wire_format", [WireFormat.JSON, WireFormat.JSON_COLUMNS])
def test_the_first_chunk_of_json_is_small_and_the_others_are_cut_by_their_bytes(wire_format):
    first, second, *_ = encoder(wire_format).chunks(Stretch(ROWS))

    assert 16 * 1024 < first.size_bytes < 64 * 1024
    assert 64 * 1024 < second.size_bytes < 256 * 1024


def test_the_first_chunk_of_arrow_is_small_and_the_others_are_frames():
    first, second, third, last = encoder(WireFormat.ARROW).chunks(FRAMED)

    assert [each.rows for each in (first, second, third, last)] == [1440, FRAME_ROWS - 1440, FRAME_ROWS, 100]
    assert third.binary is FRAMED.frames[1].message
    assert last.binary is FRAMED.frames[2].message


@pytest.mark.parametrize("ends", [(0, ROWS.num_rows), (1, ROWS.num_rows), (FRAME_ROWS, 2 * FRAME_ROWS), (5, 9), (0, 0)])
def test_frames_that_there_are_go_out_as_they_are(ends):
    part = FRAMED.slice(ends[0], ends[1] - ends[0])

    chunks = list(encoder(WireFormat.ARROW).chunks(part))

    assert_same_rows(read(WireFormat.ARROW, chunks).combine_chunks(), part.rows.combine_chunks())
    sent = {id(chunk.binary) for chunk in chunks}
    assert {id(each.message) for each in part.frames[1:]} <= sent


def test_a_frame_that_is_larger_than_was_asked_for_is_cut():
    chunks = list(encoder(WireFormat.ARROW, 5_000).chunks(FRAMED))

    assert max(chunk.rows for chunk in chunks) == 5_000
    assert_same_rows(read(WireFormat.ARROW, chunks).combine_chunks(), ROWS.combine_chunks())
