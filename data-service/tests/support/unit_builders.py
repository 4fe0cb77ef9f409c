"""Short ways to say what the unit tests are about: instants, ranges, series, bars, and strategies that make them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

from cb_trade_data.models.market import OHLCV_SCHEMA, SCHEMAS, TIMESTAMP
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

#: Minute 0 of the tests that count minutes: two minutes before a leap day begins.
MINUTE_0 = datetime(2024, 2, 28, 23, 58, tzinfo=UTC)

MINUTE = Timeframe.parse("1m")

TIMEFRAMES = tuple(
    Timeframe.parse(name)
    for name in (
        "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h",
        "1d", "3d", "1w", "2w", "1M", "3M", "6M", "12M",
    )
)  # fmt: skip


def quick(max_examples: int = 100) -> settings:
    """Return hypothesis settings for a property that is cheap to try."""
    return settings(max_examples=max_examples, deadline=None)


def utc(text: str) -> datetime:
    """Return the UTC instant written as 2024-01-01 or 2024-01-01T00:00:30.5."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def span(start: str, end: str) -> TimeRange:
    return TimeRange(utc(start), utc(end))


def minute(number: float) -> datetime:
    """Return the instant *number* minutes after minute 0."""
    return MINUTE_0 + timedelta(minutes=number)


def minutes(first: float, end: float) -> TimeRange:
    """Return the range from minute *first* (inclusive) to minute *end* (exclusive)."""
    return TimeRange(minute(first), minute(end))


def minute_numbers(ranges: Iterable[TimeRange]) -> list[int]:
    """Return the number of every minute in *ranges*, in their order; twice where they overlap."""
    return [
        number
        for one in ranges
        for number in range(
            (one.start - MINUTE_0) // timedelta(minutes=1), (one.end - MINUTE_0) // timedelta(minutes=1)
        )
    ]


def series(symbol: str = "BTC/USDT", timeframe: str = "1m", exchange: str = "binance") -> Series:
    return Series(exchange, symbol, Kind.OHLCV, Timeframe.parse(timeframe))


def epoch_ms(instant: datetime) -> int:
    """Return *instant* in epoch milliseconds by another way than the code under test goes."""
    return round(instant.timestamp() * 1000)


def table(rows: Sequence[Sequence[float]]) -> pa.Table:
    """Return rows of (epoch milliseconds, open, high, low, close, volume) as a table of the kind's schema."""
    columns = list(zip(*rows, strict=True)) or [()] * len(OHLCV_SCHEMA)
    times = pa.array(columns[0], pa.int64()).cast(OHLCV_SCHEMA.field("timestamp").type)
    return pa.table([times, *(pa.array(column, pa.float64()) for column in columns[1:])], schema=OHLCV_SCHEMA)


def rows_of(kind: Kind, *rows: Sequence[Any]) -> pa.Table:
    """Return rows of a kind, their times in epoch milliseconds, as a table of the kind's schema."""
    schema = SCHEMAS[kind]
    times, *others = list(zip(*rows, strict=True)) or [()] * len(schema)
    columns = [pa.array(values, field.type) for values, field in zip(others, list(schema)[1:], strict=True)]
    return pa.table([pa.array(times, pa.int64()).cast(TIMESTAMP), *columns], schema=schema)


def bars(opens: Iterable[datetime], price: float = 100.0) -> pa.Table:
    """Return one possible bar per open time; its numbers follow from the time and *price*, so that mix-ups show."""
    rows = []
    for open_time in opens:
        time_ms = epoch_ms(open_time)
        close = price + time_ms // 60_000 % 977
        rows.append((time_ms, close - 0.25, close + 0.5, close - 1.0, close, time_ms % 86_400_000 / 7))
    return table(rows)


def minute_bars(numbers: Iterable[int], price: float = 100.0) -> pa.Table:
    """Return one possible bar for each minute number."""
    return bars((minute(number) for number in numbers), price)


def assert_same_rows(actual: pa.Table, expected: pa.Table) -> None:
    """Compare value for value; unlike `Table.equals` this tells -0.0 from 0.0."""
    assert actual.schema.equals(expected.schema)
    assert actual.num_rows == expected.num_rows
    for name in expected.schema.names:
        if pa.types.is_string(expected.schema.field(name).type) or expected.column(name).null_count:
            assert actual.column(name).to_pylist() == expected.column(name).to_pylist(), name
            continue
        if pa.types.is_list(expected.schema.field(name).type):
            assert repr(actual.column(name).to_pylist()) == repr(expected.column(name).to_pylist()), name
            continue
        left, right = (
            np.asarray(rows.column(name).cast(pa.int64()) if name == "timestamp" else rows.column(name))
            for rows in (actual, expected)
        )
        assert left.tobytes() == right.tobytes(), f"{name} differs: {left} is not {right}"


instants = st.datetimes(datetime(1970, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - aware by `timezones`


@st.composite
def any_ranges(draw: st.DrawFn, size: int = 40) -> list[TimeRange]:
    """Ranges of minutes in any order, touching and overlapping as they like."""
    ends = st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True).map(sorted)
    return [minutes(first, end) for first, end in draw(st.lists(ends, max_size=8))]


@st.composite
def disjoint_ranges(draw: st.DrawFn, size: int = 40) -> list[TimeRange]:
    """Ranges of minutes in order that share nothing; they may touch."""
    cuts = sorted(draw(st.sets(st.integers(0, size), max_size=12)))
    pieces = [minutes(first, end) for first, end in pairwise(cuts)]
    return [piece for piece in pieces if draw(st.booleans())]
