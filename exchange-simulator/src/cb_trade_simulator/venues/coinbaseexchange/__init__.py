"""Coinbase Exchange's public REST interface.

Sources: https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
"""

from __future__ import annotations

from cb_trade_simulator.venues.coinbaseexchange.exchange import CoinbaseExchange

__all__ = ["CoinbaseExchange"]
