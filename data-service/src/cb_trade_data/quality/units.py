"""Prices in another unit: ten, a hundred, a thousand times what they are before and after."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from cb_trade_data.quality.bars import Bars, RowNumbers

# Between a close and the open right after it prices move by less than this, give or take; a jump that is a power of ten
# but for so little is one of units.
_MOVE_MAX: Final = 1.2
# From where on jumps are looked for: less cannot be ten times as much, but for that move.
_FACTOR_MIN: Final = 10 / _MOVE_MAX
# No exchange counts in more than billionths.
_EXPONENT_MAX: Final = 9


def may_change_unit(bars: Bars) -> bool:
    """Tell whether any of the rows can be in another unit than another one; cheap, and never wrongly no."""
    return len(bars) > 1 and not bars.high.max() < bars.low.min() * _FACTOR_MIN


def exponents(bars: Bars) -> npt.NDArray[np.int64]:
    """Return for each row the power of ten by which its prices differ from the unit that most of the rows are in."""
    with np.errstate(divide="ignore", invalid="ignore"):  # prices may be 0
        opened, closed = np.log10(bars.open), np.log10(bars.close)
        jumps = opened[1:] - closed[:-1]
        powers = np.rint(jumps)
        is_jump = (np.abs(jumps - powers) <= np.log10(_MOVE_MAX)) & (np.abs(powers) <= _EXPONENT_MAX)
        # A bar that falls to a tenth within itself is in no other unit, nor is the next one, which opens as usual.
        for ends in (opened, closed):
            is_jump &= np.sign(powers) * np.diff(ends) > np.abs(powers) / 2
    units = np.concatenate([[0], np.cumsum(np.where(is_jump, powers, 0.0).astype(np.int64))])
    found, counts = np.unique(units, return_counts=True)
    return np.asarray(units - found[counts.argmax()])


def in_other_unit(bars: Bars) -> RowNumbers:
    """Return the rows whose prices are in another unit than those of most of the rows."""
    return np.flatnonzero(exponents(bars))
