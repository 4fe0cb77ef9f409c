"""What a perpetual's holders pay each other every few hours, from its listing to its end."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import DAY_MS, HOUR_MS, from_milliseconds, to_milliseconds
from cb_trade_simulator.markets.days import HORIZON, Days
from cb_trade_simulator.markets.randomness import Stream, generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.changes import Changes, Life
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Instants

FUNDING = np.dtype(
    [
        ("timestamp", np.int64),  # when it was paid, milliseconds since 1970 UTC
        ("rate", np.float64),  # of the position's worth; above zero the long side pays
        ("mark_price", np.float64),  # NaN where nobody knows it
    ]
)

INTEREST = 1e-4  # what is paid while the perpetual costs about what the coin costs
CLAMP = 5e-4  # how far the premium may differ from that without showing
MOOD_HOURS = 72  # the premium wanders this slowly
MOOD_SPREAD, NOISE = 6e-4, 1e-4  # standard deviations of the premium's slow and quick parts
MARK_NOISE = 1e-4  # relative distance of the mark price from the day's line
SHARE_LATE = 0.6  # of the payments are booked some milliseconds after the hour, where they may be
PLACES = 1e8  # rates and mark prices are whole multiples of 10^-8


class Funding:
    """The funding of one perpetual, or the recorded one that is told in its stead.

    Instants are milliseconds since 1970 UTC; spans include start and exclude end. It goes on while the venue stands
    still. There is none at the very instant of the listing, and none from the market's end on. Safe to use from several
    threads.

    Args:
        market: The perpetual.
        changes: What has been decreed for it; looked at anew with every question.
        seed: The simulator's seed.
        jitter_ms: How long after the full hour a payment may be booked, at most.
    """

    def __init__(self, market: Market, changes: Changes, seed: int, jitter_ms: int) -> None:
        self._market = market
        self._changes = changes
        self._seed = seed
        self._jitter_ms = jitter_ms
        self._of_lives = lru_cache(1)(self._make)

    @property
    def is_recorded(self) -> bool:
        """Whether recorded rows are told instead of made ones."""
        return self._changes.recorded_funding is not None

    def paid(self, start_ms: int, end_ms: int, now_ms: int) -> Rows:
        """Return the `FUNDING` rows booked in [start, end) and not after now, oldest first."""
        rows = self._changes.recorded_funding
        rows = self._of_lives(self._changes.lives) if rows is None else rows
        first, stop = np.searchsorted(rows["timestamp"], (start_ms, min(end_ms, now_ms + 1)))
        return rows[first : max(first, stop)]

    def oldest(self, count: int, start_ms: int, end_ms: int, now_ms: int) -> Rows:
        """Return the first *count* rows in [start, end), oldest first; fewer if there are no more."""
        return self.paid(start_ms, end_ms, now_ms)[:count]

    def newest(self, count: int, end_ms: int, now_ms: int, start_ms: int = 0) -> Rows:
        """Return the last *count* rows in [start, end), oldest first; fewer if there are no more."""
        rows = self.paid(start_ms, end_ms, now_ms)
        return rows[max(len(rows) - count, 0) :]

    def hours_at(self, now_ms: int) -> int:
        """Return every how many hours it is paid at *now_ms*."""
        hours = self._market.funding_hours
        for since, changed in self._market.funding_changes:
            hours = changed if to_milliseconds(since) <= now_ms else hours
        return hours

    def _make(self, lives: tuple[Life, ...]) -> Rows:
        made = [self._of_life(self._seed + number, life) for number, life in enumerate(lives)]
        rows = np.concatenate(made)
        rows.flags.writeable = False
        return rows

    def _of_life(self, seed: int, life: Life) -> Rows:
        """Return all funding of one life. Hours are drawn from the listing on, so that the end changes none."""
        random = generator(seed, self._market.symbol, Stream.FUNDING)
        hours = np.arange(life.begin_ms // HOUR_MS + 1, to_milliseconds(HORIZON) // HOUR_MS)
        premium = _premium(random, len(hours))
        late_ms = random.integers(self._jitter_ms + 1, size=len(hours)) * (random.random(len(hours)) < SHARE_LATE)
        mark = self._line(seed, life, hours) * (1 + MARK_NOISE * random.standard_normal(len(hours)))
        rows = np.empty(len(hours), FUNDING)
        rows["timestamp"] = hours * HOUR_MS + late_ms
        rows["rate"] = _whole(premium + np.clip(INTEREST - premium, -CLAMP, CLAMP))
        rows["mark_price"] = _whole(mark)
        stop = len(hours) if life.end_ms is None else np.searchsorted(hours * HOUR_MS, life.end_ms)
        paid: Rows = rows[:stop][self._is_due(hours[:stop])]
        return paid

    def _is_due(self, hours: Instants) -> npt.NDArray[np.bool_]:
        """Return for each hour since 1970 whether funding is paid at its start."""
        due: npt.NDArray[np.bool_] = hours % self._market.funding_hours == 0
        for since, every in self._market.funding_changes:
            due = np.where(hours < to_milliseconds(since) // HOUR_MS, due, hours % every == 0)
        return due

    def _line(self, seed: int, life: Life, hours: Instants) -> npt.NDArray[np.float64]:
        """Return the price at each hour, on straight lines (in logarithms) from one day's open to the next."""
        days = Days(self._market.listed_at(from_milliseconds(life.begin_ms)), seed)
        opens = [days.log_open(day) for day in range(days.first, days.last + 2)]
        return np.exp(np.interp(hours * HOUR_MS / DAY_MS, np.arange(days.first, days.last + 2), opens))


def recorded_funding(
    times_ms: Sequence[int], rates: Sequence[float], mark_prices: Sequence[float] | None = None
) -> Rows:
    """Return `FUNDING` rows, oldest first; those of one instant stay in the order given.

    Raises ValueError if there are not as many rates or mark prices as times.
    """
    rows = np.empty(len(times_ms), FUNDING)
    prices = [np.nan] * len(rows) if mark_prices is None else mark_prices
    for name, values in (("timestamp", times_ms), ("rate", rates), ("mark_price", prices)):
        if len(values) != len(rows):
            raise ValueError(f"{len(rows)} times, but {len(values)} values of {name}")
        rows[name] = values
    rows = rows[np.argsort(rows["timestamp"], kind="stable")]
    rows.flags.writeable = False
    return rows


def _premium(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    knots = random.standard_normal(count // MOOD_HOURS + 2) * MOOD_SPREAD
    mood = np.interp(np.arange(count) / MOOD_HOURS, np.arange(len(knots)), knots)
    return np.asarray(mood + NOISE * random.standard_normal(count))


def _whole(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values with eight decimals: exactly what `float()` makes of their text."""
    return np.asarray(np.rint(values * PLACES) / PLACES)
