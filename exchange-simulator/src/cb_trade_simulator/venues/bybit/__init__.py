"""Bybit's public REST interface, version 5: spot and linear perpetuals.

Sources: https://bybit-exchange.github.io/docs/v5/market/kline and https://bybit-exchange.github.io/docs/v5/rate-limit
"""

from __future__ import annotations

from cb_trade_simulator.venues.bybit.exchange import Bybit

__all__ = ["Bybit"]
