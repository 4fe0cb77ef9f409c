"""The Arrow schema of each kind's rows: the one form market data has inside the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.instants import to_ms_ceil
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange

TIMESTAMP: Final = pa.timestamp("ms", tz="UTC")

OHLCV_SCHEMA: Final = pa.schema(
    [
        pa.field("timestamp", TIMESTAMP, nullable=False),  # open time of the bar
        *(pa.field(name, pa.float64(), nullable=False) for name in ("open", "high", "low", "close", "volume")),
    ]
)

# A kind joins this table when it can be fetched, checked and stored.
SCHEMAS: Final = {Kind.OHLCV: OHLCV_SCHEMA}


def timestamps_ms(rows: pa.Table | pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Return the rows' times as epoch milliseconds."""
    return np.asarray(rows.column("timestamp").to_numpy().view(np.int64))


def _last_ms(rows: pa.Table) -> int:
    last: int = rows.column("timestamp")[-1].value
    return last


def slice_range(rows: pa.Table, wanted: TimeRange) -> pa.Table:
    """Return the rows of *wanted* without copying them; *rows* must be in time order."""
    times = timestamps_ms(rows)
    first = int(np.searchsorted(times, to_ms_ceil(wanted.start)))
    last = int(np.searchsorted(times, to_ms_ceil(wanted.end)))
    return rows.slice(first, last - first)


def differing(fresh: pa.Table, rows: pa.Table) -> pa.Table:
    """Return those rows of *fresh* that *rows* does not have, or has with other values, to the bit.

    Both must be in time order and unique.
    """
    if fresh.num_rows == 0 or rows.num_rows == 0:
        return fresh
    times, fresh_times = timestamps_ms(rows), timestamps_ms(fresh)
    if fresh_times[0] > times[-1]:
        return fresh
    places = np.minimum(np.searchsorted(times, fresh_times), rows.num_rows - 1)
    first = int(places[0])
    rows, places = rows.slice(first, int(places[-1]) - first + 1), places - first
    is_same = np.ones(fresh.num_rows, bool)
    for name in fresh.schema.names:
        is_same &= _bits(fresh.column(name)) == _bits(rows.column(name))[places]
    return fresh.filter(pa.array(~is_same))


def count_shared_times(rows: pa.Table, others: pa.Table) -> int:
    """Return of how many times both have a row."""
    return int(np.count_nonzero(np.isin(timestamps_ms(rows), timestamps_ms(others), assume_unique=True)))


def _bits(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values = np.asarray(column.to_numpy())
    return values.view(np.int64) if values.dtype.kind == "f" else values


def union(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of all *tables*, at least one, in time order and unique; of equal times the later table's row.

    Each must be in time order and unique. Those that follow each other are not copied.
    """
    together = pa.concat_tables(tables)
    times = timestamps_ms(together)
    if np.all(np.diff(times) > 0):
        return together
    order = np.argsort(times, kind="stable")
    ascending = times[order]
    is_last = np.append(ascending[1:] != ascending[:-1], True)
    return together.take(pa.array(order[is_last]))


def upsert(rows: pa.Table, fresh: pa.Table) -> pa.Table:
    """Return *rows* with *fresh* put in their places; a fresh row replaces the one of equal time.

    Both must be in time order and unique. Only the stretch that *fresh* spans is copied: the rest is shared, so that
    adding page after page to a month costs a page each time.
    """
    if fresh.num_rows == 0:
        return rows
    if rows.num_rows == 0:
        return fresh
    fresh_times = timestamps_ms(fresh)
    if fresh_times[0] > _last_ms(rows):  # as pages do that come in order
        return pa.concat_tables([rows, fresh])
    old_times = timestamps_ms(rows)
    first = int(np.searchsorted(old_times, fresh_times[0]))
    last = int(np.searchsorted(old_times, fresh_times[-1], side="right"))
    inside = rows.slice(first, last - first)
    if inside.num_rows:
        kept = inside.filter(pa.array(~np.isin(old_times[first:last], fresh_times)))
        fresh = pa.concat_tables([kept, fresh]).sort_by("timestamp")
    return pa.concat_tables([rows.slice(0, first), fresh, rows.slice(last)])
