"""Bars that stand out: a price or a volume that the bars around it come nowhere near."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from cb_trade_data.quality.bars import PRICES, Bars, Flags, Numbers, RowNumbers, median, quantile

# A departure of less than this is no reason to look, however quiet the market is: two exchanges differ by as much, and
# a tick is many spreads where nothing moves.
_DEPARTURE_MIN: Final = 0.02
# Who went and came back is beyond where the market was before and where it is after: the median of three bars, of which
# one may be wrong itself. A crash that stays is beyond one of the two only. A minute later than that the market has
# gone on, and what was usual there is not any more.
NEAREST_BARS: Final = 3
# Spreads are taken from so many bars on either side: enough for a fifth of them to be a few, and no more than a spell
# of quiet or haste lasts.
_REACH_BARS: Final = 12
# The spread that one bar in five around it exceeds: a single wrong one among them, or four, do not change it, and after
# a crash it is as wide as the crash has made bars.
_WIDE_SHARE: Final = 0.8
# How many such spreads away a close, and the end of a wick, is odd. In what exchanges have recorded closes came to 2.2,
# wicks to 3.6, but for one: orders do run through a thin book and back within a bar.
_CLOSE_SPREADS: Final = 2.5
_WICK_SPREADS: Final = 4.0
# So many rows are judged at a time: what is made of the bars around each, 1 kB or so, stays in cache.
_AT_ONCE: Final = 4_096
# So many bars, taken evenly, tell what the least step of prices is.
_TICK_BARS: Final = 4_096
# Fewer bars than this say nothing of what is usual.
_BARS_MIN: Final = 6

# Volumes differ by more than prices do: ten times as much as usual is every week's news. Twenty times is rare, and more
# rare where volumes around it scatter little: recorded ones that were twenty times as much came to three of the
# deviations that one bar in five around exceeds. Too little is not odd: any minute may be quiet. Nor is what is traded
# between bars in which nothing was.
_VOLUME_FACTOR: Final = 20.0
_VOLUME_DEVIATIONS: Final = 4.0


def may_be_price_outliers(bars: Bars) -> RowNumbers:
    """Return the rows, the first and the last left out, that are worth a look; cheap, and never without one that is."""
    factor = 1 + _DEPARTURE_MIN
    closes = bars.close[:-2], bars.close[2:]
    is_far = bars.high[1:-1] > np.maximum(*closes) * factor
    is_far |= bars.low[1:-1] * factor < np.minimum(*closes)
    numbers = np.flatnonzero(is_far) + 1
    # Of a wick, and of a close, those beside it are told apart for these few alone.
    before, after = numbers - 1, numbers + 1
    is_far = np.zeros(len(numbers), np.bool_)
    for tops, bottoms in ((bars.close, bars.close), (bars.high, bars.low)):
        is_far |= tops[numbers] > np.maximum(tops[before], tops[after]) * factor
        is_far |= bottoms[numbers] * factor < np.minimum(bottoms[before], bottoms[after])
    return numbers[is_far]


def may_be_price_outliers_alone(bars: Bars, numbers: RowNumbers) -> Flags:
    """Tell of each of these rows, beside which there is none on one side, whether it is worth a look.

    Where the market was, or is afterwards, is then where the row itself opened or closed.
    """
    opened, closed = bars.open[numbers], bars.close[numbers]
    is_high = bars.high[numbers] > np.minimum(opened, closed) * (1 + _DEPARTURE_MIN)
    is_low = bars.low[numbers] * (1 + _DEPARTURE_MIN) < np.maximum(opened, closed)
    return np.asarray(is_high | is_low)


def may_be_volume_outliers(bars: Bars) -> Flags:
    """Tell of each row but the first and the last whether it is worth a look; cheap, and never wrongly no."""
    beside = np.maximum(bars.volume[:-2], bars.volume[2:])
    return np.asarray((bars.volume[1:-1] > beside * _VOLUME_FACTOR) & (beside > 0))


def may_be_volume_outliers_alone(bars: Bars, numbers: RowNumbers) -> Flags:
    """Tell of each of these rows, beside which there is none on one side, whether it is worth a look.

    Whichever of the two that lie next to it is none, the other one traded no less than the lesser of them.
    """
    before, after = np.maximum(numbers - 1, 0), np.minimum(numbers + 1, len(bars) - 1)
    lesser = np.minimum(bars.volume[before], bars.volume[after])
    return np.asarray(bars.volume[numbers] > lesser * _VOLUME_FACTOR)


def price_outliers(bars: Bars, numbers: RowNumbers) -> RowNumbers:
    """Return those of these rows whose close, or a wick of which, went far from the bars around it and came back.

    Args:
        numbers: In any order; a row may be in it twice, and is returned once.
    """
    found, least_step = [numbers[:0]], tick(bars) if len(numbers) else 0.0
    for some in _parts(numbers):
        found.append(_gone_and_back(bars, some, bars.close, bars.close, _CLOSE_SPREADS, least_step))
        found.append(_gone_and_back(bars, some, bars.high, bars.low, _WICK_SPREADS, least_step))
    return np.unique(np.concatenate(found))


def volume_outliers(bars: Bars, numbers: RowNumbers) -> RowNumbers:
    """Return those of these rows that traded far more than the bars beside it, and than those around it that did.

    Args:
        numbers: As for `price_outliers`.
    """
    found = [_far_more(bars, some) for some in _parts(numbers)]
    return np.unique(np.concatenate([numbers[:0], *found]))


def usual_close(bars: Bars, number: int) -> float:
    """Return what the bars around a row closed at: the median of those that are nearest."""
    places, is_there = bars.around(np.array([number]), NEAREST_BARS)
    return float(median(bars.close[places], is_there)[0])


def usual_volume(bars: Bars, number: int) -> float:
    """Return what those of the bars around a row traded that did trade: their median."""
    places, is_there = bars.around(np.array([number]), _REACH_BARS)
    return float(median(bars.volume[places], is_there & (bars.volume[places] > 0))[0])


def odd_prices(bars: Bars, number: int, least_step: float) -> tuple[str, ...]:
    """Return which prices of a row that is a price outlier are far from what is usual, the farthest first.

    Where no bars are near, where it opened and closed is what is usual, as in `_departures`.

    Args:
        least_step: The `tick` of all bars.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        usual = np.log([usual_close(bars, number)])
        if np.isnan(usual).all():
            usual = np.log([bars.open[number], bars.close[number]])
        spread = float(_wide_spread(bars, np.array([number]), least_step)[0])
        departures = {
            name: float(np.abs(np.log(prices[number]) - usual).min())
            for name, prices in zip(PRICES, bars.prices, strict=True)
        }
    farthest_first = sorted(departures, key=lambda name: -departures[name])
    limit = max(_CLOSE_SPREADS * spread, float(np.log1p(_DEPARTURE_MIN)))
    return tuple(name for place, name in enumerate(farthest_first) if place == 0 or departures[name] > limit)


