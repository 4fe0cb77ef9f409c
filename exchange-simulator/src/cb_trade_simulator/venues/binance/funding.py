"""Funding as Binance writes it.

Sources:
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Get-Funding-Rate-History
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Get-Funding-Rate-Info
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cb_trade_simulator.venues.decimals import decimals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cb_trade_simulator.markets.candle import Rows

USUAL_FUNDING_HOURS = 8
PLACES = 8


def funding_rows(name: str, rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield the rows of `/fapi/v1/fundingRate`; a mark price that nobody knows is an empty text."""
    for time_ms, rate, mark_price in rows.tolist():
        mark = "" if math.isnan(mark_price) else decimals(mark_price, PLACES)
        yield {"symbol": name, "fundingTime": time_ms, "fundingRate": decimals(rate, PLACES), "markPrice": mark}


def funding_terms(name: str, hours: int) -> dict[str, Any]:
    """Return one entry of `/fapi/v1/fundingInfo`."""
    return {
        "symbol": name,
        "adjustedFundingRateCap": "0.02000000",
        "adjustedFundingRateFloor": "-0.02000000",
        "fundingIntervalHours": hours,
        "disclaimer": False,
    }
