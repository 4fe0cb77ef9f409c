"""Which address answers what, and what it costs: spot, and perpetuals on a host of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from cb_trade_simulator.clock import DAY_MS, HOUR_MS, MS_NS
from cb_trade_simulator.limits import Window
from cb_trade_simulator.markets.catalogue import MARKETS
from cb_trade_simulator.markets.order_book import order_book
from cb_trade_simulator.markets.outages import Outage
from cb_trade_simulator.markets.tape import Tape
from cb_trade_simulator.markets.timeframes import TIMEFRAMES
from cb_trade_simulator.venues.binance.aggregates import aggregates_wanted
from cb_trade_simulator.venues.binance.exchange_info import exchange_info, futures_exchange_info, market_id
from cb_trade_simulator.venues.binance.funding import USUAL_FUNDING_HOURS, funding_rows, funding_terms
from cb_trade_simulator.venues.binance.parameters import (
    NUMBER_PATTERN,
    Parameters,
    Refused,
    invalid_interval,
    invalid_symbol,
    start_after_end,
    too_many_requests,
)
from cb_trade_simulator.venues.binance.rows import (
    aggregate_trade_rows,
    futures_aggregate_trade_rows,
    kline_rows,
    level_rows,
    trade_rows,
)
from cb_trade_simulator.venues.row_shape import RowShape, list_at
from cb_trade_simulator.venues.venue import Answer
from cb_trade_simulator.venues.weights import WeightPerMinute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cb_trade_simulator.limits import Allowance
    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.timeframes import Timeframe
    from cb_trade_simulator.venues.venue import Question

SPOT_HOSTS = frozenset(
    {"api.binance.com", "data-api.binance.vision", *(f"api{number}.binance.com" for number in range(1, 5))}
)
FUTURES_HOST = "fapi.binance.com"  # perpetuals settled in the quote currency
COIN_FUTURES_HOST = "dapi.binance.com"  # settled in the base currency: none are traded here
YEAR_MS = 365 * DAY_MS
NOT_FOUND = Answer(b"<html><body><h2>404 Not found</h2></body></html>", 404, content_type="text/html")


class Binance:
    """The exchange. Who has used up the minute's weight is turned away only if the simulator enforces limits."""

    spot_hosts: ClassVar[frozenset[str]] = SPOT_HOSTS
    markets: ClassVar[tuple[Market, ...]] = MARKETS
    timeframes: ClassVar[Mapping[str, Timeframe]] = TIMEFRAMES
    fills_quiet_minutes: ClassVar[bool] = True
    funding_jitter_ms: ClassVar[int] = 15  # booked at 1600156800010, say
    allowances: ClassVar[Mapping[str, Allowance]] = {
        "spot": Window(6000, 60),
        "futures": Window(2400, 60),
        "funding": Window(500, 300),
    }
    row_shapes: ClassVar[Mapping[str, RowShape]] = {
        "klines": RowShape(list_at(), time=0, prices=(1, 2, 3, 4)),
        "fundingRate": RowShape(list_at(), time="fundingTime", prices=("fundingRate",)),
        "trades": RowShape(list_at(), time="time", prices=("price",)),
        "aggTrades": RowShape(list_at(), time="T", prices=("p",)),
    }

    outages: ClassVar[tuple[Outage, ...]] = (
        Outage(datetime(2018, 2, 8, 0, 28, tzinfo=UTC), datetime(2018, 2, 8, 8, 30, tzinfo=UTC)),
        Outage(datetime(2018, 6, 26, 2, 0, tzinfo=UTC), datetime(2018, 6, 26, 12, 0, tzinfo=UTC)),
        Outage(datetime(2019, 5, 15, 3, 0, tzinfo=UTC), datetime(2019, 5, 15, 13, 0, tzinfo=UTC)),
        Outage(datetime(2020, 2, 19, 11, 38, tzinfo=UTC), datetime(2020, 2, 19, 17, 29, tzinfo=UTC)),
        Outage(datetime(2020, 6, 28, 2, 0, tzinfo=UTC), datetime(2020, 6, 28, 5, 0, tzinfo=UTC)),
        Outage(datetime(2020, 12, 21, 14, 10, tzinfo=UTC), datetime(2020, 12, 21, 14, 50, tzinfo=UTC)),
        Outage(datetime(2021, 4, 25, 4, 2, tzinfo=UTC), datetime(2021, 4, 25, 8, 45, tzinfo=UTC)),
        Outage(datetime(2023, 3, 24, 12, 40, tzinfo=UTC), datetime(2023, 3, 24, 14, 0, tzinfo=UTC)),
    )

    def __init__(self, histories: Iterable[History]) -> None:
        self._spot: dict[str, History] = {}
        self._perpetuals: dict[str, History] = {}
        for history in histories:
            (self._perpetuals if history.market.is_perpetual else self._spot)[market_id(history.market)] = history
        self._weights = {name: WeightPerMinute() for name in ("spot", "futures")}

    def endpoint(self, question: Question) -> str | None:
        route = self._route(question)
        return route.endpoint if route else None

    def cost(self, question: Question) -> tuple[str, int]:
        route = self._route(question)
        return (route.allowance, _weight(route, question)) if route else ("", 0)

    def refuse_too_many(self, question: Question, _now_ms: int, retry_after_secs: int | None) -> Answer:
        headers = {} if retry_after_secs is None else {"Retry-After": str(retry_after_secs)}
        allowance = self.allowances[self.cost(question)[0] or "spot"]
        limit = round(allowance.per_second * 60)
        return Answer(too_many_requests(limit).body, 429, headers)

    def answer(self, question: Question, now_ms: int) -> Answer:
        route = self._route(question)
        if route is None:
            return NOT_FOUND
        parameters = Parameters(question.query)
        weighed = "spot" if question.host in self.spot_hosts else "futures"
        allowance, weight = self.cost(question)
        used = str(self._weights[weighed].use(weight if allowance == weighed else 0, now_ms))
        headers = {"x-mbx-used-weight": used, "x-mbx-used-weight-1m": used}
        try:
            body = route.handler(self, parameters, now_ms)
        except Refused as refusal:
            return Answer(refusal.body, 400, headers)
        return Answer(body, headers=headers)

    def ping(self, parameters: Parameters, _now_ms: int) -> bytes:
        parameters.refuse_unread()
        return b"{}"

    def time(self, parameters: Parameters, now_ms: int) -> bytes:
        parameters.refuse_unread()
        return orjson.dumps({"serverTime": now_ms})

    def exchange_info(self, parameters: Parameters, now_ms: int) -> bytes:
        wanted = parameters.symbols()
        parameters.refuse_unread()
        histories = [_known(self._spot, symbol, now_ms) for symbol in wanted] or self._spot.values()
        return orjson.dumps(exchange_info([h for h in histories if h.is_known(now_ms)], now_ms))

    def futures_exchange_info(self, parameters: Parameters, now_ms: int) -> bytes:
        parameters.refuse_unread()
        return orjson.dumps(futures_exchange_info([h for h in self._perpetuals.values() if h.is_known(now_ms)], now_ms))

    def coin_futures_exchange_info(self, parameters: Parameters, now_ms: int) -> bytes:
        parameters.refuse_unread()
        return orjson.dumps(futures_exchange_info([], now_ms))

    def klines(self, parameters: Parameters, now_ms: int) -> bytes:
        return self._klines(self._spot, parameters, now_ms, most=1000)

    def futures_klines(self, parameters: Parameters, now_ms: int) -> bytes:
        return self._klines(self._perpetuals, parameters, now_ms, most=1500)

    @staticmethod
    def _klines(histories: Mapping[str, History], parameters: Parameters, now_ms: int, most: int) -> bytes:
        symbol, interval = parameters.symbol(), parameters.interval()
        start_ms, end_ms = parameters.instant("startTime"), parameters.instant("endTime")
        limit = parameters.limit(default=500, most=most)
        parameters.refuse_unread()
        history = _known(histories, symbol, now_ms)
        timeframe = TIMEFRAMES.get(interval)
        if timeframe is None:
            raise invalid_interval()
        stop_ms = now_ms + 1 if end_ms is None else end_ms + 1  # both ends are inclusive, by open time
        if start_ms is None:
            rows = history.newest(timeframe, limit, stop_ms, now_ms)
        else:
            rows = history.oldest(timeframe, limit, start_ms, stop_ms, now_ms)
        return kline_rows(rows, timeframe, history.market)

    def funding_rate(self, parameters: Parameters, now_ms: int) -> bytes:
        """Answer with the oldest `limit` from `startTime` on, or the newest without it; both ends are inclusive.

        Of all perpetuals, if none is named.
        """
        symbol = parameters.optional_symbol()
        start_ms, end_ms = parameters.instant("startTime"), parameters.instant("endTime")
        limit = parameters.limit(default=100, most=1000)
        parameters.refuse_unread()
        if start_ms is not None and end_ms is not None and start_ms > end_ms:
            raise start_after_end()
        stop_ms = now_ms + 1 if end_ms is None else end_ms + 1
        rows: list[dict[str, Any]] = []
        for name in [symbol] if symbol else [name for name, h in self._perpetuals.items() if h.is_known(now_ms)]:
            funding = _known(self._perpetuals, name, now_ms).funding
            if start_ms is None:
                found = funding.newest(limit, stop_ms, now_ms)
            else:
                found = funding.oldest(limit, start_ms, stop_ms, now_ms)
            rows += funding_rows(name, found)
        rows.sort(key=itemgetter("fundingTime"))
        return orjson.dumps(rows[-limit:] if start_ms is None else rows[:limit])

    def funding_info(self, parameters: Parameters, now_ms: int) -> bytes:
        """Answer with the perpetuals whose funding is not paid every eight hours."""
        parameters.refuse_unread()
        return orjson.dumps(
            [
                funding_terms(name, history.funding.hours_at(now_ms))
                for name, history in self._perpetuals.items()
                if history.is_known(now_ms) and history.funding.hours_at(now_ms) != USUAL_FUNDING_HOURS
            ]
        )

    def depth(self, parameters: Parameters, now_ms: int) -> bytes:
        symbol, limit = parameters.symbol(), parameters.limit(default=100, most=5000)
        parameters.refuse_unread()
        history = _known(self._spot, symbol, now_ms)
        last_close = history.newest(TIMEFRAMES["1m"], 1, now_ms + 1, now_ms)["close"]
        if not len(last_close):  # listed this very minute, nothing traded yet
            return b'{"lastUpdateId":%d,"bids":[],"asks":[]}' % now_ms
        book = order_book(history.market, history.seed, int(last_close[0]), now_ms)
        bids = level_rows(book.bid_prices[:limit], book.bid_amounts[:limit], history.market)
        asks = level_rows(book.ask_prices[:limit], book.ask_amounts[:limit], history.market)
        return b'{"lastUpdateId":%d,"bids":%b,"asks":%b}' % (now_ms, bids, asks)

    def trades(self, parameters: Parameters, now_ms: int) -> bytes:
        symbol, limit = parameters.symbol(), parameters.limit(default=500, most=1000)
        parameters.refuse_unread()
        history = _known(self._spot, symbol, now_ms)
        return trade_rows(Tape(history).newest(limit, (now_ms + 1) * MS_NS), history.market)

    def aggregate_trades(self, parameters: Parameters, now_ms: int) -> bytes:
        """Answer with all trades there ever were. CCXT asks here unless told otherwise."""
        wanted = aggregates_wanted(parameters, now_ms)
        history = _known(self._spot, wanted.symbol, now_ms)
        return aggregate_trade_rows(wanted.rows(Tape(history)), history.market)

    def futures_aggregate_trades(self, parameters: Parameters, now_ms: int) -> bytes:
        """Answer with trades of the last year; two bounds may lie an hour apart at most."""
        wanted = aggregates_wanted(parameters, now_ms, since_ms=now_ms - YEAR_MS, most_ms=HOUR_MS)
        history = _known(self._perpetuals, wanted.symbol, now_ms)
        return futures_aggregate_trade_rows(wanted.rows(Tape(history)), history.market)

    def _route(self, question: Question) -> Route | None:
        routes = ROUTES if question.host in self.spot_hosts else ROUTES_OF_OTHER_HOSTS.get(question.host, {})
        return routes.get(question.path)


