"""Coinbase Advanced Trade's public REST interface.

Sources: https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-product-candles
"""

from __future__ import annotations

from cb_trade_simulator.venues.coinbase.exchange import Coinbase

__all__ = ["Coinbase"]
