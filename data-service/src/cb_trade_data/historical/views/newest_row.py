"""The newest row of a part of a partition, without reading more of it than it takes."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from cb_trade_data.models.market import SCHEMAS
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.interfaces import IStorageManager

# Where each row has to be fetched by itself, the last few are most often enough.
_FIRST_LOOK_BARS: Final = 64
_LOOKS_GROW_BY: Final = 8


async def newest_row(storage: IStorageManager, partition: Partition, part: TimeRange) -> pa.Table:
    """Return the newest stored bar of *part* of *partition*, as a table of one row, or of none.

    Raises:
        StorageUnavailableError: Storage cannot be read.
    """
    grid, end, look_bars = partition.series.grid, part.end, _FIRST_LOOK_BARS
    while part.start < end:
        look = TimeRange(part.start, end)
        if grid.bars_in(look) > look_bars:
            look = TimeRange(grid.advance(end, -look_bars), end)
        rows = (await storage.read(partition, look)).rows_in(look)
        if rows.num_rows:
            return rows.slice(rows.num_rows - 1)
        end, look_bars = look.start, look_bars * _LOOKS_GROW_BY
    return SCHEMAS[partition.series.kind].empty_table()
