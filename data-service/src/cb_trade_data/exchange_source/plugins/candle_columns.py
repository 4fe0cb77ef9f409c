"""Candles out of an exchange's answer: what CCXT's class would read of each, taken a column at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP

Candle = Sequence[Any]
"""Open time in milliseconds, open, high, low, close, volume."""

_FIELDS: Final = len(OHLCV_SCHEMA)
# Ten digits would be a second since 1970; a probe must not look like a time to anybody.
_PROBE: Final = 1_000
_MS_PER_UNIT: Final = (1, 1_000)


def candle_columns(answer: list[Any], parse: Callable[[Any], Candle]) -> pa.Table:
    """Return the candles of an answer as *parse* would read each of them, in the order in which they came.

    If the last is earlier than the first, for some exchanges answer newest first, all are turned around, which costs
    nothing here. Whether they are in order is not asked.

    CCXT's classes only pick cells by position or by name. Which ones is found out with a row whose cells can be told
    apart; that it is right is checked with the first and the last row. Whatever does not fit is left to *parse*, row by
    row. A missing number becomes NaN.

    Raises:
        ValueError, OverflowError: A candle has no time, or one that no column can hold.
    """
    ends = [parse(answer[place]) for place in (0, -1)] if answer else []
    if ends and _is_earlier(ends[-1], ends[0]):
        answer, ends = answer[::-1], ends[::-1]
    if ends and (layout := _layout(answer[0], parse)) is not None:
        table = layout.read(answer)
        if table is not None and all(_is_row(table, place, ends[place]) for place in (0, -1)):
            return table
    rows = [parse(candle)[:_FIELDS] for candle in answer]
    if not all(isinstance(row[0], int) for row in rows):
        raise ValueError("a candle without a time")
    times, *numbers = zip(*rows, strict=True) if rows else [()] * _FIELDS
    return _table(pa.array(times, pa.int64()), [pa.array(np.array(each, np.float64)) for each in numbers])


@dataclass(frozen=True)
class _Layout:
    """Where the cells of a candle are, the time first, and in which unit the time is."""

    cells: Sequence[Any]
    ms_per_unit: int

    def read(self, answer: list[Any]) -> pa.Table | None:
        """Return the candles; None where a cell is not what it should be."""
        try:
            times, *numbers = (_column(list(map(itemgetter(cell), answer))) for cell in self.cells)
            if not (pa.types.is_integer(times.type) or pa.types.is_string(times.type)):
                return None  # An instant with a fraction is not ours to round.
            opens = pc.multiply_checked(times.cast(pa.int64()), self.ms_per_unit)
            return _table(opens, [column.cast(pa.float64()) for column in numbers])
        except (LookupError, TypeError, pa.ArrowInvalid):
            return None


def _column(cells: list[Any]) -> pa.Array:
    """Return cells of one type, none of them missing; raises TypeError for others."""
    if isinstance(cells[0], str):
        column = pa.array(cells, pa.string())  # takes nothing else, but for None
        if column.null_count:
            raise TypeError("a missing cell")
        return column
    kinds = set(map(type, cells))
    if kinds <= {int}:
        return pa.array(cells, pa.int64())
    if kinds <= {int, float}:
        return pa.array(cells, pa.float64())
    raise TypeError(f"cells of {kinds}")


def _layout(candle: Any, parse: Callable[[Any], Candle]) -> _Layout | None:
    names = list(candle) if isinstance(candle, dict) else list(range(len(candle)))
    marks = {str(_PROBE + place): name for place, name in enumerate(names)}
    probe: Any = {name: mark for mark, name in marks.items()} if isinstance(candle, dict) else list(marks)
    try:
        read = parse(probe)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    if len(read) != _FIELDS or not all(isinstance(value, int | float) for value in read):
        return None
    for ms_per_unit in _MS_PER_UNIT:
        found = [marks.get(f"{value:.12g}") for value in (read[0] / ms_per_unit, *read[1:])]
        if None not in found:
            return _Layout(found, ms_per_unit)
    return None


def _is_earlier(candle: Candle, other: Candle) -> bool:
    times = candle[0], other[0]
    return all(isinstance(time, int) for time in times) and times[0] < times[1]


def _table(opens_ms: pa.Array, numbers: list[pa.Array]) -> pa.Table:
    return pa.Table.from_arrays([opens_ms.cast(TIMESTAMP), *numbers], schema=OHLCV_SCHEMA)


def _is_row(table: pa.Table, place: int, candle: Candle) -> bool:
    opens, *numbers = table.columns
    row = [opens[place].value, *(column[place].as_py() for column in numbers)]
    return list(candle) == row
