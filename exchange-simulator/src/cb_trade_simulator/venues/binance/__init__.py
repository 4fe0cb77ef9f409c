"""Binance's public spot REST interface, as the real one speaks it.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api and recorded answers.
"""

from __future__ import annotations

from cb_trade_simulator.venues.binance.exchange import Binance

__all__ = ["Binance"]
