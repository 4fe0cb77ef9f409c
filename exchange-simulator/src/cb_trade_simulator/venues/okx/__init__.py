"""OKX's public REST interface, version 5: spot and linear perpetuals.

Sources: https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks
"""

from __future__ import annotations

from cb_trade_simulator.venues.okx.exchange import Okx

__all__ = ["Okx"]