def _known(histories: Mapping[str, History], symbol: str, now_ms: int) -> History:
    history = histories.get(symbol)
    if history is None or not history.is_known(now_ms):
        raise invalid_symbol()
    return history


@dataclass(frozen=True, slots=True)
class Route:
    """One address: its name in the counts, its weight, the method that answers it and what its calls draw on."""

    endpoint: str
    weight: int
    handler: Callable[[Binance, Parameters, int], bytes]
    allowance: str = "spot"


ROUTES = {
    "/api/v3/ping": Route("ping", 1, Binance.ping),
    "/api/v3/time": Route("time", 1, Binance.time),
    "/api/v3/exchangeInfo": Route("exchangeInfo", 20, Binance.exchange_info),
    "/api/v3/klines": Route("klines", 2, Binance.klines),
    "/api/v3/depth": Route("depth", 5, Binance.depth),
    "/api/v3/trades": Route("trades", 25, Binance.trades),
    "/api/v3/aggTrades": Route("aggTrades", 4, Binance.aggregate_trades),
}

FUTURES_ROUTES = {
    "/fapi/v1/time": Route("time", 1, Binance.time, "futures"),
    "/fapi/v1/exchangeInfo": Route("exchangeInfo", 1, Binance.futures_exchange_info, "futures"),
    "/fapi/v1/klines": Route("klines", 5, Binance.futures_klines, "futures"),
    "/fapi/v1/aggTrades": Route("aggTrades", 20, Binance.futures_aggregate_trades, "futures"),
    "/fapi/v1/fundingRate": Route("fundingRate", 1, Binance.funding_rate, "funding"),
    "/fapi/v1/fundingInfo": Route("fundingInfo", 1, Binance.funding_info, "funding"),
}
COIN_FUTURES_ROUTES = {
    "/dapi/v1/exchangeInfo": Route("exchangeInfo", 1, Binance.coin_futures_exchange_info, "futures"),
}
ROUTES_OF_OTHER_HOSTS = {FUTURES_HOST: FUTURES_ROUTES, COIN_FUTURES_HOST: COIN_FUTURES_ROUTES}

# A book weighs more the deeper it is: up to 100 levels the route's own weight, then these.
DEPTH_WEIGHTS = ((1000, 250), (500, 50), (100, 25))
# And a page of futures candles the longer it is: from so many rows on.
FUTURES_KLINE_WEIGHTS = ((1001, 10), (500, 5), (100, 2), (0, 1))


def _weight(route: Route, question: Question) -> int:
    limit = question.query.get("limit", "")
    if not re.fullmatch(NUMBER_PATTERN, limit, re.ASCII):
        return route.weight
    if route.endpoint == "depth":
        return next((weight for above, weight in DEPTH_WEIGHTS if int(limit) > above), route.weight)
    if route.endpoint == "klines" and question.host == FUTURES_HOST:
        return next(weight for rows, weight in FUTURES_KLINE_WEIGHTS if int(limit) >= rows)
    return route.weight
