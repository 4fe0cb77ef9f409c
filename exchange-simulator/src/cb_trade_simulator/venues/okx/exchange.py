"""OKX's addresses, limits and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import orjson

from cb_trade_simulator.clock import DAY_MS, MS_NS
from cb_trade_simulator.json_rows import Decimals, json_rows
from cb_trade_simulator.limits import Window
from cb_trade_simulator.markets.catalogue import MARKETS
from cb_trade_simulator.markets.outages import Outage
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import open_of, shifted
from cb_trade_simulator.venues.columns import amount, milliseconds, price, size, taker_side, worth
from cb_trade_simulator.venues.decimals import decimals
from cb_trade_simulator.venues.okx.bars import BARS, OKX_TIMEFRAMES
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

DEFAULT, MOST = 100, 300
RECENT = 1440  # candles that `candles` reaches back; `history-candles` knows them all
MOST_FUNDING = 400
TRADES, MOST_RECENT_TRADES = 100, 500
BY_ID, BY_TIME = "1", "2"
THREE_MONTHS_MS = 92 * DAY_MS  # what is kept of the past where not all is
STEPS_PER_CONTRACT = 10


class Okx(RestVenue):
    """The exchange: spot, and perpetuals settled in the quote currency."""

    hosts = frozenset({"www.okx.com", "aws.okx.com", "okx.com"})
    markets: ClassVar[tuple[Market, ...]] = MARKETS
    outages: ClassVar[tuple[Outage, ...]] = (
        Outage(datetime(2021, 12, 3, 8, 0, tzinfo=UTC), datetime(2021, 12, 3, 9, 20, tzinfo=UTC)),
        Outage(datetime(2022, 12, 18, 3, 10, tzinfo=UTC), datetime(2022, 12, 18, 8, 0, tzinfo=UTC)),
    )
    timeframes: ClassVar[Mapping[str, Timeframe]] = OKX_TIMEFRAMES
    allowances: ClassVar[Mapping[str, Allowance]] = {
        "candles": Window(40, 2),
        "history-candles": Window(20, 2),
        "instruments": Window(20, 2),
        "time": Window(10, 2),
        "funding-rate-history": Window(10, 2),
        "trades": Window(100, 2),
        "history-trades": Window(20, 2),
    }
    row_shapes: ClassVar[Mapping[str, RowShape]] = {
        "klines": RowShape(list_at("data"), time=0, prices=(1, 2, 3, 4), newest_first=True),
        "fundingRate": RowShape(
            list_at("data"), time="fundingTime", prices=("fundingRate", "realizedRate"), newest_first=True
        ),
        "trades": RowShape(list_at("data"), time="ts", prices=("px",), newest_first=True),
    }
    routes = (
        Route("time", "/api/v5/public/time", "time", "time"),
        Route("exchangeInfo", "/api/v5/public/instruments", "instruments", "instruments"),
        Route("klines", "/api/v5/market/candles", "recent_candles", "candles"),
        Route("klines", "/api/v5/market/history-candles", "all_candles", "history-candles"),
        Route("fundingRate", "/api/v5/public/funding-rate-history", "funding", "funding-rate-history"),
        Route("trades", "/api/v5/market/trades", "recent_trades", "trades"),
        Route("trades", "/api/v5/market/history-trades", "all_trades", "history-trades"),
    )

    @staticmethod
    def market_id(market: Market) -> str:
        return f"{market.base}-{market.quote}" + ("-SWAP" if market.is_perpetual else "")

    def too_many(self, _now_ms: int) -> Refused:
        return _refused("50011", "Too Many Requests", 429)

    def time(self, call: Call) -> bytes:
        return _data([{"ts": str(call.now_ms)}])

    def instruments(self, call: Call) -> bytes:
        kind = call.query.get("instType")
        if kind not in ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION"):
            raise _refused("51000", "Parameter instType error")
        found = [_instrument(name, history, call.now_ms) for name, history in self.known(call.now_ms)]
        return _data([entry for entry in found if entry["instType"] == kind])

    def recent_candles(self, call: Call) -> bytes:
        return self._candles(call, RECENT)

    def all_candles(self, call: Call) -> bytes:
        return self._candles(call, None)

    def _candles(self, call: Call, reach: int | None) -> bytes:
        """Answer with the newest `limit` candles that open after `before` and before `after`, both exclusive."""
        history = self._known(call)
        timeframe = self.timeframes.get(BARS.get(call.query.get("bar", "1m"), ""))
        if timeframe is None:
            raise _refused("51000", "Parameter bar error")
        limit = _limit(call, DEFAULT, MOST)
        before_ms, after_ms = _number(call, "before"), _number(call, "after")
        from_ms = 0 if before_ms is None else before_ms + 1
        if reach is not None:
            from_ms = max(from_ms, shifted(timeframe, open_of(timeframe, call.now_ms), 1 - reach))
        stop_ms = call.now_ms + 1 if after_ms is None else after_ms
        rows = history.newest(timeframe, limit, stop_ms, call.now_ms, from_ms)
        closed = timeframe.shift(rows["timestamp"], 1) <= call.now_ms
        page = _rows(rows[::-1], np.where(closed, b"1", b"0")[::-1], history.market)
        return b'{"code":"0","msg":"","data":%b}' % page

    def funding(self, call: Call) -> bytes:
        """Answer with the newest `limit` paid after `before` and before `after`, both exclusive, of three months.

        Source: https://www.okx.com/docs-v5/en/#public-data-rest-api-get-funding-rate-history
        """
        history = self._known(call)
        if not history.market.is_perpetual:
            raise _unknown_instrument()
        limit = _limit(call, MOST_FUNDING, MOST_FUNDING)
        before_ms, after_ms = _number(call, "before"), _number(call, "after")
        kept_ms = 0 if history.funding.is_recorded else call.now_ms - THREE_MONTHS_MS
        from_ms = max(kept_ms, 0 if before_ms is None else before_ms + 1)
        stop_ms = call.now_ms + 1 if after_ms is None else after_ms
        rows = history.funding.newest(limit, stop_ms, call.now_ms, from_ms)
        return _data([_funding(call.query["instId"], *row) for row in rows[::-1].tolist()])

    def recent_trades(self, call: Call) -> bytes:
        """Answer with the newest `limit`. CCXT asks here unless told otherwise.

        Source: https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades
        """
        history = self._known(call)
        limit = _limit(call, TRADES, MOST_RECENT_TRADES)
        return _trades(call, history, Tape(history).newest(limit, (call.now_ms + 1) * MS_NS))

    def all_trades(self, call: Call) -> bytes:
        """Answer with the newest `limit` older than `after` and newer than `before`, both exclusive, of three months.

        Both are ids. With `type=2` they are times, and `before` is not to be had. Source:
        https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-trades-history
        """
        history = self._known(call)
        kind = call.query.get("type", BY_ID)
        limit = _limit(call, TRADES, TRADES)
        before, after = _number(call, "before"), _number(call, "after")
        kept_ns = (call.now_ms - THREE_MONTHS_MS) * MS_NS
        stop_ns = (call.now_ms + 1) * MS_NS
        if kind == BY_TIME:
            if before is not None:
                raise _refused("51000", "Parameter before error")
            stop_ns = stop_ns if after is None else min(after * MS_NS, stop_ns)
            return _trades(call, history, Tape(history).newest(limit, stop_ns, kept_ns))
        if kind != BY_ID:
            raise _refused("51000", "Parameter type error")
        first_id = 0 if before is None else before + 1
        return _trades(call, history, Tape(history).newest(limit, stop_ns, kept_ns, first_id=first_id, end_id=after))

    def _known(self, call: Call) -> History:
        return self.history(call.query.get("instId", ""), call.now_ms, _unknown_instrument())


def _rows(rows: Rows, confirm: np.ndarray[tuple[int, ...], np.dtype[np.bytes_]], market: Market) -> bytes:
    """Return `[["ts","open","high","low","close","vol","volCcy","volCcyQuote","confirm"], …]`.

    `vol` counts a perpetual's contracts, and `volCcy` its base currency; for spot they are base and quote currency.
    """
    parts: list[Part] = ['["', milliseconds(rows), '","']
    for name in ("open", "high", "low", "close"):
        parts += [price(rows, name, market), '","']
    if market.is_perpetual:
        parts += [Decimals(rows["volume"], decimals=1, places=1), '","', amount(rows, market), '","']
    else:
        parts += [amount(rows, market), '","', worth(rows, market), '","']
    return json_rows([*parts, worth(rows, market), '","', np.ascontiguousarray(confirm), '"]'])


def _trades(call: Call, history: History, trades: Rows) -> bytes:
    """Return the answer with these trades, newest first; those of a perpetual are counted in contracts."""
    rows, market = trades[::-1], history.market
    amounts = Decimals(rows["amount"], decimals=1, places=1) if market.is_perpetual else size(rows, market)
    parts: list[Part] = [f'{{"instId":"{call.query["instId"]}","tradeId":"', Decimals(rows["id"]), '","px":"']
    parts += [price(rows, "price", market), '","sz":"', amounts, '","side":"', taker_side(rows), '","ts":"']
    return b'{"code":"0","msg":"","data":%b}' % json_rows([*parts, milliseconds(rows), '"}'])


def _funding(name: str, time_ms: int, rate: float, _mark_price: float) -> dict[str, Any]:
    """Return one entry of `/api/v5/public/funding-rate-history`; what was announced is what was paid."""
    return {
        "instId": name,
        "instType": "SWAP",
        "formulaType": "withRate",
        "fundingRate": decimals(rate),
        "realizedRate": decimals(rate),
        "fundingTime": str(time_ms),
        "method": "current_period",
    }


def _instrument(name: str, history: History, now_ms: int) -> dict[str, Any]:
    market = history.market
    entry = {
        "instId": name,
        "instType": "SWAP" if market.is_perpetual else "SPOT",
        "state": "live" if history.is_traded(now_ms) else "suspend",
        "listTime": str(history.listed_ms),
        "tickSz": market.price_tick,
        "lotSz": market.amount_step,
        "minSz": market.amount_step,
        "maxLmtSz": "9999999999",
        "expTime": "",
        "lever": "",
        "optType": "",
        "stk": "",
    }
    if not market.is_perpetual:
        return entry | {"baseCcy": market.base, "quoteCcy": market.quote, "settleCcy": "", "uly": "", "instFamily": ""}
    pair = f"{market.base}-{market.quote}"
    contract = {
        "ctVal": f"{STEPS_PER_CONTRACT * 10.0**-market.amount_decimals:g}",
        "ctMult": "1",
        "ctType": "linear",
        "ctValCcy": market.base,
        "lotSz": "0.1",
        "minSz": "0.1",
        "lever": "100",
    }
    return (
        entry | contract | {"baseCcy": "", "quoteCcy": "", "settleCcy": market.quote, "uly": pair, "instFamily": pair}
    )


def _data(data: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"code": "0", "data": data, "msg": ""})


def _refused(code: str, message: str, status: int = 400) -> Refused:
    return Refused({"code": code, "data": [], "msg": message}, status)


def _unknown_instrument() -> Refused:
    return _refused("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")


def _number(call: Call, name: str) -> int | None:
    return whole_number(call.query.get(name), _refused("51000", f"Parameter {name} error"))


def _limit(call: Call, default: int, most: int) -> int:
    """Return how many rows are wanted; more than *most* are refused, none at all counts as not sent."""
    limit = _number(call, "limit") or default
    if limit > most:
        raise _refused("51000", "Parameter limit error")
    return limit
