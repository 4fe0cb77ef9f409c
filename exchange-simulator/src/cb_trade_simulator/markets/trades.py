"""The single trades inside a minute, which add up to its candle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import MINUTE_MS
from cb_trade_simulator.markets.candle import NO_CANDLES, candle
from cb_trade_simulator.markets.randomness import Stream, generator

if TYPE_CHECKING:
    import numpy.typing as npt

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market

TRADE = np.dtype(
    [
        ("id", np.int64),  # ascending with time; unlike a real exchange's, not without gaps
        ("timestamp", np.int64),
        ("price", np.int64),  # ticks
        ("amount", np.int64),  # steps
        ("buyer_is_maker", np.bool_),
    ]
)
IDS_PER_MINUTE = 10_000


def trades_of_minute(market: Market, seed: int, minute: np.void) -> Rows:
    """Return the `TRADE` rows of one finished minute candle, oldest first.

    They open, touch and close where the candle does, and their amounts sum to its volume.
    """
    count = int(minute["trades"])
    if count == 0:
        return np.empty(0, TRADE)
    number = int(minute["timestamp"]) // MINUTE_MS
    random = generator(seed, market.symbol, Stream.TRADES, number)
    trades = np.empty(count, TRADE)
    trades["id"] = number * IDS_PER_MINUTE + np.arange(count)
    trades["timestamp"] = minute["timestamp"] + np.sort(random.integers(MINUTE_MS, size=count))
    trades["price"] = _prices(random, minute, count)
    trades["amount"] = _shares(random, int(minute["volume"]), count)
    trades["buyer_is_maker"] = random.integers(2, size=count) == 0
    return trades


def unfinished_minute(minute: np.void, trades: Rows, now_ms: int, close_before: int | None) -> Rows:
    """Return the candle that the minute's trades up to *now_ms* (inclusive) make: one row, or none.

    Args:
        minute: The finished candle.
        trades: All its trades.
        now_ms: An instant inside the minute.
        close_before: The close that a minute without trades so far repeats; None right after a listing.
    """
    done = trades[trades["timestamp"] <= now_ms]
    if len(done) == 0:
        if close_before is None:
            return NO_CANDLES
        flat = close_before
        return candle(timestamp=minute["timestamp"], open=flat, high=flat, low=flat, close=flat)
    worth = done["price"] * done["amount"]
    bought = ~done["buyer_is_maker"]
    return candle(
        timestamp=minute["timestamp"],
        open=done["price"][0],
        high=done["price"].max(),
        low=done["price"].min(),
        close=done["price"][-1],
        volume=done["amount"].sum(),
        quote_volume=worth.sum(),
        trades=len(done),
        taker_buy_volume=done["amount"][bought].sum(),
        taker_buy_quote_volume=worth[bought].sum(),
    )


def _prices(random: np.random.Generator, minute: np.void, count: int) -> npt.NDArray[np.int64]:
    """Return prices that start at the open, end at the close, touch high and low and never leave them."""
    middle = random.permutation(np.arange(1, max(count - 1, 1)))[:2]
    corners = {0: minute["open"], count - 1: minute["close"]}
    corners |= dict(zip(middle.tolist(), (minute["high"], minute["low"]), strict=False))
    places = sorted(corners)
    line = np.interp(np.arange(count), places, [float(corners[place]) for place in places])
    noise = random.standard_normal(count) * (minute["high"] - minute["low"]) / 8
    noise[places] = 0
    return np.asarray(np.clip(np.rint(line + noise), minute["low"], minute["high"]), np.int64)


def _shares(random: np.random.Generator, total: int, count: int) -> npt.NDArray[np.int64]:
    """Return *count* whole amounts of at least one step that sum to *total*: many small ones, a few large."""
    weights = np.cumsum(random.exponential(size=count) ** 2)
    cuts = np.floor(weights / weights[-1:] * (total - count)).astype(np.int64)
    return np.diff(cuts, prepend=0) + 1
