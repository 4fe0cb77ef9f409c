"""What can be wrong with a row of an answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from cb_trade_data.quality.codes import DataCode


class Finding(StrEnum):
    """What can be wrong with a row of an answer, by the name that logs and metrics have for it."""

    BAD_TIMESTAMP = "bad_timestamp"
    OFF_GRID = "off_grid"
    FUTURE = "future"
    OUTSIDE = "outside"
    OPEN = "open"
    NOT_A_NUMBER = "not_a_number"
    NEGATIVE = "negative"
    IMPOSSIBLE = "impossible"
    NAMELESS = "nameless"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNSORTED = "unsorted"
    BACKWARDS = "backwards"
    OFF_SCHEDULE = "off_schedule"

    @property
    def code(self) -> DataCode:
        """What it is called wherever it is found, and what becomes of the row."""
        return _CODES[self]


_CODES: Final = {
    Finding.BAD_TIMESTAMP: DataCode.BAD_TIMESTAMP,
    Finding.OFF_GRID: DataCode.OFF_GRID,
    Finding.FUTURE: DataCode.FUTURE,
    Finding.OUTSIDE: DataCode.OUTSIDE,
    Finding.OPEN: DataCode.OPEN,
    Finding.NOT_A_NUMBER: DataCode.NOT_A_NUMBER,
    Finding.NEGATIVE: DataCode.NEGATIVE,
    Finding.IMPOSSIBLE: DataCode.OHLC_VIOLATED,
    Finding.NAMELESS: DataCode.NAMELESS,
    Finding.DUPLICATE: DataCode.DUPLICATE,
    Finding.CONFLICT: DataCode.CONFLICT,
    Finding.UNSORTED: DataCode.UNSORTED,
    Finding.BACKWARDS: DataCode.BACKWARDS,
    Finding.OFF_SCHEDULE: DataCode.OFF_SCHEDULE,
}
