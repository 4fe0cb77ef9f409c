"""Crypto.com's addresses, limits and answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from cb_trade_simulator.clock import DAY_MS, MS_NS
from cb_trade_simulator.json_rows import Decimals, json_rows
from cb_trade_simulator.limits import Window
from cb_trade_simulator.markets.catalogue import BTC_USD, PERPETUALS, SPOT
from cb_trade_simulator.markets.outages import Outage
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import FIRST_MONDAY_MS, FixedTimeframe, choose
from cb_trade_simulator.markets.trades import nanoseconds
from cb_trade_simulator.venues.columns import amount, milliseconds, price, size, taker_side
from cb_trade_simulator.venues.decimals import decimals
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

DEFAULT, MOST = 25, 300
TIMEFRAME_NAMES = {
    **{name: name for name in ("1m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")},
    "1D": "1d",
    "7D": "1w",
    "14D": "2w",
    "1M": "1M",
}
CANDLES_METHOD, INSTRUMENTS_METHOD = "public/get-candlestick", "public/get-instruments"
VALUATIONS_METHOD, TRADES_METHOD = "public/get-valuations", "public/get-trades"
METHODS = (CANDLES_METHOD, INSTRUMENTS_METHOD, VALUATIONS_METHOD, TRADES_METHOD)
MOST_TRADES = 150
NANOSECONDS_FROM = 10**16  # `start_ts` and `end_ts` of trades may be milliseconds or, from here on, nanoseconds
MOST_NS = 2**63 - 1


class CryptoCom(RestVenue):
    """The exchange; its perpetuals are settled in dollars. It tells nobody the time."""

    hosts = frozenset({"api.crypto.com"})
    markets: ClassVar[tuple[Market, ...]] = (
        *SPOT,
        BTC_USD,
        replace(PERPETUALS[0], symbol="BTC/USD:USD", funding_hours=1, funding_changes=()),
        replace(PERPETUALS[1], symbol="SOL/USD:USD", funding_hours=1, funding_changes=()),
    )
    outages: ClassVar[tuple[Outage, ...]] = (
        Outage(datetime(2022, 1, 17, 4, 40, tzinfo=UTC), datetime(2022, 1, 17, 6, 5, tzinfo=UTC)),
        Outage(datetime(2023, 8, 9, 10, 0, tzinfo=UTC), datetime(2023, 8, 9, 13, 0, tzinfo=UTC)),
    )
    timeframes: ClassVar[Mapping[str, Timeframe]] = {
        **choose("1m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w"),
        "2w": FixedTimeframe(14 * DAY_MS, anchor_ms=FIRST_MONDAY_MS),
        **choose("1M"),
    }
    allowances: ClassVar[Mapping[str, Allowance]] = {method: Window(100, 1) for method in METHODS}
    row_shapes: ClassVar[Mapping[str, RowShape]] = {
        "klines": RowShape(list_at("result", "data"), time="t", prices=("o", "h", "l", "c")),
        "fundingRate": RowShape(list_at("result", "data"), time="t", prices=("v",), newest_first=True),
        "trades": RowShape(list_at("result", "data"), time="t", prices=("p",), newest_first=True),
    }
    routes = (
        Route("exchangeInfo", f"/exchange/v1/{INSTRUMENTS_METHOD}", "instruments", INSTRUMENTS_METHOD),
        Route("klines", f"/exchange/v1/{CANDLES_METHOD}", "candles", CANDLES_METHOD),
        Route("fundingRate", f"/exchange/v1/{VALUATIONS_METHOD}", "funding", VALUATIONS_METHOD),
        Route("trades", f"/exchange/v1/{TRADES_METHOD}", "trades", TRADES_METHOD),
    )

    @staticmethod
    def market_id(market: Market) -> str:
        return f"{market.base}{market.quote}-PERP" if market.is_perpetual else f"{market.base}_{market.quote}"

    def too_many(self, _now_ms: int) -> Refused:
        return _refused(42901, "TOO_MANY_REQUESTS", status=429)

    def instruments(self, call: Call) -> bytes:
        data = [_instrument(name, history, call.now_ms) for name, history in self.known(call.now_ms)]
        return orjson.dumps({"id": -1, "method": INSTRUMENTS_METHOD, "code": 0, "result": {"data": data}})

    def candles(self, call: Call) -> bytes:
        """Answer with the newest `count` candles that open after `start_ts` and before `end_ts`, both exclusive."""
        name = call.query.get("instrument_name", "")
        history = self.history(name, call.now_ms, _refused(40004, "Invalid instrument_name"))
        interval = call.query.get("timeframe", "1m")
        timeframe = self.timeframes.get(TIMEFRAME_NAMES.get(interval, ""))
        if timeframe is None:
            raise _refused(40004, "Invalid timeframe")
        window = _window(call, CANDLES_METHOD)
        rows = history.newest(timeframe, window.count, window.end_ms, call.now_ms, window.after_ms + 1)
        result = b'{"interval":"%b","data":%b,"instrument_name":"%b"}' % (
            interval.encode(),
            _rows(rows, history.market),
            name.encode(),
        )
        return b'{"id":-1,"method":"%b","code":0,"result":%b}' % (CANDLES_METHOD.encode(), result)

    def funding(self, call: Call) -> bytes:
        """Answer with the newest `count` hourly rates between `start_ts` and `end_ts`, newest first.

        Nobody says whether these two are inclusive: here both are exclusive, as those of candles. Source:
        https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#public-get-valuations
        """
        name = call.query.get("instrument_name", "")
        if not name:
            raise _refused(40004, "Missing instrument_name param", VALUATIONS_METHOD)
        if call.query.get("valuation_type") != "funding_hist":
            raise _refused(40004, "Invalid valuation_type", VALUATIONS_METHOD)
        unknown = _refused(40004, "Invalid instrument_name", VALUATIONS_METHOD)
        history = self.history(name, call.now_ms, unknown)
        if not history.market.is_perpetual:
            raise unknown
        window = _window(call, VALUATIONS_METHOD)
        rows = history.funding.newest(window.count, window.end_ms, call.now_ms, window.after_ms + 1)
        data = [{"v": decimals(rate), "t": time_ms} for time_ms, rate, _ in rows[::-1].tolist()]
        result = {"data": data, "instrument_name": name}
        return orjson.dumps({"id": -1, "method": VALUATIONS_METHOD, "code": 0, "result": result})

    def trades(self, call: Call) -> bytes:
        """Answer with the newest `count` from `start_ts` (inclusive) to `end_ts` (exclusive), newest first.

        Both may be milliseconds or nanoseconds. Without a start it is the day before the end. Source:
        https://exchange-docs.crypto.com/exchange/v1/rest-ws/index.html#public-get-trades
        """
        name = call.query.get("instrument_name", "")
        history = self.history(name, call.now_ms, _refused(40004, "Invalid instrument_name", TRADES_METHOD))
        count = whole_number(call.query.get("count"), _refused(40004, "Invalid count", TRADES_METHOD), MOST_TRADES)
        start_ns, end_ns = _nanoseconds(call, "start_ts"), _nanoseconds(call, "end_ts")
        now_ns = (call.now_ms + 1) * MS_NS
        end_ns = now_ns if end_ns is None else min(end_ns, now_ns)
        start_ns = end_ns - DAY_MS * MS_NS if start_ns is None else start_ns
        rows = Tape(history).newest(DEFAULT if count is None else count, end_ns, start_ns)
        page = _trade_rows(rows[::-1], history.market, name)
        return b'{"id":-1,"method":"%b","code":0,"result":{"data":%b}}' % (TRADES_METHOD.encode(), page)


def _rows(rows: Rows, market: Market) -> bytes:
    """Return `[{"o":"…","h":"…","l":"…","c":"…","v":"…","t":milliseconds}, …]`."""
    parts: list[Part] = ['{"o":"', price(rows, "open", market)]
    for letter, name in (("h", "high"), ("l", "low"), ("c", "close")):
        parts += [f'","{letter}":"', price(rows, name, market)]
    return json_rows([*parts, '","v":"', amount(rows, market), '","t":', milliseconds(rows), "}"])


def _trade_rows(trades: Rows, market: Market, name: str) -> bytes:
    """Return `[{"s":"sell","p":"…","q":"…","t":milliseconds,"tn":nanoseconds,"d":"id","i":"name"}, …]`."""
    parts: list[Part] = ['{"s":"', taker_side(trades), '","p":"', price(trades, "price", market), '","q":"']
    parts += [size(trades, market), '","t":', milliseconds(trades), ',"tn":', Decimals(nanoseconds(trades))]
    return json_rows([*parts, ',"d":"', Decimals(trades["id"]), f'","i":"{name}"}}'])


def _instrument(name: str, history: History, now_ms: int) -> dict[str, Any]:
    market = history.market
    return {
        "symbol": name,
        "inst_type": "PERPETUAL_SWAP" if market.is_perpetual else "CCY_PAIR",
        "display_name": f"{market.base}/{market.quote}",
        "base_ccy": market.base,
        "quote_ccy": market.quote,
        "quote_decimals": market.price_decimals,
        "quantity_decimals": market.amount_decimals,
        "price_tick_size": market.price_tick,
        "qty_tick_size": market.amount_step,
        "max_leverage": "50",
        "tradable": history.is_traded(now_ms),
        "expiry_timestamp_ms": 0,
        "beta_product": False,
        "margin_buy_enabled": False,
        "margin_sell_enabled": False,
        **({"contract_size": "1"} if market.is_perpetual else {}),
    }


@dataclass(frozen=True, slots=True)
class _Window:
    """The newest *count* rows after *after_ms* and before *end_ms* are wanted."""

    count: int
    after_ms: int
    end_ms: int


def _window(call: Call, method: str) -> _Window:
    count = whole_number(call.query.get("count"), _refused(40004, "Invalid count", method), MOST)
    start_ms = whole_number(call.query.get("start_ts"), _refused(40004, "Invalid start_ts", method), signed=True)
    end_ms = whole_number(call.query.get("end_ts"), _refused(40004, "Invalid end_ts", method))
    return _Window(
        count=DEFAULT if count is None else count,
        after_ms=-1 if start_ms is None else start_ms,
        end_ms=call.now_ms + 1 if end_ms is None else end_ms,
    )


def _nanoseconds(call: Call, name: str) -> int | None:
    """Return an instant that is written in milliseconds or in nanoseconds; None if it was not sent."""
    refusal = _refused(40004, f"Invalid {name}", TRADES_METHOD)
    instant = whole_number(call.query.get(name), refusal, MOST_NS, signed=True)
    return instant if instant is None or instant >= NANOSECONDS_FROM else instant * MS_NS


def _refused(code: int, message: str, method: str = CANDLES_METHOD, status: int = 400) -> Refused:
    return Refused({"id": -1, "method": method, "code": code, "message": message}, status)
