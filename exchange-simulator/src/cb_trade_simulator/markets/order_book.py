"""What might stand in the order book at an instant, around the last price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.markets.randomness import Stream, generator

if TYPE_CHECKING:
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Instants

GAP = 4e-6  # mean distance between two levels, relative to the price
DEPTH = 5_000  # levels on each side, at most
SECOND_MS = 1_000


@dataclass(frozen=True, slots=True)
class OrderBook:
    """Prices in ticks and amounts in steps, best level first on each side; the best bid is below the best ask."""

    bid_prices: Instants
    bid_amounts: Instants
    ask_prices: Instants
    ask_amounts: Instants


def order_book(market: Market, seed: int, last_price: int, now_ms: int) -> OrderBook:
    """Return the book around *last_price* (ticks); a new one every second."""
    random = generator(seed, market.symbol, Stream.ORDER_BOOK, now_ms // SECOND_MS)
    gaps = 1 + random.poisson(last_price * GAP, (2, DEPTH))
    bids = last_price + random.integers(2) - np.cumsum(gaps[0])  # the last trade met the bid or the ask
    asks = bids[0] + np.cumsum(gaps[1])
    typical = market.trade_value / (last_price / 10**market.price_decimals) * 10**market.amount_decimals
    amounts = 1 + np.rint(typical * random.exponential(size=(2, DEPTH)) ** 2).astype(np.int64)
    bids = bids[bids > 0]
    return OrderBook(bids, amounts[0][: len(bids)], asks, amounts[1])
