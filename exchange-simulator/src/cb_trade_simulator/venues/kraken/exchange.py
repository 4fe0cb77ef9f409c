"""Kraken's addresses, limits and answers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from cb_trade_simulator.clock import DAY_MS, MS_NS, from_milliseconds
from cb_trade_simulator.json_rows import Decimals, json_rows
from cb_trade_simulator.limits import Bucket
from cb_trade_simulator.markets.catalogue import BTC_USD, SPOT
from cb_trade_simulator.markets.outages import Outage
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import FixedTimeframe, choose
from cb_trade_simulator.markets.trades import nanoseconds
from cb_trade_simulator.venues.columns import amount, price, seconds, taker_side
from cb_trade_simulator.venues.kraken.names import asset_id, pair_id, pair_short_name, short_name
from cb_trade_simulator.venues.rest import Refused, RestVenue, Route, whole_number
from cb_trade_simulator.venues.row_shape import RowShape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cb_trade_simulator.json_rows import Part
    from cb_trade_simulator.limits import Allowance
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Timeframe
    from cb_trade_simulator.venues.rest import Call

CANDLES_KEPT = 720
MOST_TRADES = 1000
SECOND_NS = 1000 * MS_NS
MOST_NS = 2**63 - 1
SECONDS_UP_TO = 10**12  # `since` may be seconds or nanoseconds: whatever is below this is seconds
INTERVALS = {
    "1": "1m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "240": "4h",
    "1440": "1d",
    "10080": "1w",
    "21600": "2w",
}


def _find_rows(document: Any) -> list[Any] | None:
    """Return the rows, which bear the name of the pair."""
    result = document.get("result") if isinstance(document, dict) else None
    lists = [part for part in (result or {}).values() if isinstance(part, list)]
    return lists[0] if lists else None


class Kraken(RestVenue):
    """The spot exchange."""

    hosts = frozenset({"api.kraken.com"})
    markets: ClassVar[tuple[Market, ...]] = (*SPOT, BTC_USD)
    outages: ClassVar[tuple[Outage, ...]] = (
        Outage(datetime(2018, 1, 11, 5, 0, tzinfo=UTC), datetime(2018, 1, 13, 5, 0, tzinfo=UTC)),
        Outage(datetime(2023, 6, 14, 7, 10, tzinfo=UTC), datetime(2023, 6, 14, 8, 25, tzinfo=UTC)),
    )
    timeframes: ClassVar[Mapping[str, Timeframe]] = {
        **choose("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"),
        "2w": FixedTimeframe(15 * DAY_MS),  # 21600 minutes: half a month rather than two weeks
    }
    allowances: ClassVar[Mapping[str, Allowance]] = {"calls": Bucket(reserve=10, per_second=1)}
    row_shapes: ClassVar[Mapping[str, RowShape]] = {
        "klines": RowShape(_find_rows, time=0, prices=(1, 2, 3, 4), unit_ms=1000),
        "trades": RowShape(_find_rows, time=2, prices=(0,), unit_ms=1000),
    }
    routes = (
        Route("time", "/0/public/Time", "time"),
        Route("assets", "/0/public/Assets", "assets"),
        Route("exchangeInfo", "/0/public/AssetPairs", "asset_pairs"),
        Route("klines", "/0/public/OHLC", "candles"),
        Route("trades", "/0/public/Trades", "trades"),
    )

    def __init__(self, histories: Iterable[History]) -> None:
        super().__init__(histories)
        self._ids = {pair_short_name(history.market): name for name, history in self.histories.items()}

    @staticmethod
    def market_id(market: Market) -> str:
        return pair_id(market)

    def too_many(self, _now_ms: int) -> Refused:
        return _refused("EGeneral:Too many requests")

    def time(self, call: Call) -> bytes:
        now = from_milliseconds(call.now_ms)
        return _result({"unixtime": call.now_ms // 1000, "rfc1123": format_datetime(now, usegmt=True)})

    def assets(self, call: Call) -> bytes:
        markets = [history.market for _, history in self.known(call.now_ms)]
        currencies = sorted({currency for market in markets for currency in (market.base, market.quote)})
        return _result({asset_id(currency): _asset(currency) for currency in currencies})

    def asset_pairs(self, call: Call) -> bytes:
        return _result({name: _pair(history, call.now_ms) for name, history in self.known(call.now_ms)})

    def candles(self, call: Call) -> bytes:
        """Answer with what of the newest candles opens after `since` (exclusive), whatever `since` is."""
        name, history = self._pair(call)
        timeframe = self.timeframes.get(INTERVALS.get(call.query.get("interval", "1"), ""))
        if timeframe is None:
            raise _refused("EGeneral:Invalid arguments:Invalid interval")
        since = whole_number(call.query.get("since"), _refused("EGeneral:Invalid arguments:since"), signed=True) or 0
        rows = history.newest(timeframe, CANDLES_KEPT, call.now_ms + 1, call.now_ms)
        closed = rows[timeframe.shift(rows["timestamp"], 1) <= call.now_ms]
        last = int(closed["timestamp"][-1]) // 1000 if len(closed) else 0
        rows = rows[rows["timestamp"] > since * 1000]
        return b'{"error":[],"result":{"%b":%b,"last":%d}}' % (name.encode(), _rows(rows, history.market), last)

    def trades(self, call: Call) -> bytes:
        """Answer with the oldest `count` trades after `since` (exclusive), or the newest without it; ascending.

        `last` is the time of the last one in nanoseconds, from which to ask on. Source:
        https://docs.kraken.com/api/docs/rest-api/get-recent-trades
        """
        name, history = self._pair(call)
        count = whole_number(call.query.get("count"), _refused("EGeneral:Invalid arguments:count"))
        if count is not None and not 1 <= count <= MOST_TRADES:
            raise _refused("EGeneral:Invalid arguments:count")
        invalid = _refused("EGeneral:Invalid arguments:since")
        since = whole_number(call.query.get("since"), invalid, MOST_NS, signed=True)
        now_ns = (call.now_ms + 1) * MS_NS
        tape = Tape(history)
        if since is None:
            since_ns = 0
            rows = tape.newest(count or MOST_TRADES, now_ns)
        else:
            since_ns = since * SECOND_NS if since < SECONDS_UP_TO else since
            rows = tape.oldest(count or MOST_TRADES, since_ns + 1, now_ns)
        last_ns = int(nanoseconds(rows[-1:])[0]) if len(rows) else since_ns
        page = _trade_rows(rows, history.market)
        return b'{"error":[],"result":{"%b":%b,"last":"%d"}}' % (name.encode(), page, last_ns)

    def _pair(self, call: Call) -> tuple[str, History]:
        """Return the id and the history of the pair that is asked for by either of its names."""
        pair = call.query.get("pair", "")
        name = self._ids.get(pair, pair)
        return name, self.history(name, call.now_ms, _refused("EQuery:Unknown asset pair"))


def _rows(rows: Rows, market: Market) -> bytes:
    """Return `[[time,"open","high","low","close","vwap","volume",count], …]`."""
    mean = rows["quote_volume"] // rows["volume"].clip(1)
    parts: list[Part] = ["[", seconds(rows), ',"']
    for name in ("open", "high", "low", "close"):
        parts += [price(rows, name, market), '","']
    mean_price = Decimals(mean, market.price_decimals, places=market.price_decimals)
    return json_rows([*parts, mean_price, '","', amount(rows, market), '",', Decimals(rows["trades"]), "]"])


def _trade_rows(trades: Rows, market: Market) -> bytes:
    """Return `[["price","amount",seconds,"b" or "s","m" or "l","",id], …]`; all of them met a market order here."""
    return json_rows(
        [
            '["',
            price(trades, "price", market),
            '","',
            Decimals(trades["amount"], market.amount_decimals, places=8),
            '",',
            Decimals(nanoseconds(trades) // 100, decimals=7, places=7),
            ',"',
            taker_side(trades, b"b", b"s"),
            '","m","",',
            Decimals(trades["id"]),
            "]",
        ]
    )


def _asset(currency: str) -> dict[str, Any]:
    return {
        "aclass": "currency",
        "altname": short_name(currency),
        "decimals": 10,
        "display_decimals": 5,
        "status": "enabled",
    }


def _pair(history: History, now_ms: int) -> dict[str, Any]:
    market = history.market
    return {
        "altname": pair_short_name(market),
        "wsname": f"{short_name(market.base)}/{short_name(market.quote)}",
        "aclass_base": "currency",
        "base": asset_id(market.base),
        "aclass_quote": "currency",
        "quote": asset_id(market.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": market.price_decimals,
        "lot_decimals": market.amount_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4], [10000, 0.35]],
        "fees_maker": [[0, 0.25], [10000, 0.2]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": market.amount_step,
        "costmin": "0.5",
        "tick_size": market.price_tick,
        "status": "online" if history.is_traded(now_ms) else "cancel_only",
    }


def _result(result: object) -> bytes:
    return orjson.dumps({"error": [], "result": result})


def _refused(error: str) -> Refused:
    """Return a refusal: Kraken says HTTP 200 and what is wrong."""
    return Refused({"error": [error]}, 200)
