"""The data that benchmarks work on: minutes and trades of a simulated market, the same for everybody at every run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, TRADES_SCHEMA
from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

SERIES: Final = Series("binance", "BTC/USDT", Kind.OHLCV, Timeframe.parse("1m"))
# In the middle of a month, so that what is appended after years lands in a month that is half full or fuller.
START: Final = datetime(2023, 1, 16, tzinfo=UTC)
DAY_ROWS: Final = 1_440
MINUTE_MS: Final = 60_000

TRADES_SERIES: Final = Series("binance", "BTC/USDT", Kind.TRADES, None)
#: A busy day, and how many trades there are in it.
TRADES_PARTITION: Final[Partition] = partition_at(TRADES_SERIES, datetime(2024, 2, 29, tzinfo=UTC))
TRADES_ROWS: Final = 2_000_000

#: Recorded candles, where they are at hand; no part of the project.
_RECORDED: Final = Path(__file__).parents[3] / "shared" / "data" / "freqtrade_ADA_BTC-5m.feather"


def minutes(days: int, seed: int = 1) -> pa.Table:
    """Return so many days of minutes: a random walk in cents, each bar opening where the last one closed."""
    rng = np.random.default_rng(seed)
    count = days * DAY_ROWS
    close = np.round(30_000 + np.cumsum(rng.normal(0, 8, count)), 2)
    opened = np.append(close[:1], close[:-1])
    high = np.round(np.maximum(opened, close) + rng.exponential(4, count), 2)
    low = np.round(np.minimum(opened, close) - rng.exponential(4, count), 2)
    volume = np.round(rng.exponential(5, count), 5)
    times = pa.array(to_ms(START) + np.arange(count) * MINUTE_MS).cast(OHLCV_SCHEMA.field("timestamp").type)
    return pa.table([times, opened, high, low, close, volume], schema=OHLCV_SCHEMA)


def trades() -> pa.Table:
    """Return a busy day of trades: several happen in one millisecond, prices wander by ticks, ids count on."""
    random, day = np.random.default_rng(7), TRADES_PARTITION.range
    moments = random.integers(to_ms(day.start), to_ms(day.end), TRADES_ROWS // 3)
    columns = [
        pa.array(np.sort(random.choice(moments, TRADES_ROWS))).cast(TIMESTAMP),
        pa.array(np.arange(3_000_000_000, 3_000_000_000 + TRADES_ROWS).astype(str)),
        pa.array(random.choice(["buy", "sell"], TRADES_ROWS)),
        pa.array(np.round(60_000 + np.cumsum(random.normal(0, 0.05, TRADES_ROWS)), 2)),
        pa.array(np.round(random.exponential(0.02, TRADES_ROWS) + 1e-5, 5)),
    ]
    return pa.table(columns, schema=TRADES_SCHEMA)


def recorded() -> pa.Table | None:
    """Return candles as an exchange really published them, or None where they are not at hand."""
    if not _RECORDED.exists():
        return None
    table = feather.read_table(_RECORDED)
    return table.rename_columns(OHLCV_SCHEMA.names).cast(OHLCV_SCHEMA)


def days(first: int, count: int = 1) -> TimeRange:
    """Return the range of *count* days, the first of which is *first* days after the start."""
    start_ms = to_ms(START) + first * DAY_ROWS * MINUTE_MS
    return TimeRange(from_ms(start_ms), from_ms(start_ms + count * DAY_ROWS * MINUTE_MS))


def touched(rows: pa.Table) -> list[float]:
    """Read every value of *rows*; return the columns' sums, by which answers can be compared."""
    sums = []
    for column in rows.columns:
        values = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        sums.append(float(pc.sum(values).as_py() or 0))
    return sums