def _parts(numbers: RowNumbers) -> Iterator[RowNumbers]:
    for first in range(0, len(numbers), _AT_ONCE):
        yield numbers[first : first + _AT_ONCE]


def _far_more(bars: Bars, numbers: RowNumbers) -> RowNumbers:
    """Return those of these rows that are volume outliers."""
    places, is_there = bars.around(numbers, 1)
    beside = np.where(is_there, bars.volume[places], 0).max(axis=1)
    numbers = numbers[(bars.volume[numbers] > beside * _VOLUME_FACTOR) & (beside > 0)]
    if len(numbers) == 0:
        return numbers
    places, is_there = bars.around(numbers, _REACH_BARS)
    around, own = bars.volume[places], bars.volume[numbers]
    is_there &= around > 0
    counts = np.count_nonzero(is_there, axis=1)
    are_less = np.count_nonzero(is_there & (around * _VOLUME_FACTOR < own[:, None]), axis=1)
    is_odd = (counts >= _BARS_MIN) & (2 * are_less > counts)  # than half of them, that is than their median
    if not is_odd.any():
        return numbers[:0]
    numbers, own, is_there = numbers[is_odd], own[is_odd], is_there[is_odd]
    volumes = np.log(around[is_odd])
    usual = median(volumes, is_there)
    deviation = quantile(np.abs(volumes - usual[:, None]), is_there, _WIDE_SHARE)
    return np.asarray(numbers[np.log(own) - usual > _VOLUME_DEVIATIONS * deviation])


