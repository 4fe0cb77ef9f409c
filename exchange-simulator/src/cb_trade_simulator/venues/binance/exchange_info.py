"""What Binance tells about itself and its markets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.market import Market

RATE_LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
]
ORDER_TYPES = [
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
]


def market_id(market: Market) -> str:
    """Return Binance's name of the market: `BTCUSDT`."""
    return market.base + market.quote


def exchange_info(histories: Iterable[History], now_ms: int) -> dict[str, Any]:
    """Return the answer of `/api/v3/exchangeInfo`."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": RATE_LIMITS,
        "exchangeFilters": [],
        "symbols": [_symbol(history, now_ms) for history in histories],
    }


def futures_exchange_info(histories: Iterable[History], now_ms: int) -> dict[str, Any]:
    """Return the answer of `/fapi/v1/exchangeInfo`."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_perpetual(history, now_ms) for history in histories],
    }


def _symbol(history: History, now_ms: int) -> dict[str, Any]:
    market = history.market
    return {
        "symbol": market_id(market),
        "status": _status(history, now_ms),
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(market),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _perpetual(history: History, now_ms: int) -> dict[str, Any]:
    market = history.market
    tick, step = market.price_tick, market.amount_step
    return {
        "symbol": market_id(market),
        "pair": market_id(market),
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": history.listed_ms,
        "status": _status(history, now_ms),
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": market.price_decimals,
        "quantityPrecision": market.amount_decimals,
        "underlyingType": "COIN",
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000", "stepSize": step},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
    }


def _status(history: History, now_ms: int) -> str:
    return "TRADING" if history.is_traded(now_ms) else "BREAK"


def _filters(market: Market) -> list[dict[str, Any]]:
    tick, step = _smallest(market.price_decimals), _smallest(market.amount_decimals)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "92141578.00000000", "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000" if market.quote == "USDT" else "0.00010000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]


def _smallest(decimals: int) -> str:
    return f"{10.0**-decimals:.8f}"
