"""The minutes of one day, made without the days around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cb_trade_simulator.clock import DAY_MS, MINUTE_MS, to_milliseconds
from cb_trade_simulator.markets.candle import CANDLE, NO_CANDLES
from cb_trade_simulator.markets.outages import hit_by
from cb_trade_simulator.markets.randomness import Stream, generator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.days import Days
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.outages import Outage

MINUTES_PER_DAY = DAY_MS // MINUTE_MS
HOURS_PER_DAY = 24
MAX_TRADES_PER_MINUTE = 9_999  # trade ids leave four digits for the trades of a minute

MOOD_SPREAD = 0.45  # an hour's mood multiplies volatility by about e^±0.45
BURST_SPREAD = 0.35  # and so does each single minute
VOLUME_SPREAD = 0.5
FIRST_TRADE_DRIFT = 0.1  # how far a minute's first trade strays from the close before it, in volatilities

Floats = npt.NDArray[np.float64]


def _season() -> Floats:
    """Return how restless each minute of a day is by habit: asleep around 04 UTC, awake when New York opens."""
    hour = np.arange(MINUTES_PER_DAY) / 60
    habit = 1 + 0.3 * np.cos((hour - 15) / HOURS_PER_DAY * 2 * np.pi)
    habit[::60] *= 1.25  # full hours
    return np.asarray(habit / np.sqrt(np.mean(habit**2)))


SEASON = _season()


def minutes_of_day(market: Market, days: Days, outages: Iterable[Outage], seed: int, day: int) -> Rows:
    """Return the day's one-minute candles, ascending; none before the listing or in an outage.

    A minute without trades is flat at the close before it. So that a day needs nothing from the day before, three
    minutes always see a trade: the first after the listing, the first after an outage, and the last of a day.

    Args:
        market: The pair.
        days: Its long shape.
        outages: When its venue stands still.
        seed: The simulator's seed.
        day: Which day, counted from 1970.
    """
    if not days.first <= day <= days.last:
        return NO_CANDLES
    opens = day * DAY_MS + np.arange(-1, MINUTES_PER_DAY) * MINUTE_MS
    open_for_trade = (opens >= to_milliseconds(market.listed)) & ~hit_by(outages, opens)
    exists = open_for_trade[1:]
    must_trade = exists & ~open_for_trade[:-1]
    must_trade[-1] = True

    random = generator(seed, market.symbol, Stream.MINUTES, day)
    typical = market.daily_volatility / np.sqrt(MINUTES_PER_DAY)
    burst = np.exp(BURST_SPREAD * random.standard_normal(MINUTES_PER_DAY))
    volatility = days.volatility(day) / np.sqrt(MINUTES_PER_DAY) * SEASON * _moods(market, seed, day) * burst
    close = _closes(random, volatility, days.log_open(day), days.log_open(day + 1))
    activity = market.trades_per_minute * days.maturity(day) * volatility / typical
    trades = np.minimum(random.poisson(activity), MAX_TRADES_PER_MINUTE)

    rows = np.zeros(MINUTES_PER_DAY, CANDLE)
    rows["timestamp"] = opens[1:]
    rows["trades"] = np.where(must_trade, np.maximum(trades, 1), trades)
    _fill_prices(rows, market, random, volatility, days.log_open(day), close)
    _fill_amounts(rows, market, random, np.exp(close))
    rows = rows[exists]
    _flatten_quiet_minutes(rows, int(_ticks(days.log_open(day), market)))
    rows.flags.writeable = False
    return rows


def _moods(market: Market, seed: int, day: int) -> Floats:
    """Return a factor for each minute that swings from hour to hour and has no jump at midnight."""

    def at_full_hours(of_day: int) -> Floats:
        return generator(seed, market.symbol, Stream.HOURS, of_day).standard_normal(HOURS_PER_DAY)

    knots = np.append(at_full_hours(day), at_full_hours(day + 1)[0])
    hour = np.arange(MINUTES_PER_DAY) / 60
    return np.asarray(np.exp(MOOD_SPREAD * np.interp(hour, np.arange(HOURS_PER_DAY + 1), knots)))


def _closes(random: np.random.Generator, volatility: Floats, log_open: float, log_close: float) -> Floats:
    """Return the logarithm of each minute's close: a walk bent so that it ends where the next day opens."""
    walk = np.cumsum(volatility * random.standard_normal(MINUTES_PER_DAY))
    elapsed = np.cumsum(volatility**2)
    closes: Floats = log_open + walk + (log_close - log_open - walk[-1]) * elapsed / elapsed[-1]
    closes[-1] = log_close  # to the last bit: the next day starts from the same number
    return closes


def _fill_prices(
    rows: Rows, market: Market, random: np.random.Generator, volatility: Floats, log_open: float, close: Floats
) -> None:
    before = np.concatenate(([log_open], close[:-1]))
    first = before + FIRST_TRADE_DRIFT * volatility * random.standard_normal(MINUTES_PER_DAY)
    # The extremes of a Brownian bridge from the first price to the last, by inverting their distribution.
    reach = -2 * volatility**2 * np.log(1 - random.random((2, MINUTES_PER_DAY)))
    centre, swing = (first + close) / 2, np.sqrt((close - first) ** 2 + reach) / 2
    single = rows["trades"] == 1
    rows["close"] = _ticks(close, market)
    rows["open"] = np.where(single, rows["close"], _ticks(first, market))
    highest = np.maximum(rows["open"], rows["close"])
    lowest = np.minimum(rows["open"], rows["close"])
    # The first and the last trade make the body; a third can make the upper shadow, only a fourth the lower one.
    rows["high"] = np.where(rows["trades"] > 2, np.maximum(highest, _ticks(centre + swing[0], market)), highest)
    rows["low"] = np.where(rows["trades"] > 3, np.minimum(lowest, _ticks(centre - swing[1], market)), lowest)


def _fill_amounts(rows: Rows, market: Market, random: np.random.Generator, price: Floats) -> None:
    size = np.exp(VOLUME_SPREAD * random.standard_normal(MINUTES_PER_DAY) - VOLUME_SPREAD**2 / 2)
    steps = rows["trades"] * market.trade_value / price * size * 10**market.amount_decimals
    rows["volume"] = np.maximum(np.rint(steps), rows["trades"])  # no trade is smaller than one step
    rows["taker_buy_volume"] = np.floor(rows["volume"] * random.beta(4, 4, MINUTES_PER_DAY))
    # The mean price is taken as that of the four prices: inside the candle, and exact in whole numbers.
    four_prices = rows["open"] + rows["high"] + rows["low"] + rows["close"]
    for amount, worth in (("volume", "quote_volume"), ("taker_buy_volume", "taker_buy_quote_volume")):
        rows[worth] = rows[amount] * four_prices // 4


def _flatten_quiet_minutes(rows: Rows, first_close: int) -> None:
    """Set all prices of minutes without trades to the last close before them, *first_close* if the day has none."""
    traded = np.where(rows["trades"] > 0, np.arange(len(rows)), -1)
    last_traded = np.maximum.accumulate(traded)
    closes = np.append(rows["close"], first_close)[last_traded]  # -1 picks the appended one
    for price in ("open", "high", "low", "close"):
        rows[price] = np.where(rows["trades"] > 0, rows[price], closes)


def _ticks(logarithm: Floats | float, market: Market) -> npt.NDArray[np.int64]:
    return np.asarray(np.rint(np.exp(logarithm) * 10**market.price_decimals), np.int64)
