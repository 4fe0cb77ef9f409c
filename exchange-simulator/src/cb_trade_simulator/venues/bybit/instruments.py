"""What Bybit tells about its markets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cb_trade_simulator.markets.history import History


def instrument(history: History, now_ms: int) -> dict[str, Any]:
    """Return one entry of `/v5/market/instruments-info`."""
    market = history.market
    entry = {
        "symbol": market.base + market.quote,
        "status": "Trading" if history.is_traded(now_ms) else "Closed",
        "baseCoin": market.base,
        "quoteCoin": market.quote,
    }
    return entry | (_perpetual(history, now_ms) if market.is_perpetual else _spot(history))


def _spot(history: History) -> dict[str, Any]:
    market = history.market
    return {
        "innovation": "0",
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": market.amount_step,
            "quotePrecision": "0.00000001",
            "minOrderQty": market.amount_step,
            "maxOrderQty": "1000000",
            "minOrderAmt": "5",
            "maxOrderAmt": "4000000",
        },
        "priceFilter": {"tickSize": market.price_tick},
    }


def _perpetual(history: History, now_ms: int) -> dict[str, Any]:
    market = history.market
    return {
        "contractType": "LinearPerpetual",
        "settleCoin": market.quote,
        "launchTime": str(history.listed_ms),
        "deliveryTime": "0",
        "priceScale": str(market.price_decimals),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": market.price_tick, "maxPrice": "1999999.80", "tickSize": market.price_tick},
        "lotSizeFilter": {
            "minOrderQty": market.amount_step,
            "maxOrderQty": "1190.000",
            "qtyStep": market.amount_step,
            "minNotionalValue": "5",
        },
        "fundingInterval": history.funding.hours_at(now_ms) * 60,
    }
