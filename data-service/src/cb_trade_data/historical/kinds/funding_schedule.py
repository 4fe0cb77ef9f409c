"""The schedule of funding: where, between the times at which it was paid, it must have been paid as well. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from statistics import median
from typing import Final

import numpy as np
import numpy.typing as npt

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.time_range import TimeRange

_HOUR_MS: Final = 3_600_000
# No exchange that is served here pays less often:
# https://www.binance.com/en/support/faq/introduction-to-binance-futures-funding-rates-360033525031
_INTERVAL_MAX_HOURS: Final = 8
INTERVAL_MAX: Final = timedelta(hours=_INTERVAL_MAX_HOURS)
# A payment may be booked so much sooner after its full hour than another one.
_JITTER: Final = timedelta(minutes=1)
# So many intervals on either side tell what the schedule is; it changes from time to time.
_LOOKED_AT: Final = 3


def holes(times_ms: npt.NDArray[np.int64], answered: TimeRange) -> Iterator[TimeRange]:
    """Yield the ranges in which funding is missing, each from before the first missing time to the next row's.

    An interval is too long where it is longer than those before it and those after it, or than any schedule's: where
    the schedule changes, it is as long as those of one side. Of the first and the last one, which have one side only,
    it is not known otherwise. Before the first row and after the last one, the intervals beside it are taken for the
    schedule.

    Args:
        times_ms: When it was paid, at least once: a full hour, give or take minutes; ascending and unique.
        answered: Of which the exchange has told all that it has.
    """
    hours = _hours(times_ms)
    first, last = from_ms(int(times_ms[0])), from_ms(int(times_ms[-1]))
    due_before = first - timedelta(hours=_usual(hours[:_LOOKED_AT]))
    if due_before >= answered.start:
        yield TimeRange(answered.start, min(due_before + _JITTER, first))
    for place, length in enumerate(hours):
        sides = [hours[max(0, place - _LOOKED_AT) : place], hours[place + 1 : place + 1 + _LOOKED_AT]]
        usual = [median(side) for side in sides if side]
        if length > _INTERVAL_MAX_HOURS or (all(sides) and all(length > each for each in usual)):
            interval_hours = min([_INTERVAL_MAX_HOURS, *usual])
            start = from_ms(int(times_ms[place])) + timedelta(hours=interval_hours) - _JITTER
            yield TimeRange(start, from_ms(int(times_ms[place + 1])))
    due_after = last + timedelta(hours=_usual(hours[-_LOOKED_AT:]))
    if due_after < answered.end:
        yield TimeRange(due_after - _JITTER, answered.end)


def believed(times_ms: npt.NDArray[np.int64], *, newest_first: bool) -> int:
    """Return up to which time, or from which one on, a page is believed that was cut there.

    Not beyond an interval that is longer than those before it, of which only what follows tells whether it has a hole.

    Args:
        times_ms: Of its rows, ascending and unique, two or more.
        newest_first: Whether it was cut before the first row, else behind the last one.
    """
    hours = _hours(times_ms)
    if newest_first:
        is_odd = len(hours) > 1 and hours[0] > median(hours[1 : 1 + _LOOKED_AT])
        return int(times_ms[1]) if is_odd else int(times_ms[0]) + 1
    is_odd = len(hours) > 1 and hours[-1] > median(hours[-1 - _LOOKED_AT : -1])
    return int(times_ms[-2]) + 1 if is_odd else int(times_ms[-1])


def _hours(times_ms: npt.NDArray[np.int64]) -> list[int]:
    hours: list[int] = np.rint(np.diff(times_ms) / _HOUR_MS).astype(np.int64).tolist()
    return hours


def _usual(hours: list[int]) -> float:
    return min(_INTERVAL_MAX_HOURS, median(hours)) if hours else _INTERVAL_MAX_HOURS
