"""Coinbase's addresses, limits and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from cb_trade_simulator.clock import MS_NS, from_milliseconds
from cb_trade_simulator.json_rows import Decimals, json_rows
from cb_trade_simulator.limits import Bucket
from cb_trade_simulator.markets.catalogue import BTC_USD, SPOT
from cb_trade_simulator.markets.outages import Outage
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import choose, shifted
from cb_trade_simulator.venues.columns import amount, iso_time, price, seconds, size, taker_side
from cb_trade_simulator.venues.rest import Refused, RestVenue, Route, whole_number
from cb_trade_simulator.venues.row_shape import RowShape, list_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cb_trade_simulator.json_rows import Part
    from cb_trade_simulator.limits import Allowance
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Timeframe
    from cb_trade_simulator.venues.rest import Call

MOST = 350
TRADES, MOST_TRADES = 100, 1000
GRANULARITIES = {
    "ONE_MINUTE": "1m",
    "FIVE_MINUTE": "5m",
    "FIFTEEN_MINUTE": "15m",
    "THIRTY_MINUTE": "30m",
    "ONE_HOUR": "1h",
    "TWO_HOUR": "2h",
    "SIX_HOUR": "6h",
    "ONE_DAY": "1d",
}
PRODUCTS = "/api/v3/brokerage/market/products"
FIAT = ("EUR", "USD")


class Coinbase(RestVenue):
    """The spot exchange behind the retail application. It has no candle for a minute without trades."""

    hosts = frozenset({"api.coinbase.com"})
    markets: ClassVar[tuple[Market, ...]] = (*SPOT, BTC_USD)
    outages: ClassVar[tuple[Outage, ...]] = (
        Outage(datetime(2021, 5, 19, 13, 5, tzinfo=UTC), datetime(2021, 5, 19, 14, 40, tzinfo=UTC)),
        Outage(datetime(2023, 3, 4, 2, 0, tzinfo=UTC), datetime(2023, 3, 4, 6, 30, tzinfo=UTC)),
    )
    timeframes: ClassVar[Mapping[str, Timeframe]] = choose(*GRANULARITIES.values())
    fills_quiet_minutes: ClassVar[bool] = False
    allowances: ClassVar[Mapping[str, Allowance]] = {"calls": Bucket(reserve=10, per_second=10)}
    row_shapes: ClassVar[Mapping[str, RowShape]] = {
        "klines": RowShape(
            list_at("candles"), time="start", prices=("open", "high", "low", "close"), unit_ms=1000, newest_first=True
        ),
        "trades": RowShape(list_at("trades"), time="time", prices=("price",), newest_first=True, iso_time=True),
    }
    routes = (
        Route("time", "/v2/time", "time"),
        Route("time", "/api/v3/brokerage/time", "brokerage_time"),
        Route("currencies", "/v2/currencies", "fiat_currencies"),
        Route("currencies", "/v2/currencies/crypto", "crypto_currencies"),
        Route("exchangeRates", "/v2/exchange-rates", "exchange_rates"),
        Route("exchangeInfo", PRODUCTS, "products"),
        Route("klines", PRODUCTS + "/{id}/candles", "candles"),
        Route("trades", PRODUCTS + "/{id}/ticker", "trades"),
    )

    @staticmethod
    def market_id(market: Market) -> str:
        return f"{market.base}-{market.quote}"

    def too_many(self, _now_ms: int) -> Refused:
        return Refused({"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}, 429)

    def time(self, call: Call) -> bytes:
        now = from_milliseconds(call.now_ms)
        return orjson.dumps({"data": {"iso": f"{now:%Y-%m-%dT%H:%M:%SZ}", "epoch": call.now_ms // 1000}})

    def brokerage_time(self, call: Call) -> bytes:
        now = from_milliseconds(call.now_ms)
        epoch = {"epochSeconds": str(call.now_ms // 1000), "epochMillis": str(call.now_ms)}
        return orjson.dumps({"iso": f"{now:%Y-%m-%dT%H:%M:%SZ}", **epoch})

    def fiat_currencies(self, _call: Call) -> bytes:
        return orjson.dumps({"data": [{"id": name, "name": name, "min_size": "0.01"} for name in FIAT]})

    def crypto_currencies(self, call: Call) -> bytes:
        return orjson.dumps({"data": [_currency(name) for name in self._currencies(call) if name not in FIAT]})

    def exchange_rates(self, call: Call) -> bytes:
        return orjson.dumps({"data": {"currency": "USD", "rates": dict.fromkeys(self._currencies(call), "1.0")}})

    def products(self, call: Call) -> bytes:
        spot = call.query.get("product_type", "SPOT") == "SPOT"
        products = [_product(name, history, call.now_ms) for name, history in self.known(call.now_ms) if spot]
        return orjson.dumps({"products": products, "num_products": len(products)})

    def candles(self, call: Call) -> bytes:
        """Answer with the candles that open from `start` to `end`, both inclusive, which hold at most 350."""
        history = self.history(call.named["id"], call.now_ms, _invalid("valid product_id is required"))
        timeframe = self.timeframes.get(GRANULARITIES.get(call.query.get("granularity", ""), ""))
        if timeframe is None:
            raise _invalid("granularity argument is invalid")
        start_secs = whole_number(call.query.get("start"), _invalid("start argument is invalid"))
        end_secs = whole_number(call.query.get("end"), _invalid("end argument is invalid"))
        if start_secs is None or end_secs is None:
            raise _invalid("start and end argument is required")
        start_ms, end_ms = start_secs * 1000, end_secs * 1000
        if end_ms > shifted(timeframe, start_ms, MOST):
            raise _invalid(
                f"start and end argument is invalid - number of candles requested should be less than {MOST} "
            )
        rows = history.candles(timeframe, start_ms, min(end_ms, call.now_ms) + 1, call.now_ms)
        return b'{"candles":%b}' % _rows(rows[::-1], history.market)

    def trades(self, call: Call) -> bytes:
        """Answer with the newest `limit` trades from `start` (inclusive) to `end` (exclusive), newest first.

        Both are whole seconds: who asks for a second of more than 1000 trades never gets them all. Source:
        https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades
        """
        history = self.history(call.named["id"], call.now_ms, _invalid("valid product_id is required"))
        limit = whole_number(call.query.get("limit"), _invalid("limit argument is invalid"), MOST_TRADES)
        start_secs = whole_number(call.query.get("start"), _invalid("start argument is invalid"))
        end_secs = whole_number(call.query.get("end"), _invalid("end argument is invalid"))
        start_ms = 0 if start_secs is None else start_secs * 1000
        stop_ms = call.now_ms + 1 if end_secs is None else min(end_secs * 1000, call.now_ms + 1)
        rows = Tape(history).newest(TRADES if limit is None else limit, stop_ms * MS_NS, start_ms * MS_NS)
        page = _trade_rows(rows[::-1], history.market, call.named["id"])
        return b'{"trades":%b,"best_bid":"","best_ask":""}' % page

    def _currencies(self, call: Call) -> list[str]:
        markets = [history.market for _, history in self.known(call.now_ms)]
        return sorted({currency for market in markets for currency in (market.base, market.quote)})


def _rows(rows: Rows, market: Market) -> bytes:
    """Return `[{"start":"secs","low":"…","high":"…","open":"…","close":"…","volume":"…"}, …]`."""
    parts: list[Part] = ['{"start":"', seconds(rows)]
    for name in ("low", "high", "open", "close"):
        parts += [f'","{name}":"', price(rows, name, market)]
    return json_rows([*parts, '","volume":"', amount(rows, market), '"}'])


def _trade_rows(trades: Rows, market: Market, name: str) -> bytes:
    """Return `[{"trade_id":"…","product_id":"…","price":"…","size":"…","time":"…","side":"BUY",…}, …]`: the maker's."""
    return json_rows(
        [
            '{"trade_id":"',
            Decimals(trades["id"]),
            f'","product_id":"{name}","price":"',
            price(trades, "price", market),
            '","size":"',
            size(trades, market),
            '","time":"',
            iso_time(trades),
            'Z","side":"',
            taker_side(trades, buy=b"SELL", sell=b"BUY"),
            '","bid":"","ask":"","exchange":"coinbase"}',
        ]
    )


def _currency(name: str) -> dict[str, Any]:
    return {"asset_id": f"asset-{name.lower()}", "code": name, "name": name, "exponent": 8, "type": "crypto"}


def _product(name: str, history: History, now_ms: int) -> dict[str, Any]:
    market, traded = history.market, history.is_traded(now_ms)
    return {
        "product_id": name,
        "base_increment": market.amount_step,
        "quote_increment": market.price_tick,
        "price_increment": market.price_tick,
        "base_min_size": market.amount_step,
        "base_max_size": "100000000",
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_name": market.base,
        "quote_name": market.quote,
        "status": "online" if traded else "delisted",
        "trading_disabled": not traded,
        "is_disabled": not traded,
        "product_type": "SPOT",
        "base_currency_id": market.base,
        "quote_currency_id": market.quote,
        "alias": "",
        "alias_to": [],
    }


def _invalid(problem: str) -> Refused:
    return Refused({"error": "INVALID_ARGUMENT", "error_details": problem, "message": problem})
