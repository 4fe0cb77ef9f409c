"""The single trades inside a minute, which add up to its candle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import MINUTE_MS, MS_NS
from cb_trade_simulator.markets.candle import NO_CANDLES, candle
from cb_trade_simulator.markets.randomness import Stream, generator

if TYPE_CHECKING:
    import numpy.typing as npt

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Instants

TRADE = np.dtype(
    [
        ("id", np.int64),  # ascending with time; unlike a real exchange's, not without gaps
        ("timestamp", np.int64),
        ("price", np.int64),  # ticks
        ("amount", np.int64),  # steps
        ("buyer_is_maker", np.bool_),
    ]
)
FLOAT_TRADE = np.dtype(
    [
        ("id", np.int64),
        ("timestamp", np.int64),
        ("price", np.float64),
        ("amount", np.float64),
        ("buyer_is_maker", np.bool_),
    ]
)
NO_TRADES: Rows = np.empty(0, TRADE)
IDS_PER_MINUTE = 10_000
SHARE_AT_ONCE = 0.3  # of the trades happen in the same millisecond as the one before: one order that met several
# Nanoseconds of a trade into its millisecond: so many for each trade of its minute before it. The first one of a minute
# is at the very beginning of its millisecond: who asks from there on loses it where that is exclusive. All of a minute
# fit into one millisecond, and none is so near to its end that seconds written as a float would miss it.
STEP_NS = 99


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
    first_at_once = np.where(random.random(count) < SHARE_AT_ONCE, 0, np.arange(count))
    trades["timestamp"] = trades["timestamp"][np.maximum.accumulate(first_at_once)]
    return trades


def nanoseconds(trades: Rows) -> Instants:
    """Return when the trades happened, to the nanosecond: no two of a market at the same."""
    into = STEP_NS * (trades["id"] % IDS_PER_MINUTE)
    return np.asarray(trades["timestamp"] * MS_NS + into, np.int64)


def minute_of(trade_id: int) -> int:
    """Return the open time in milliseconds of the minute in which a trade of this id would be."""
    return trade_id // IDS_PER_MINUTE * MINUTE_MS


def to_float_trades(trades: Rows, market: Market) -> Rows:
    """Return `FLOAT_TRADE` rows holding exactly what `float()` makes of the decimals on the wire."""
    floats = np.empty(len(trades), FLOAT_TRADE)
    for same in ("id", "timestamp", "buyer_is_maker"):
        floats[same] = trades[same]
    floats["price"] = trades["price"] / 10.0**market.price_decimals
    floats["amount"] = trades["amount"] / 10.0**market.amount_decimals
    return floats


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