def _gone_and_back(
    bars: Bars, numbers: RowNumbers, tops: Numbers, bottoms: Numbers, spreads_max: float, least_step: float
) -> RowNumbers:
    """Return those of these rows that went far above the *tops* around them, or far below the *bottoms*."""
    departures: Numbers = np.empty(0)
    for reach in (1, NEAREST_BARS):  # it is one bar: even those right beside it do not get there
        departures = _departures(bars, numbers, tops, bottoms, reach)
        is_far = departures > np.log1p(_DEPARTURE_MIN)
        numbers, departures = numbers[is_far], departures[is_far]
        if len(numbers) == 0:
            return numbers
    return numbers[departures > spreads_max * _wide_spread(bars, numbers, least_step)]


def _departures(bars: Bars, numbers: RowNumbers, tops: Numbers, bottoms: Numbers, reach: int) -> Numbers:
    """Return by how much, as a logarithm, each row is beyond both where the market was and where it is afterwards.

    Where no bar is before it, that is where it opened; where none is after it, where it closed: whether it comes back
    is not known.
    """
    places, is_there = bars.around(numbers, reach)
    limits = []
    for ends in (tops, bottoms):
        values = ends[places]
        was = median(values[:, :reach], is_there[:, :reach])
        will_be = median(values[:, reach:], is_there[:, reach:])
        was = np.where(np.isnan(was), bars.open[numbers], was)
        will_be = np.where(np.isnan(will_be), bars.close[numbers], will_be)
        limits.append((was, will_be))
    above = np.log(tops[numbers]) - np.log(np.maximum(*limits[0]))
    below = np.log(np.minimum(*limits[1])) - np.log(bottoms[numbers])
    return np.asarray(np.fmax(above, below))  # where prices of 0 are usual, one of 0 is no departure


def tick(bars: Bars) -> float:
    """Return the least difference of two prices to which the market came back, of some thousand closes.

    0 where it came back to few of them: prices have many digits then, and two that agree do so by chance. To close
    where the bar before did is not to come back: feeds hang, and exchanges fill in quiet minutes.
    """
    closes = bars.close[:: 1 + len(bars) // _TICK_BARS]
    closes = closes[np.diff(closes, prepend=np.nan) != 0]
    prices, counts = np.unique(closes, return_counts=True)
    again = counts > 1
    steps = np.diff(prices[again])
    return float(steps.min()) if len(steps) and 2 * counts[again].sum() > len(closes) else 0.0


def _wide_spread(bars: Bars, numbers: RowNumbers, least_step: float) -> Numbers:
    """Return, as a logarithm, the spread from low to high that few bars around each row exceed; NaN where few are.

    No less than a tick, where prices are low: where they have few digits, trades go one up and down, whatever that is
    in percent, and most bars have no spread at all.
    """
    places, is_there = bars.around(numbers, _REACH_BARS)
    spreads = quantile(np.log(bars.high[places]) - np.log(bars.low[places]), is_there, _WIDE_SHARE)
    low = quantile(bars.close[places], is_there, 1 - _WIDE_SHARE)  # not the lowest, which may be wrong itself
    spreads = np.maximum(spreads, np.log1p(least_step / low))
    return np.where(np.count_nonzero(is_there, axis=1) >= _BARS_MIN, spreads, np.nan)
