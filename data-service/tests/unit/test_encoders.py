"""Whatever the format and however rows are cut: every one arrives once, with all its bits, in messages that fit."""

from __future__ import annotations

import math

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import assert_same_rows, epoch_ms, minute, minute_bars, quick, rows_of, series, table, utc

from cb_trade_data.api.encoders import ENCODERS, ChunkEncoder
from cb_trade_data.models.frame import FRAME_ROWS, Stretch, framed
from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.messages import WireFormat
from cb_trade_data.models.series import Kind, Series

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


# --- Kinds without bars -----------------------------------------------------------------------------------------------

TRADES = rows_of(
    Kind.TRADES,
    (1_704_067_200_000, "7", "buy", 42283.58, 0.25),
    (1_704_067_200_001, 'a,"b"\\\n€', "sell", 42283.0, 1e-8),
)
RATES = rows_of(Kind.FUNDING_RATE, (1_704_067_200_000, 0.0001, None), (1_704_096_000_003, -0.00025, 42_000.5))
BOOKS = rows_of(
    Kind.ORDER_BOOK,
    (1_704_067_200_000, [[42283.5, 1.0], [42283.25, 2.5]], [[42284.0, 0.5]], 2**53 + 1),
    (1_704_067_200_001, [], [[42284.0, 0.25]], 2**53 + 2),
)
EVENTS = {Kind.TRADES: TRADES, Kind.FUNDING_RATE: RATES, Kind.ORDER_BOOK: BOOKS}


def event_encoder(wire_format, kind, chunk_rows=None, request_id="r1") -> ChunkEncoder:
    return ENCODERS[wire_format](request_id, Series("binance", "BTC/USDT:USDT", kind, None), chunk_rows)


def read_events(wire_format, chunks, kind) -> pa.Table:
    """Return the rows of a kind without bars as a client reads them."""
    if wire_format is WireFormat.ARROW:
        return pa.ipc.open_stream(b"".join(bytes(chunk.binary) for chunk in chunks)).read_all()
    rows = []
    for chunk in chunks:
        data = orjson.loads(chunk.text)["data"]
        rows += (row.values() for row in data) if isinstance(data, list) else zip(*data.values(), strict=True)
    return rows_of(kind, *map(tuple, rows))


@pytest.mark.parametrize("kind", EVENTS)
def test_texts_nulls_and_levels_arrive_as_they_are(wire_format, kind):
    rows = EVENTS[kind]

    chunks = list(event_encoder(wire_format, kind).chunks(Stretch(rows)))

    assert read_events(wire_format, chunks, kind).equals(rows)
    (message,) = (orjson.loads(chunk.text) for chunk in chunks)
    assert (message["start_time"], message["end_time"]) == (1_704_067_200_000, rows.column("timestamp")[-1].value + 1)


@pytest.mark.parametrize(
    ("kind", "as_rows", "as_columns"),
    [
        (
            Kind.TRADES,
            b'{"timestamp":1704067200000,"id":"7","side":"buy","price":42283.58,"amount":0.25},',
            b'"side":["buy","sell"]',
        ),
        (
            Kind.FUNDING_RATE,
            b'{"timestamp":1704067200000,"rate":0.0001,"mark_price":null},',
            b'"mark_price":[null,42000.5]',
        ),
        (
            Kind.ORDER_BOOK,
            b'"bids":[[42283.5,1.0],[42283.25,2.5]],"asks":[[42284.0,0.5]],"nonce":9007199254740993},',
            b'"bids":[[[42283.5,1.0],[42283.25,2.5]],[]]',
        ),
    ],
)
def test_json_of_kinds_without_bars_is_that_of_the_contract(kind, as_rows, as_columns):
    (rows,) = event_encoder(WireFormat.JSON, kind).chunks(Stretch(EVENTS[kind]))
    (columns,) = event_encoder(WireFormat.JSON_COLUMNS, kind).chunks(Stretch(EVENTS[kind]))

    assert as_rows in rows.text
    assert as_columns in columns.text


@quick(50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 12), st.data())
def test_trades_of_one_time_are_never_in_two_chunks(wire_format, sizes, chunk_rows, data):
    """Wherever a stretch ends, which is between times, and wherever its memory is cut, which may be amid one."""
    times = [time_ms for time_ms, size in enumerate(sizes, 1_704_067_200_000) for _ in range(size)]
    rows = rows_of(Kind.TRADES, *((time_ms, f"{number:03}", "buy", 1.0, 1.0) for number, time_ms in enumerate(times)))
    split = sum(sizes[: data.draw(st.integers(0, len(sizes)))])
    cut = data.draw(st.integers(0, len(times)))
    encode = event_encoder(wire_format, Kind.TRADES, chunk_rows)
    pieces = pa.concat_tables([rows.slice(0, cut), rows.slice(cut)])

    chunks = [
        chunk
        for stretch in (pieces.slice(0, split), pieces.slice(split))
        for chunk in encode.chunks(Stretch(stretch) if wire_format is not WireFormat.ARROW else framed(stretch))
    ]

    assert read_events(wire_format, chunks, Kind.TRADES).equals(rows)
    ends = [orjson.loads(chunk.text)["end_time"] for chunk in chunks]
    starts = [orjson.loads(chunk.text)["start_time"] for chunk in chunks]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert all(chunk.rows <= max(chunk_rows, *sizes) for chunk in chunks)


def test_the_largest_chunk_of_the_longest_trades_fits_into_a_message(wire_format):
    """Ids have at most 64 bytes; in JSON, six stand for one that cannot be shown."""
    row = ("\x01" * 64, "sell", LONGEST_FLOAT, LONGEST_FLOAT)
    longest = rows_of(Kind.TRADES, *((253_402_300_000_000 + number, *row) for number in range(20_000)))
    encode = event_encoder(wire_format, Kind.TRADES, 10_000_000, LONGEST_ID)

    for chunk in encode.chunks(Stretch(longest)):
        assert len(chunk.text) < MEBIBYTE
        assert chunk.binary is None or len(chunk.binary) < MEBIBYTE


def test_every_kind_has_a_schema_that_travels():
    assert set(EVENTS) | {Kind.OHLCV} == set(SCHEMAS)
