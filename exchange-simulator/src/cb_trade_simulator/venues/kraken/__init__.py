"""Kraken's public spot REST interface: of candles it has the newest 720, and no others.

Sources: https://docs.kraken.com/api/docs/rest-api/get-ohlc-data and a recorded answer.
"""

from __future__ import annotations

from cb_trade_simulator.venues.kraken.exchange import Kraken

__all__ = ["Kraken"]
