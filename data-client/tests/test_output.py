"""Files of rows, written as they come."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cb_trade_client.output import open_output
from cb_trade_client.output.csv_rows import to_csv
from cb_trade_client.output.parquet_rows import ROW_GROUP_ROWS
from cb_trade_client.schemas import FUNDING_RATE, OHLCV, ORDER_BOOK, TRADES


def batch(count, first=0):
    times = pa.array(range(first, first + count), pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
    numbers = pa.array([float(number) for number in range(count)])
    return pa.RecordBatch.from_arrays([times, *[numbers] * 5], schema=OHLCV)


def test_small_batches_become_large_row_groups(tmp_path):
    path = tmp_path / "bars.parquet"
    size = 10_000
    batches = 30

    with open_output(path, OHLCV) as writer:
        for number in range(batches):
            writer.write(batch(size, number * size))
        writer.finish(())

    metadata = pq.read_metadata(path)
    assert metadata.num_rows == size * batches
    assert metadata.num_row_groups == 3
    assert ROW_GROUP_ROWS <= metadata.row_group(0).num_rows < ROW_GROUP_ROWS + size


@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet"])
def test_nothing_stands_at_the_path_before_the_block_ends(tmp_path, name):
    path = tmp_path / name

    with open_output(path, OHLCV) as writer:
        writer.write(batch(3))
        writer.finish(())
        assert not path.exists()

    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_csv_tells_small_and_large_numbers_and_missing_ones_exactly():
    values = [1e-08, 123456789.12345678, None]
    numbers = pa.array(values, pa.float64())
    times = pa.array([0, 1, 1704067200123], pa.int64()).cast(pa.timestamp("ms", tz="UTC"))

    lines = to_csv(pa.RecordBatch.from_arrays([times, *[numbers] * 5], schema=OHLCV)).decode().splitlines()

    assert lines[2] == "2024-01-01T00:00:00.123Z,,,,,"
    assert [float(line.split(",")[1]) for line in lines[:2]] == values[:2]


AWKWARD = ["", " ", "12", "a,b", 'say "so"', '"', "two\nlines", "\r", "ü€😀", "'", ",", '""', "00012"]


def test_texts_read_back_from_csv_as_they_were():
    rows = [{"timestamp": 0, "id": text, "side": "buy", "price": 0.1, "amount": 2.0} for text in AWKWARD]
    written = to_csv(pa.RecordBatch.from_pylist(rows, TRADES)).decode()

    read = list(csv.reader(io.StringIO(written, newline=""), strict=True))

    assert [line[1] for line in read] == AWKWARD
    assert {(line[0], *line[2:]) for line in read} == {("1970-01-01T00:00:00.000Z", "buy", "0.1", "2")}


def test_texts_are_quoted_only_where_they_must_be():
    rows = [{"timestamp": 0, "id": text, "side": "sell", "price": 1.0, "amount": 1.0} for text in ("7", "a,b")]

    lines = to_csv(pa.RecordBatch.from_pylist(rows, TRADES)).decode().splitlines()

    assert lines == ["1970-01-01T00:00:00.000Z,7,sell,1,1", '1970-01-01T00:00:00.000Z,"a,b",sell,1,1']


def test_a_mark_price_that_is_not_told_is_an_empty_cell():
    rows = [{"timestamp": 0, "rate": 0.0001, "mark_price": None}]

    assert to_csv(pa.RecordBatch.from_pylist(rows, FUNDING_RATE)) == b"1970-01-01T00:00:00.000Z,0.0001,\n"


def test_levels_of_an_order_book_are_json_in_csv():
    rows = [{"timestamp": 0, "bids": [[1.5, 2.0], [1.25, 3.0]], "asks": [], "nonce": 2**53 + 1}]

    written = to_csv(pa.RecordBatch.from_pylist(rows, ORDER_BOOK)).decode()

    assert list(csv.reader(io.StringIO(written))) == [
        ["1970-01-01T00:00:00.000Z", "[[1.5,2.0],[1.25,3.0]]", "[]", "9007199254740993"]
    ]


def test_no_rows_are_no_lines():
    assert to_csv(batch(0)) == b""
