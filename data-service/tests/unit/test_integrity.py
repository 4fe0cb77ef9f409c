"""The checksum of rows: of their values, whatever pieces they are in."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cb_trade_data.models.market import FUNDING_RATE_SCHEMA, ORDER_BOOK_SCHEMA, TIMESTAMP, TRADES_SCHEMA
from cb_trade_data.storage.integrity import rows_checksum

TIMES = pa.array([1, 2, 2, 5], pa.int64()).cast(TIMESTAMP)
SOME_TRADES = pa.table(
    [TIMES, ["1", "", "abc", "é"], ["buy", "sell", "sell", "buy"], [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]],
    schema=TRADES_SCHEMA,
)
SOME_RATES = pa.table([TIMES, [0.1, 0.2, 0.3, 0.4], [100.0, None, 0.0, None]], schema=FUNDING_RATE_SCHEMA)
BIDS = [[[1.0, 2.0]], [], [[3.0, 4.0], [5.0, 6.0]], [[7.0, 8.0]]]
SOME_BOOKS = pa.table([TIMES, BIDS, BIDS[::-1], [1, 2, 3, 2**62]], schema=ORDER_BOOK_SCHEMA)


@pytest.mark.parametrize(
    "rows", [SOME_TRADES, SOME_RATES, SOME_BOOKS], ids=["texts", "numbers that may be missing", "levels"]
)
def test_the_checksum_is_that_of_the_values_in_however_many_pieces_they_are(rows):
    pieces = pa.concat_tables([rows.slice(0, 1), rows.slice(1, 2), rows.slice(3)])

    assert pieces.column("timestamp").num_chunks == 3
    assert rows_checksum(pieces) == rows_checksum(rows) == rows_checksum(rows.slice(0))


def test_a_number_that_is_missing_is_not_the_number_that_lies_there():
    missing = pa.chunked_array([pa.array([None] * SOME_RATES.num_rows, pa.float64())])

    assert rows_checksum(SOME_RATES.set_column(2, FUNDING_RATE_SCHEMA.field(2), missing)) != rows_checksum(SOME_RATES)


def test_which_level_is_of_which_book_is_part_of_the_checksum():
    others = pa.chunked_array([pa.array([[], *BIDS[:1], *BIDS[2:]], SOME_BOOKS.schema.field(1).type)])

    assert rows_checksum(SOME_BOOKS.set_column(1, SOME_BOOKS.schema.field(1), others)) != rows_checksum(SOME_BOOKS)
