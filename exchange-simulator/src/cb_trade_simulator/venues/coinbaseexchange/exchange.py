"""Coinbase Exchange's addresses, limits and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from cb_trade_simulator.clock import MS_NS, from_milliseconds, to_milliseconds
from cb_trade_simulator.json_rows import Decimals, json_rows
from cb_trade_simulator.limits import Bucket
from cb_trade_simulator.markets.catalogue import BTC_USD, SPOT
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import choose, open_of, shifted
from cb_trade_simulator.venues.coinbase import Coinbase
from cb_trade_simulator.venues.columns import amount, iso_time, price, seconds, taker_side
from cb_trade_simulator.venues.rest import Refused, RestVenue, Route, whole_number
from cb_trade_simulator.venues.row_shape import RowShape, list_at
from cb_trade_simulator.venues.venue import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cb_trade_simulator.json_rows import Part
    from cb_trade_simulator.limits import Allowance
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.outages import Outage
    from cb_trade_simulator.markets.timeframes import Timeframe
    from cb_trade_simulator.venues.rest import Call

MOST = 300
MOST_TRADES = 1000
GRANULARITIES = {"60": "1m", "300": "5m", "900": "15m", "3600": "1h", "21600": "6h", "86400": "1d"}


class CoinbaseExchange(RestVenue):
    """The spot exchange for professionals. It has no candle for a minute without trades."""

    hosts = frozenset({"api.exchange.coinbase.com"})
    markets: ClassVar[tuple[Market, ...]] = (*SPOT, BTC_USD)
    outages: ClassVar[tuple[Outage, ...]] = Coinbase.outages  # one matching engine
    timeframes: ClassVar[Mapping[str, Timeframe]] = choose(*GRANULARITIES.values())
    fills_quiet_minutes: ClassVar[bool] = False
    allowances: ClassVar[Mapping[str, Allowance]] = {"calls": Bucket(reserve=15, per_second=10)}
    row_shapes: ClassVar[Mapping[str, RowShape]] = {
        "klines": RowShape(list_at(), time=0, prices=(3, 2, 1, 4), unit_ms=1000, newest_first=True),
        "trades": RowShape(list_at(), time="time", prices=("price",), newest_first=True, iso_time=True),
    }
    routes = (
        Route("time", "/time", "time"),
        Route("currencies", "/currencies", "currencies"),
        Route("exchangeInfo", "/products", "products"),
        Route("klines", "/products/{id}/candles", "candles"),
        Route("trades", "/products/{id}/trades", "trades"),
    )

    @staticmethod
    def market_id(market: Market) -> str:
        return f"{market.base}-{market.quote}"

    def too_many(self, _now_ms: int) -> Refused:
        return Refused({"message": "Public rate limit exceeded"}, 429)

    def time(self, call: Call) -> bytes:
        now = from_milliseconds(call.now_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return orjson.dumps({"iso": now, "epoch": call.now_ms / 1000})

    def currencies(self, call: Call) -> bytes:
        markets = [history.market for _, history in self.known(call.now_ms)]
        names = sorted({currency for market in markets for currency in (market.base, market.quote)})
        return orjson.dumps([_currency(name) for name in names])

    def products(self, call: Call) -> bytes:
        return orjson.dumps([_product(name, history, call.now_ms) for name, history in self.known(call.now_ms)])

    def candles(self, call: Call) -> bytes:
        """Answer with the candles from one before `start` to `end` (inclusive), or the newest without these two."""
        history = self._known(call)
        timeframe = self.timeframes.get(GRANULARITIES.get(call.query.get("granularity", "60"), ""))
        if timeframe is None:
            raise Refused({"message": "Unsupported granularity"})
        start_ms, end_ms = _instant(call, "start"), _instant(call, "end")
        if start_ms is None or end_ms is None:
            rows = history.newest(timeframe, MOST, call.now_ms + 1, call.now_ms)
        else:
            if end_ms > shifted(timeframe, start_ms, MOST):
                raise _too_large()
            # The documentation warns of rows before the start; here there is always one.
            before_ms = shifted(timeframe, open_of(timeframe, start_ms), -1)
            rows = history.candles(timeframe, before_ms, min(end_ms, call.now_ms) + 1, call.now_ms)
            rows = rows if len(rows) and rows["timestamp"][-1] >= start_ms else rows[:0]
        return _rows(rows[::-1], history.market)

    def trades(self, call: Call) -> Answer:
        """Answer with the newest `limit` trades whose ids lie below `after` and above `before`, newest first.

        The cursors for the pages of older and newer ones are in the headers `CB-AFTER` and `CB-BEFORE`. Sources:
        https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-trades
        https://docs.cdp.coinbase.com/exchange/rest-api/pagination
        """
        history = self._known(call)
        limit = whole_number(call.query.get("limit"), Refused({"message": "Invalid limit"}))
        if limit is not None and not 1 <= limit <= MOST_TRADES:
            raise Refused({"message": "Invalid limit"})
        before = whole_number(call.query.get("before"), Refused({"message": "Invalid before"}))
        after = whole_number(call.query.get("after"), Refused({"message": "Invalid after"}))
        first_id = 0 if before is None else before + 1
        now_ns = (call.now_ms + 1) * MS_NS
        rows = Tape(history).newest(limit or MOST_TRADES, now_ns, first_id=first_id, end_id=after)[::-1]
        cursors = {"CB-BEFORE": str(rows["id"][0]), "CB-AFTER": str(rows["id"][-1])} if len(rows) else {}
        return Answer(_trade_rows(rows, history.market), headers=cursors)

    def _known(self, call: Call) -> History:
        return self.history(call.named["id"], call.now_ms, Refused({"message": "NotFound"}, 404))


def _rows(rows: Rows, market: Market) -> bytes:
    """Return `[[time,low,high,open,close,volume], …]`, all of them numbers."""
    parts: list[Part] = ["[", seconds(rows)]
    for name in ("low", "high", "open", "close"):
        parts += [",", price(rows, name, market)]
    return json_rows([*parts, ",", amount(rows, market), "]"])


def _trade_rows(trades: Rows, market: Market) -> bytes:
    """Return `[{"trade_id":…,"side":"sell","size":"…","price":"…","time":"…"}, …]`; the side is that of the maker."""
    return json_rows(
        [
            '{"trade_id":',
            Decimals(trades["id"]),
            ',"side":"',
            taker_side(trades, buy=b"sell", sell=b"buy"),
            '","size":"',
            Decimals(trades["amount"], market.amount_decimals, places=8),
            '","price":"',
            price(trades, "price", market),
            '","time":"',
            iso_time(trades),
            'Z"}',
        ]
    )


def _instant(call: Call, name: str) -> int | None:
    text = call.query.get(name)
    if not text:
        return None
    if text.isascii() and text.isdecimal():
        return int(text[:12]) * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as problem:
        raise Refused({"message": f"Invalid {name}"}) from problem
    return to_milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _currency(name: str) -> dict[str, Any]:
    kind = "fiat" if name == "USD" else "crypto"
    return {
        "id": name,
        "name": name,
        "min_size": "0.00000001",
        "max_precision": "0.00000001",
        "status": "online",
        "details": {"type": kind},
        "supported_networks": [],
    }


def _product(name: str, history: History, now_ms: int) -> dict[str, Any]:
    market, traded = history.market, history.is_traded(now_ms)
    return {
        "id": name,
        "base_currency": market.base,
        "quote_currency": market.quote,
        "quote_increment": market.price_tick,
        "base_increment": market.amount_step,
        "display_name": f"{market.base}/{market.quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online" if traded else "delisted",
        "status_message": "",
        "trading_disabled": not traded,
        "auction_mode": False,
    }


def _too_large() -> Refused:
    problem = "granularity too small for the requested time range. Count of aggregations requested exceeds"
    return Refused({"message": f"{problem} {MOST}"})
