"""What the tests of storage store of kinds without bars: trades, funding rates and order books."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from zlib import crc32

import pyarrow as pa
from unit_builders import epoch_ms, utc

from cb_trade_data.models.market import FUNDING_RATE_SCHEMA, ORDER_BOOK_SCHEMA, SCHEMAS, TIMESTAMP, TRADES_SCHEMA
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment, State
from cb_trade_data.storage.stored_partition import StoredPartition

TRADES = Series("binance", "BTC/USDT", Kind.TRADES, None)
FUNDING = Series("binance", "BTC/USDT:USDT", Kind.FUNDING_RATE, None)
ORDER_BOOK = Series("binance", "BTC/USDT", Kind.ORDER_BOOK, None)

#: The day of the tests that count milliseconds.
DAY = utc("2024-02-29")
DAY_PARTITION = partition_at(TRADES, DAY)
FUNDING_PARTITION = partition_at(FUNDING, DAY)

#: Ids as nobody should make them, each of them another one, in the order in which rows of one time are.
ODD_IDS = sorted(
    [
        "1", "9", "10", "00", "-1", "a-b", "/", "../../etc/passwd", "a/b", "\\", ".", "..", "...", ".json",
        "a.b", "1.5",
        "%", "%2F", "%2E", "_coverage", "_series", "'", '"', "`", "a b", " ", "\t", "\n", "\x00", "*", "?", ":", "con",
        "AbC", "aBc", "é", "e\u0301", "币", "😀", "x" * 64, "/" * 64, "." * 64, "😀" * 16,
    ],
    key=lambda each: (len(each.encode()), each.encode()),
)  # fmt: skip


def at_ms(number: float) -> datetime:
    """Return the instant *number* milliseconds after the day began."""
    return DAY + timedelta(milliseconds=number)


def span_ms(first: float, end: float) -> TimeRange:
    """Return the range from one millisecond of the day (inclusive) to another (exclusive)."""
    return TimeRange(at_ms(first), at_ms(end))


def trades(*numbered: tuple[int, str], price: float = 100.0) -> pa.Table:
    """Return a possible trade for each millisecond of the day and id, as given; its values follow from both."""
    ids = [trade_id for _, trade_id in numbered]
    marks = [crc32(f"{number} {trade_id}".encode()) for number, trade_id in numbered]
    return pa.table(
        [
            pa.array([epoch_ms(DAY) + number for number, _ in numbered], pa.int64()).cast(TIMESTAMP),
            pa.array(ids, pa.string()),
            pa.array(["buy" if mark % 2 else "sell" for mark in marks], pa.string()),
            pa.array([price + mark % 977 / 7 for mark in marks], pa.float64()),
            pa.array([(mark % 89 + 1) / 1e8 for mark in marks], pa.float64()),
        ],
        schema=TRADES_SCHEMA,
    )


def many_trades(rows: int, of_one_ms: int = 3, first: int = 0) -> pa.Table:
    """Return so many trades, several in each millisecond, with ids that count on."""
    return trades(*((first + number // of_one_ms, str(1_000_000 + number)) for number in range(rows)))


def funding(opens: Iterable[datetime], mark_prices: Iterable[float | None]) -> pa.Table:
    """Return a possible rate for each time, small and of both signs."""
    times = [epoch_ms(each) for each in opens]
    return pa.table(
        [
            pa.array(times, pa.int64()).cast(TIMESTAMP),
            pa.array([(-0.0 if time % 5 == 0 else time % 977 - 488) / 1e7 for time in times], pa.float64()),
            pa.array(list(mark_prices), pa.float64()),
        ],
        schema=FUNDING_RATE_SCHEMA,
    )


def books(*times_ms: int) -> pa.Table:
    """Return a possible order book for each millisecond of the day; each has one bid more than the one before."""
    return pa.Table.from_pylist(
        [
            {
                "timestamp": epoch_ms(DAY) + time_ms,
                "bids": [[99.5 - level, 0.1 + level] for level in range(place)],
                "asks": [[100.5, 1.0], [101.0, 1e-8 * place]],
                "nonce": 2**53 + time_ms,
            }
            for place, time_ms in enumerate(times_ms)
        ],
        schema=ORDER_BOOK_SCHEMA,
    )


def holding(of: Series, rows: pa.Table, *held: TimeRange) -> StoredPartition:
    """Return the partition of the day with these rows, and the knowledge that it holds these ranges."""
    coverage = Coverage(tuple(Segment(each, State.HELD) for each in held))
    return StoredPartition(partition_at(of, DAY), rows.cast(SCHEMAS[of.kind]), coverage)


STORED_TRADES = holding(TRADES, trades(*((7, each) for each in ODD_IDS), (9, "1"), (9, "2")), span_ms(0, 5_000))
# Times that jitter, with and without a mark price.
STORED_FUNDING = holding(
    FUNDING,
    funding(
        [utc("2019-09-10T08:00"), utc("2024-02-28T16:00:00.003"), DAY, at_ms(28_800_007)],
        [None, 62_345.5, None, 5e-324],
    ),
    TimeRange(utc("2019-09-10"), at_ms(40_000_000)),
)
STORED_BOOKS = holding(ORDER_BOOK, books(0, 1_000, 2_500, 5_000), span_ms(0, 5_001))
