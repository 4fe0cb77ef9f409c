"""Bars that repeat: of a feed that hangs, or of a market in which nothing happens, which is told by what is around."""

from __future__ import annotations

from typing import Final

import numpy as np

from cb_trade_data.quality.bars import Bars, Flags, RowNumbers

# How lively a market is, is told by so many bars before a run and after it: an hour or two of minutes, for markets fall
# asleep at night.
_REACH_BARS: Final = 64
# With fewer of them nothing is told.
_BARS_MIN: Final = 16
# As often as bars around it are flat, a run as long as this one would begin at one bar in a million. Where none of 128
# is flat, three in a row are such a run; where every tenth is, seven; where every second is, as in markets whose quiet
# minutes Binance and Kraken fill, twenty.
_CHANCE_MAX: Final = 1e-6
_RUN_MIN: Final = 3


def may_repeat(bars: Bars) -> Flags:
    """Tell of each row but the first whether it is worth a look as a stale repeat; cheap, and never wrongly no."""
    return np.asarray(bars.volume[1:] == bars.volume[:-1])


def is_flat(bars: Bars) -> Flags:
    """Tell of each row whether its price did not move."""
    return np.asarray(bars.high == bars.low)


def stale_repeats(bars: Bars, numbers: RowNumbers) -> RowNumbers:
    """Return those of these rows, none of them the first, that moved, and just as the bar right before them did.

    By chance that does not happen where something is traded: five numbers agree to the last digit.
    """
    numbers = numbers[bars.follow(numbers)]
    is_repeat = (bars.volume[numbers] > 0) & (bars.high[numbers] > bars.low[numbers])
    for column in (*bars.prices, bars.volume):
        is_repeat &= column[numbers] == column[numbers - 1]
    return numbers[is_repeat]


def flat_runs(bars: Bars, flat: RowNumbers) -> RowNumbers:
    """Return those of the *flat* rows, which are all there are, that stand at one price for longer than by chance.

    Bars that an exchange fills in for minutes without trades are flat, too: where there are many of them, a run of them
    is nothing odd.
    """
    if len(flat) == 0:
        return flat
    goes_on = np.zeros(len(flat), np.bool_)
    goes_on[1:] = (np.diff(flat) == 1) & (bars.close[flat[1:]] == bars.close[flat[:-1]]) & bars.follow(flat[1:])
    firsts = np.flatnonzero(~goes_on)
    counts = np.diff(firsts, append=len(flat))
    is_long = counts >= _RUN_MIN
    firsts, counts = firsts[is_long], counts[is_long]
    first_rows, ends = flat[firsts], flat[firsts] + counts

    reach_ms = 2 * _REACH_BARS * bars.duration_ms
    since = np.maximum(first_rows - _REACH_BARS, np.searchsorted(bars.times_ms, bars.times_ms[first_rows] - reach_ms))
    until = np.minimum(ends + _REACH_BARS, np.searchsorted(bars.times_ms, bars.times_ms[ends - 1] + reach_ms, "right"))
    until = np.minimum(until, len(bars))
    flat_around = np.searchsorted(flat, until) - np.searchsorted(flat, since) - counts
    bars_around = until - since - counts
    # As if one more of either sort were there: what was never seen in a few bars is not impossible.
    share = (flat_around + 1) / (bars_around + 2)
    is_odd = (share**counts <= _CHANCE_MAX) & (bars_around >= _BARS_MIN)
    runs = zip(first_rows[is_odd].tolist(), ends[is_odd].tolist(), strict=True)
    return np.concatenate([flat[:0], *(np.arange(first, end) for first, end in runs)])
