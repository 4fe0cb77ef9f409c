"""One row of facts per exchange."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from cb_trade_data.exchange_source.facts import ExchangeFacts

EXCHANGES: Final = (
    ExchangeFacts(
        # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
        # From startTime ascending, both ends inclusive; before listing it jumps to the first candle.
        id="binance",
        timeframes=(
            "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
        ),
        page_limit_bars=1000,
        jumps_to_first=True,
        ccxt_options=MappingProxyType({"fetchMarkets": {"types": ["spot"]}}),
    ),
)  # fmt: skip
