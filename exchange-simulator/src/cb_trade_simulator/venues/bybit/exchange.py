"""Bybit's addresses, limits and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import orjson

from cb_trade_simulator.clock import MS_NS
from cb_trade_simulator.json_rows import Decimals, json_rows
from cb_trade_simulator.limits import Window
from cb_trade_simulator.markets.catalogue import MARKETS
from cb_trade_simulator.markets.outages import Outage
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import choose, open_of
from cb_trade_simulator.venues.bybit.instruments import instrument
from cb_trade_simulator.venues.columns import amount, milliseconds, price, size, taker_side, worth
from cb_trade_simulator.venues.decimals import decimals
from cb_trade_simulator.venues.rest import Refused, RestVenue, Route, whole_number
from cb_trade_simulator.venues.row_shape import RowShape, list_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cb_trade_simulator.json_rows import Part
    from cb_trade_simulator.limits import Allowance
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Timeframe
    from cb_trade_simulator.venues.rest import Call

DEFAULT, MOST = 200, 1000
MOST_FUNDING = 200
TRADES = {"spot": (60, 60), "linear": (500, 1000), "inverse": (500, 1000), "option": (500, 1000)}
"""How many trades are told by default and at most."""
CATEGORIES = ("spot", "linear", "inverse", "option")
INTERVALS = {
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "240": "4h",
    "360": "6h",
    "720": "12h",
    "D": "1d",
    "W": "1w",
    "M": "1M",
}


class Bybit(RestVenue):
    """The exchange: spot, and perpetuals settled in the quote currency."""

    hosts = frozenset({"api.bybit.com", "api.bytick.com"})
    markets: ClassVar[tuple[Market, ...]] = MARKETS
    outages: ClassVar[tuple[Outage, ...]] = (
        Outage(datetime(2022, 12, 1, 3, 0, tzinfo=UTC), datetime(2022, 12, 1, 3, 45, tzinfo=UTC)),
        Outage(datetime(2023, 5, 17, 6, 0, tzinfo=UTC), datetime(2023, 5, 17, 8, 30, tzinfo=UTC)),
    )
    timeframes: ClassVar[Mapping[str, Timeframe]] = choose(*INTERVALS.values())
    allowances: ClassVar[Mapping[str, Allowance]] = {"calls": Window(600, 5)}
    row_shapes: ClassVar[Mapping[str, RowShape]] = {
        "klines": RowShape(list_at("result", "list"), time=0, prices=(1, 2, 3, 4), newest_first=True),
        "fundingRate": RowShape(
            list_at("result", "list"), time="fundingRateTimestamp", prices=("fundingRate",), newest_first=True
        ),
        "trades": RowShape(list_at("result", "list"), time="time", prices=("price",), newest_first=True),
    }
    routes = (
        Route("time", "/v5/market/time", "time"),
        Route("exchangeInfo", "/v5/market/instruments-info", "instruments"),
        Route("klines", "/v5/market/kline", "candles"),
        Route("fundingRate", "/v5/market/funding/history", "funding"),
        Route("trades", "/v5/market/recent-trade", "trades"),
    )

    @staticmethod
    def market_id(market: Market) -> str:
        """Return category and symbol, which only together are unique: `linear BTCUSDT`."""
        return f"{'linear' if market.is_perpetual else 'spot'} {market.base}{market.quote}"

    def too_many(self, now_ms: int) -> Refused:
        return _refused(10006, "Too many visits. Exceeded the API Rate Limit.", now_ms, 429)

    def time(self, call: Call) -> bytes:
        result = {"timeSecond": str(call.now_ms // 1000), "timeNano": str(call.now_ms * 1_000_000)}
        return orjson.dumps(_envelope(0, "OK", result, call.now_ms))

    def instruments(self, call: Call) -> bytes:
        category = _category(call, default=None)
        found = [
            instrument(history, call.now_ms)
            for name, history in self.known(call.now_ms)
            if name.startswith(category + " ") and call.query.get("status", "Trading") == "Trading"
        ]
        result = {"category": category, "list": found, "nextPageCursor": ""}
        return orjson.dumps(_envelope(0, "OK", result, call.now_ms))

    def candles(self, call: Call) -> bytes:
        """Answer with the oldest `limit` from `start` if that is all that is given, else with the newest by `end`.

        The candle that holds `start` counts, and so does one that opens at `end`.
        """
        now_ms = call.now_ms
        category, symbol = _category(call, default="linear"), call.query.get("symbol", "")
        unknown = _refused(10001, "params error: Symbol Invalid", now_ms)
        history = self.history(f"{category} {symbol}", now_ms, unknown)
        timeframe = self.timeframes.get(INTERVALS.get(call.query.get("interval", ""), ""))
        if timeframe is None:
            raise _refused(10001, "Invalid period!", now_ms)
        limit = whole_number(call.query.get("limit"), _refused(10001, "params error: limit", now_ms), MOST)
        start_ms = whole_number(call.query.get("start"), _refused(10001, "params error: start", now_ms))
        end_ms = whole_number(call.query.get("end"), _refused(10001, "params error: end", now_ms))
        count = DEFAULT if limit is None else limit
        from_ms = 0 if start_ms is None else open_of(timeframe, start_ms)
        if start_ms is not None and end_ms is None:
            rows = history.oldest(timeframe, count, from_ms, now_ms + 1, now_ms)
        else:
            rows = history.newest(timeframe, count, now_ms + 1 if end_ms is None else end_ms + 1, now_ms, from_ms)
        page = {"symbol": symbol, "category": category, "list": orjson.Fragment(_rows(rows[::-1], history.market))}
        return orjson.dumps(_envelope(0, "OK", page, now_ms))

    def funding(self, call: Call) -> bytes:
        """Answer with the newest `limit` from `startTime` to `endTime`, both inclusive; a start needs an end.

        Source: https://bybit-exchange.github.io/docs/v5/market/history-fund-rate
        """
        now_ms = call.now_ms
        category, symbol = _category(call, default=None), call.query.get("symbol", "")
        if category not in ("linear", "inverse"):
            raise _refused(10001, "params error: Category is invalid", now_ms)
        history = self.history(f"{category} {symbol}", now_ms, _refused(10001, "params error: symbol invalid", now_ms))
        limit = whole_number(call.query.get("limit"), _refused(10001, "params error: limit", now_ms), MOST_FUNDING)
        start_ms = whole_number(call.query.get("startTime"), _refused(10001, "params error: startTime", now_ms))
        end_ms = whole_number(call.query.get("endTime"), _refused(10001, "params error: endTime", now_ms))
        if start_ms is not None and end_ms is None:
            raise _refused(10001, "params error: endTime is required with startTime", now_ms)
        stop_ms = now_ms + 1 if end_ms is None else end_ms + 1
        rows = history.funding.newest(MOST_FUNDING if limit is None else limit, stop_ms, now_ms, start_ms or 0)
        told = [
            {"symbol": symbol, "fundingRate": decimals(rate), "fundingRateTimestamp": str(time_ms)}
            for time_ms, rate, _ in rows[::-1].tolist()
        ]
        return orjson.dumps(_envelope(0, "OK", {"category": category, "list": told}, now_ms))

    def trades(self, call: Call) -> bytes:
        """Answer with the newest `limit`, newest first; there are no older ones.

        Source: https://bybit-exchange.github.io/docs/v5/market/recent-trade
        """
        now_ms = call.now_ms
        category, symbol = _category(call, default=None), call.query.get("symbol", "")
        history = self.history(f"{category} {symbol}", now_ms, _refused(10001, "params error: symbol invalid", now_ms))
        default, most = TRADES[category]
        limit = whole_number(call.query.get("limit"), _refused(10001, "params error: limit", now_ms), most)
        rows = Tape(history).newest(default if limit is None else limit, (now_ms + 1) * MS_NS)
        page = {"category": category, "list": orjson.Fragment(_trade_rows(rows[::-1], history.market, symbol))}
        return orjson.dumps(_envelope(0, "OK", page, now_ms))


def _rows(rows: Rows, market: Market) -> bytes:
    """Return `[["start","open","high","low","close","volume","turnover"], …]`."""
    parts: list[Part] = ['["', milliseconds(rows), '","']
    for name in ("open", "high", "low", "close"):
        parts += [price(rows, name, market), '","']
    return json_rows([*parts, amount(rows, market), '","', worth(rows, market), '"]'])


def _trade_rows(trades: Rows, market: Market, symbol: str) -> bytes:
    """Return `[{"execId":"…","symbol":"…","price":"…","size":"…","side":"Buy","time":"ms",…}, …]`."""
    parts: list[Part] = ['{"execId":"', Decimals(trades["id"]), f'","symbol":"{symbol}","price":"']
    parts += [price(trades, "price", market), '","size":"', size(trades, market), '","side":"']
    parts += [taker_side(trades, b"Buy", b"Sell"), '","time":"', milliseconds(trades)]
    return json_rows([*parts, '","isBlockTrade":false}'])


def _category(call: Call, default: str | None) -> str:
    category = call.query.get("category", default)
    if category not in CATEGORIES:
        raise _refused(10001, "params error: Category is invalid", call.now_ms)
    return category


def _envelope(code: int, message: str, result: object, now_ms: int) -> dict[str, object]:
    return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": now_ms}


def _refused(code: int, message: str, now_ms: int, status: int = 200) -> Refused:
    """Return a refusal: Bybit says HTTP 200 to most mistakes."""
    return Refused(_envelope(code, message, {}, now_ms), status)
