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
_LATE_AT_MOST: Final = timedelta(minutes=1)
# So many intervals on either side tell what the schedule is; it changes from time to time.
_LOOKED_AT: Final = 3


def holes(times_ms: npt.NDArray[np.int64], answered: TimeRange) -> Iterator[TimeRange]:
    """Yield the ranges in which funding is missing, each from before the first missing time to the next row's.

    Before it: the one that is missing may have been booked sooner after its full hour than the row before it was.

    An interval is too long where it is longer than those before it and those after it, or than any schedule's: where
    the schedule changes, it is as long as those of one side. Of the first and the last interval, which have one side
    only, it is not known otherwise.

    Args:
        times_ms: When it was paid, at least once: a full hour, give or take minutes; ascending and unique.
        answered: Of which the exchange has told all that it has; where it begins or ends more than an interval away
            from any row, there is a hole as well.
    """
    if from_ms(int(times_ms[0])) - answered.start > INTERVAL_MAX + _LATE_AT_MOST:
        yield TimeRange(answered.start, from_ms(int(times_ms[0])))
    hours = np.rint(np.diff(times_ms) / _HOUR_MS).astype(np.int64).tolist()
    for place, length in enumerate(hours):
        sides = [hours[max(0, place - _LOOKED_AT) : place], hours[place + 1 : place + 1 + _LOOKED_AT]]
        usual = [median(side) for side in sides if side]
        if length > _INTERVAL_MAX_HOURS or (all(sides) and all(length > each for each in usual)):
            interval_hours = min([_INTERVAL_MAX_HOURS, *usual])
            start = from_ms(int(times_ms[place])) + timedelta(hours=interval_hours) - _LATE_AT_MOST
            yield TimeRange(start, from_ms(int(times_ms[place + 1])))
    if answered.end - from_ms(int(times_ms[-1])) > INTERVAL_MAX + _LATE_AT_MOST:
        recent = hours[-_LOOKED_AT:]
        interval_hours = min(_INTERVAL_MAX_HOURS, median(recent)) if recent else _INTERVAL_MAX_HOURS
        yield TimeRange(from_ms(int(times_ms[-1])) + timedelta(hours=interval_hours) - _LATE_AT_MOST, answered.end)
