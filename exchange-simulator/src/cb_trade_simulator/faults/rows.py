"""Spoiling a page of candles, funding rates or trades in the ways that real exchanges have been seen to."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cb_trade_simulator.clock import DAY_MS

if TYPE_CHECKING:
    from cb_trade_simulator.venues.row_shape import RowShape


def duplicate(rows: list[Any], _shape: RowShape) -> None:
    """Tell the middle row twice."""
    middle = len(rows) // 2
    rows.insert(middle, copy.copy(rows[middle]))


def conflict(rows: list[Any], shape: RowShape) -> None:
    """Tell the middle row twice, the second time with other prices."""
    middle = len(rows) // 2
    other = copy.copy(rows[middle])
    for price in shape.prices:
        other[price] = _like(other[price], float(other[price]) * 1.5)
    rows.insert(middle + 1, other)


def stray(rows: list[Any], shape: RowShape) -> None:
    """Add a row from a day before the first and one from a day after the last."""
    days = -1 if shape.newest_first else 1
    first, last = copy.copy(rows[0]), copy.copy(rows[-1])
    first[shape.time] = _days_later(first[shape.time], -days, shape)
    last[shape.time] = _days_later(last[shape.time], days, shape)
    rows[:] = [first, *rows, last]


def null_prices(rows: list[Any], shape: RowShape) -> None:
    """Leave the middle row without prices."""
    row = rows[len(rows) // 2]
    for price in shape.prices:
        row[price] = None


def leave_out(rows: list[Any], _shape: RowShape) -> None:
    """Leave the middle row out."""
    del rows[len(rows) // 2]


def unsort(rows: list[Any], _shape: RowShape) -> None:
    """Tell the odd rows after the even ones."""
    rows[:] = rows[::2] + rows[1::2]


def shift_off_grid(rows: list[Any], shape: RowShape) -> None:
    """Tell every row half a minute late."""
    for row in rows:
        row[shape.time] = _like(row[shape.time], int(row[shape.time]) + 30_000 // shape.unit_ms)


def change_unit(rows: list[Any], shape: RowShape) -> None:
    """Tell every time in a unit a thousand times finer."""
    for row in rows:
        row[shape.time] = _like(row[shape.time], int(row[shape.time]) * 1000)


def drop(rows: list[Any], _shape: RowShape) -> None:
    """Tell none, as if there were nothing."""
    rows.clear()


def _days_later(time: Any, days: int, shape: RowShape) -> Any:
    """Return a row's time so many days later, written as it was."""
    if shape.iso_time:
        return (datetime.fromisoformat(time) + timedelta(days=days)).isoformat().replace("+00:00", "Z")
    return _like(time, int(time) + days * DAY_MS // shape.unit_ms)


def _like(pattern: Any, value: float) -> Any:
    """Return *value* written as *pattern* is: as text or as a number."""
    return f"{value:g}" if isinstance(pattern, str) and isinstance(value, float) else type(pattern)(value)
