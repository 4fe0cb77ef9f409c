"""Where times and values lie in a picture, and which of them are written at its edges. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

# Lengths of time between two ticks, in months and in days: the first that is not too dense is taken.
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120)
_DAYS: Final = (1, 2, 7, 14)
_MOST_TIME_TICKS: Final = 9

# From this ratio of the highest to the lowest on, equal steps are equal factors.
_RATIO_OF_FACTORS: Final = 5
_VALUE_TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Times from `start` to `end`, from `left` to `right`."""

    start: datetime
    end: datetime
    left: float
    right: float

    def place(self, moment: datetime) -> float:
        """Return where *moment* lies; times outside lie at the edges."""
        part = (moment - self.start) / max(self.end - self.start, timedelta(milliseconds=1))
        return round(self.left + min(max(part, 0.0), 1.0) * (self.right - self.left), 1)

    def ticks(self) -> list[Tick]:
        """Return the beginnings of years, months or days, no more than fit."""
        days = (self.end - self.start) / timedelta(days=1)
        for step in _DAYS:
            if days / step <= _MOST_TIME_TICKS:
                moments = [moment for moment in self._days(step) if self.start <= moment < self.end]
                return [Tick(self.place(moment), f"{moment:%m-%d}") for moment in moments]
        step = next((step for step in _MONTHS if days / 30.44 / step <= _MOST_TIME_TICKS), _MONTHS[-1])
        form = "%Y" if step >= 12 else "%Y-%m"
        moments = [moment for moment in self._months(step) if self.start <= moment < self.end]
        return [Tick(self.place(moment), f"{moment:{form}}") for moment in moments]

    def _days(self, step: int) -> Iterator[datetime]:
        moment = datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)
        while moment < self.end:
            yield moment
            moment += timedelta(days=step)

    def _months(self, step: int) -> Iterator[datetime]:
        for month in range(self.start.year * 12 // step * step, self.end.year * 12 + 12, step):
            yield datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ValueAxis:
    """Values from `low`, at `bottom`, to `high`, at `top`; equal steps are equal factors where it `is_of_factors`."""

    low: float
    high: float
    top: float
    bottom: float
    is_of_factors: bool = False

    @classmethod
    def of_prices(cls, low: float, high: float, top: float, bottom: float) -> "ValueAxis":
        """Return an axis with some room around prices from *low* to *high*."""
        if low > 0 and high / low >= _RATIO_OF_FACTORS:
            return cls(low / 1.1, high * 1.1, top, bottom, is_of_factors=True)
        room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
        return cls(low - room, high + room, top, bottom)

    def place(self, value: float) -> float:
        """Return where *value* lies; values outside lie at the edges."""
        low, high, value = (self._scaled(each) for each in (self.low, self.high, value))
        part = (value - low) / (high - low)
        return round(self.bottom - min(max(part, 0.0), 1.0) * (self.bottom - self.top), 1)

    def ticks(self) -> list[Tick]:
        """Return round values, the lowest first."""
        values = self._factors() if self.is_of_factors else self._steps()
        return [Tick(self.place(value), f"{value:,.6g}") for value in values]

    def _scaled(self, value: float) -> float:
        # What has no logarithm lies at the lower edge.
        return math.log(max(value, self.low)) if self.is_of_factors else value

    def _steps(self) -> list[float]:
        unit = 10.0 ** math.floor(math.log10(self.high - self.low))
        for step in (unit, unit / 2, unit / 5, unit / 10):
            # With a little room, since 0.99 is no whole number of hundredths in binary.
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first + 1 >= _VALUE_TICKS:
                break
        return [number * step for number in range(first, last + 1)]

    def _factors(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            values = [digit * 10.0**power for power in powers for digit in digits]
            shown = [value for value in values if self.low <= value <= self.high]
            if len(shown) <= 2 * _VALUE_TICKS:
                return shown
        return shown[:: -(-len(shown) // (2 * _VALUE_TICKS))]
