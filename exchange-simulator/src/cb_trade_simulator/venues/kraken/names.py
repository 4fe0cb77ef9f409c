"""Kraken's names: the oldest currencies have an X or a Z in front, and bitcoin is XBT."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cb_trade_simulator.markets.market import Market

LEGACY = {"BTC": "XXBT", "ETH": "XETH", "USD": "ZUSD"}
SHORT = {"BTC": "XBT"}


def asset_id(currency: str) -> str:
    """Return the id of a currency: `XXBT`, `USDT`."""
    return LEGACY.get(currency, currency)


def short_name(currency: str) -> str:
    """Return the other name of a currency: `XBT`, `USDT`."""
    return SHORT.get(currency, currency)


def pair_short_name(market: Market) -> str:
    """Return the other name of a pair: `XBTUSD`, `XBTUSDT`."""
    return short_name(market.base) + short_name(market.quote)


def pair_id(market: Market) -> str:
    """Return the id of a pair: `XXBTZUSD` where both currencies are old, else the other name."""
    if market.base in LEGACY and market.quote in LEGACY:
        return LEGACY[market.base] + LEGACY[market.quote]
    return pair_short_name(market)
