"""Candles out of an exchange's answer: what CCXT's class would read, a column at a time, in half the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

Candle = Sequence[Any]
"""Open time in milliseconds, open, high, low, close, volume."""

_FIELDS: Final = 6
# Ten digits would be a second since 1970; a probe must not look like a time to anybody.
_PROBE: Final = 1_000
_MS_PER_UNIT: Final = (1, 1_000)
_WHOLE: Final = {int, str}
_NUMBER: Final = {int, float, str}


def candle_rows(answer: list[Any], parse: Callable[[Any], Candle]) -> list[Candle]:
    """Return the candles of an answer as *parse* would read each of them.

    CCXT's classes only pick cells by position or by name. Which ones is found out with a row whose cells can be told
    apart; that it is right is checked with the first and the last row. Whatever does not fit, a missing number too, is
    left to *parse*, row by row.
    """
    if answer and (layout := _layout(answer[0], parse)) is not None:
        rows = layout.read(answer)
        if rows is not None and tuple(parse(answer[0])) == rows[0] and tuple(parse(answer[-1])) == rows[-1]:
            return rows
    return [parse(candle) for candle in answer]


@dataclass(frozen=True)
class _Layout:
    """Where the cells of a candle are, the time first, and in which unit the time is."""

    cells: Sequence[Any]
    ms_per_unit: int

    def read(self, answer: list[Any]) -> list[Candle] | None:
        """Return the candles; None where a cell is not what it should be."""
        try:
            times, *columns = (list(map(itemgetter(cell), answer)) for cell in self.cells)
            # An instant with a fraction is not ours to round.
            if not set(map(type, times)) <= _WHOLE or any(not set(map(type, column)) <= _NUMBER for column in columns):
                return None
            opens = [int(value) * self.ms_per_unit for value in times]
            return list(zip(opens, *(map(float, column) for column in columns), strict=True))
        except (LookupError, TypeError, ValueError):
            return None


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
