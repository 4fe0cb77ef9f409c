"""Making longer candles out of shorter ones, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.markets.candle import CANDLE, NO_CANDLES

if TYPE_CHECKING:
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.timeframes import Timeframe

SUMMED = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")


def fold(rows: Rows, timeframe: Timeframe) -> Rows:
    """Return the candles of *timeframe* that *rows* make up, oldest first.

    A candle without a single row inside does not exist. Rows without a trade make one only where there are no others:
    a candle opens with its first trade, not with the close that a quiet minute before it repeats.

    Args:
        rows: Shorter candles, ascending; lengths may be mixed, but none may straddle two candles of *timeframe*.
        timeframe: The grid to fold them onto.
    """
    if len(rows) == 0:
        return NO_CANDLES
    opens = timeframe.opens(rows["timestamp"])
    firsts = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
    is_traded = rows["trades"] > 0
    if not is_traded.all():
        has_trades = np.repeat(np.logical_or.reduceat(is_traded, firsts), np.diff(firsts, append=len(rows)))
        rows, opens = (each[is_traded | ~has_trades] for each in (rows, opens))
        firsts = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
    lasts = np.append(firsts[1:], len(rows)) - 1
    folded = np.empty(len(firsts), CANDLE)
    folded["timestamp"] = opens[firsts]
    folded["open"] = rows["open"][firsts]
    folded["high"] = np.maximum.reduceat(rows["high"], firsts)
    folded["low"] = np.minimum.reduceat(rows["low"], firsts)
    folded["close"] = rows["close"][lasts]
    for name in SUMMED:
        folded[name] = np.add.reduceat(rows[name], firsts)
    return folded
