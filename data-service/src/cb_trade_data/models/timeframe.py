"""The grid: the open times that a timeframe allows, counted so that paging and planning are plain integer work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from cb_trade_data.models.instants import EPOCH, to_ms, to_ms_ceil
from cb_trade_data.models.time_range import TimeRange

_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_MONDAY_BEFORE_EPOCH: Final = datetime(1969, 12, 29, tzinfo=UTC)
_COUNT_MAX: Final = 999
_NAME: Final = re.compile(r"([1-9][0-9]{0,2})([smhdwM])")


@dataclass(frozen=True)
class Timeframe:
    """The length of a bar: `5m`, `1h`, `1d`, `1w` (from Monday 00:00 UTC), `1M` (calendar months).

    Every bar has an ordinal on its grid, so that "how many bars" and "n bars later" are integer arithmetic even for
    months. Ordinals mean nothing outside their own timeframe.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, name: str) -> Timeframe:
        """Read a timeframe in CCXT's spelling.

        Raises:
            ValueError: *name* is not a count followed by one of s, m, h, d, w, M.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"not a timeframe: {name!r}")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @cached_property
    def is_calendar(self) -> bool:
        """Whether bars differ in length (months)."""
        return self.unit == "M"

    @cached_property
    def duration_ms(self) -> int:
        """The length of one bar in milliseconds; for months the longest there is, good for estimates and ordering."""
        return self.count * (31 * _UNIT_MS["d"] if self.is_calendar else _UNIT_MS[self.unit])

    @cached_property
    def duration(self) -> timedelta:
        """The same as a span of time."""
        return timedelta(milliseconds=self.duration_ms)

    @cached_property
    def _origin(self) -> datetime:
        return _MONDAY_BEFORE_EPOCH if self.unit == "w" else EPOCH

    @cached_property
    def _origin_ms(self) -> int:
        return to_ms(self._origin)

    def holds(self, finer: Timeframe) -> bool:
        """Tell whether every bar is made of whole bars of *finer*. Says no of months, whatever they are made of."""
        if self.is_calendar or finer.is_calendar or self.duration_ms % finer.duration_ms:
            return False
        return (self._origin_ms - finer._origin_ms) % finer.duration_ms == 0

    def is_made_of(self, finer: Timeframe) -> bool:
        """Tell whether every bar is made of several whole bars of *finer*: months of days or less, or of months."""
        if finer.duration_ms >= self.duration_ms:
            return False
        if not self.is_calendar:
            return self.holds(finer)
        return self.count % finer.count == 0 if finer.is_calendar else _DAY.holds(finer)

    def ordinal(self, instant: datetime) -> int:
        """Return the ordinal of the bar that holds *instant*."""
        if self.is_calendar:
            return (instant.year * 12 + instant.month - 1) // self.count
        return (instant - self._origin) // self.duration

    def opens_at(self, ordinal: int) -> datetime:
        """Return the open time of the bar with that ordinal."""
        if self.is_calendar:
            year, month = divmod(ordinal * self.count, 12)
            return datetime(year, month + 1, 1, tzinfo=UTC)
        return self._origin + ordinal * self.duration

    def floor(self, instant: datetime) -> datetime:
        """Return the open time of the bar that holds *instant*."""
        if self.is_calendar:
            return self.opens_at(self.ordinal(instant))
        return instant - (instant - self._origin) % self.duration

    def ceil(self, instant: datetime) -> datetime:
        """Return the first open time at or after *instant*."""
        floor = self.floor(instant)
        return floor if floor == instant else self.advance(floor, 1)

    def advance(self, instant: datetime, bars: int) -> datetime:
        """Return the open time *bars* after that of the bar that holds *instant*."""
        if self.is_calendar:
            return self.opens_at(self.ordinal(instant) + bars)
        return self.floor(instant) + bars * self.duration

    def closed_until(self, now: datetime, settle_margin: timedelta) -> datetime:
        """Return the exclusive end of the newest closed bar: closed means open + timeframe ≤ now − settle margin."""
        return self.floor(now - settle_margin)

    def snap(self, wanted: TimeRange) -> TimeRange | None:
        """Return the bars that open inside *wanted* as a range with grid edges, or None where no bar opens in it."""
        start, end = self.ceil(wanted.start), self.ceil(wanted.end)
        if (start, end) == (wanted.start, wanted.end):
            return wanted
        return TimeRange(start, end) if start < end else None

    def bars_in(self, wanted: TimeRange) -> int:
        """Return how many bars open inside *wanted*."""
        if self.is_calendar:
            return self.ordinal(self.ceil(wanted.end)) - self.ordinal(self.ceil(wanted.start))
        return (self._origin - wanted.start) // self.duration - (self._origin - wanted.end) // self.duration

    def bar(self, open_time: datetime) -> TimeRange:
        """Return the span of the bar that opens at *open_time*."""
        return TimeRange(open_time, self.advance(open_time, 1))

    def on_grid(self, opens_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Tell for each epoch millisecond whether a bar of this timeframe opens there."""
        if self.is_calendar:
            months = opens_ms.astype("datetime64[ms]").astype("datetime64[M]")
            is_first = months.astype("datetime64[ms]").astype(np.int64) == opens_ms
            # Months since year 0, as `ordinal` counts them.
            aligned = (months.astype(np.int64) + EPOCH.year * 12) % self.count == 0
            return np.asarray(is_first & aligned)
        return np.asarray((opens_ms - self._origin_ms) % self.duration_ms == 0)

    def opens_in(self, wanted: TimeRange) -> npt.NDArray[np.int64]:
        """Return the epoch milliseconds at which bars open inside *wanted*, ascending."""
        if self.is_calendar:
            first = self.ordinal(self.ceil(wanted.start))
            months = np.arange(first, first + self.bars_in(wanted)) * self.count - EPOCH.year * 12
            return np.asarray(months.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64))
        return np.arange(to_ms(self.ceil(wanted.start)), to_ms_ceil(wanted.end), self.duration_ms)

    def opens_ms(self, times_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return for each epoch millisecond the open time of the bar that holds it."""
        if self.is_calendar:
            months = times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
            # Months since year 0, as `ordinal` counts them.
            first_months = months - (months + EPOCH.year * 12) % self.count
            return first_months.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
        return times_ms - (times_ms - self._origin_ms) % self.duration_ms

    def runs(self, opens_ms: npt.NDArray[np.int64]) -> Iterator[TimeRange]:
        """Yield the spans that consecutive bars form.

        Args:
            opens_ms: Open times on the grid, ascending and unique, in epoch milliseconds.
        """
        if len(opens_ms) == 0:
            return
        if self.is_calendar:
            ordinals = (
                opens_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) + EPOCH.year * 12
            ) // (self.count)
        else:
            ordinals = (opens_ms - self._origin_ms) // self.duration_ms
        breaks = np.flatnonzero(np.diff(ordinals) != 1) + 1
        for run in np.split(ordinals, breaks):
            yield TimeRange(self.opens_at(int(run[0])), self.opens_at(int(run[-1]) + 1))


#: The grid of what happens at any time: a row of it lies in a millisecond as a bar lies in its own span.
EVERY_MS: Final = Timeframe(1, "ms")

_DAY: Final = Timeframe(1, "d")


def _derivable() -> Iterator[Timeframe]:
    """Yield what bars can be made for whoever asks: each length by its shortest name, shortest first."""
    for unit, next_unit in (("s", "m"), ("m", "h"), ("h", "d")):
        for count in range(1, _COUNT_MAX + 1):
            length_ms = count * _UNIT_MS[unit]
            if _UNIT_MS["d"] % length_ms == 0 and length_ms % _UNIT_MS[next_unit]:
                yield Timeframe(count, unit)
    yield from (_DAY, Timeframe(1, "w"))
    yield from (Timeframe(count, "M") for count in range(1, 13) if 12 % count == 0)


#: What shorter bars are put together to: lengths that divide a day, days, weeks, and months that divide a year.
DERIVABLE: Final = tuple(sorted(_derivable(), key=lambda each: each.duration_ms))


def source_of(wanted: Timeframe, known: Iterable[Timeframe]) -> Timeframe | None:
    """Return the longest of *known* that bars of *wanted* can be put together from; None where none will do."""
    if wanted not in _DERIVABLE:
        return None
    return max(filter(wanted.is_made_of, known), key=lambda each: each.duration_ms, default=None)


@lru_cache
def derivable_from(known: tuple[str, ...]) -> tuple[str, ...]:
    """Return what bars can be put together from those of *known* and are none of these, shortest first."""
    timeframes = tuple(map(Timeframe.parse, known))
    made = (each for each in DERIVABLE if source_of(each, timeframes) is not None)
    return tuple(name for name in map(str, made) if name not in known)


def other_name(timeframe: str, names: Iterable[str]) -> str | None:
    """Return the first of *names* that means the same bars as *timeframe* and is another one; None where none does."""
    try:
        wanted = Timeframe.parse(timeframe)
    except ValueError:
        return None
    for name in names:
        other = Timeframe.parse(name)
        if other != wanted and other.holds(wanted) and wanted.holds(other):
            return name
    return None


_DERIVABLE: Final = frozenset(DERIVABLE)
