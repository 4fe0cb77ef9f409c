"""Crypto.com Exchange's public REST interface.

Sources: https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#public-get-candlestick
"""

from __future__ import annotations

from cb_trade_simulator.venues.cryptocom.exchange import CryptoCom

__all__ = ["CryptoCom"]
