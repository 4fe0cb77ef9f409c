"""The unmodified CCXT classes, pointed at a simulator, and the way of paging that is exact with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import ccxt.async_support as ccxt

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.clock import HOUR_MS, MS_NS, to_milliseconds
from cb_trade_simulator.markets.timeframes import shifted
from cb_trade_simulator.venues import VENUES

PAGE_ROWS = {
    "binance": 1000,
    "bybit": 1000,
    "coinbase": 300,
    "coinbaseexchange": 300,
    "cryptocom": 300,
    "kraken": 720,
    "okx": 300,
}


def rewritten(address: Any, base_url: str) -> Any:
    if isinstance(address, dict):
        return {name: rewritten(part, base_url) for name, part in address.items()}
    return address.replace("https://", f"{base_url}/") if isinstance(address, str) else address


def make_exchange(simulator: ExchangeSimulator, venue: str, **config: Any) -> Any:
    # After it is closed it waits for TLS connections to end; there are none.
    exchange = getattr(ccxt, venue)({"enableRateLimit": False, "timeout_on_exit": 0, **config})
    exchange.urls["api"] = rewritten(exchange.urls["api"], simulator.base_url)
    return exchange


async def fetch_all(exchange: Any, symbol: str, timeframe: str, start: datetime, end: datetime) -> list[list[float]]:
    """Return all rows in [start, end), as few calls as the venue's pages allow."""
    venue = exchange.id
    grid, limit = VENUES[venue].timeframes[timeframe], PAGE_ROWS[venue]
    since, end_ms = to_milliseconds(start), to_milliseconds(end)
    if venue == "kraken":  # what one call does not bring, no call does
        rows = await exchange.fetch_ohlcv(symbol, timeframe, since=since)
        return [row for row in rows if since <= row[0] < end_ms]
    rows = []
    while since < end_ms:
        window_end = min(shifted(grid, since, limit), end_ms)
        page = await exchange.fetch_ohlcv(symbol, timeframe, since=since, limit=limit)
        page = [row for row in page if since <= row[0] < window_end]
        rows += page
        since = shifted(grid, page[-1][0], 1) if len(page) == limit else window_end
    return rows


async def fetch_all_funding(exchange: Any, symbol: str, start: datetime, end: datetime) -> list[tuple[int, float]]:
    """Return time and rate of all funding booked in [start, end), oldest first, in pages as large as the venue's.

    What is booked several times at one instant may be told less often, if a page ends there.
    """
    walk = _funding_forwards if exchange.id == "binance" else _funding_backwards
    rows = await walk(exchange, symbol, to_milliseconds(start), to_milliseconds(end))
    return [(row["timestamp"], row["fundingRate"]) for row in rows]


async def fetch_all_trades(exchange: Any, symbol: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return all trades in [start, end), oldest first, in the way of paging that loses none."""
    walk = {
        "binance": _trades_of_binance,
        "coinbase": _trades_of_coinbase,
        "coinbaseexchange": _trades_of_coinbase_exchange,
        "cryptocom": _trades_of_crypto_com,
        "kraken": _trades_of_kraken,
        "okx": _trades_of_okx,
    }[exchange.id]
    start_ms, end_ms = to_milliseconds(start), to_milliseconds(end)
    trades = await walk(exchange, symbol, start_ms, end_ms)
    return [trade for trade in trades if start_ms <= trade["timestamp"] < end_ms]


async def _trades_of_binance(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Ask for the first page by time, an hour at once, and go on by id."""
    trades: list[dict[str, Any]] = []
    while not trades and start_ms < end_ms:
        trades = await exchange.fetch_trades(symbol, start_ms, 1000)
        start_ms += HOUR_MS
    page = trades
    while page and page[-1]["timestamp"] < end_ms:
        page = await exchange.fetch_trades(symbol, None, 1000, {"fromId": int(page[-1]["id"]) + 1})
        trades = trades + page
    return trades


async def _trades_of_kraken(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Ask in nanoseconds, and on from the last one's, which CCXT puts behind the last row."""
    trades: list[dict[str, Any]] = []
    since_ns = start_ms * MS_NS - 1
    while True:
        page = await exchange.fetch_trades(symbol, None, 1000, {"since": str(since_ns)})
        trades += page
        if len(page) < 1000 or page[-1]["timestamp"] >= end_ms:
            return trades
        since_ns = int(page[-1]["info"][-1])


async def _trades_of_coinbase(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Ask for the newest before whole seconds, and again for a second that a page has cut."""
    trades: dict[str, dict[str, Any]] = {}
    while True:
        page = await exchange.fetch_trades(symbol, start_ms, 1000, {"until": end_ms})
        trades = {trade["id"]: trade for trade in page} | trades
        if len(page) < 1000:
            return list(trades.values())
        end_ms = page[0]["timestamp"] // 1000 * 1000 + 1000


async def _trades_of_coinbase_exchange(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Look for the first id after the end by halves, and go back from there by id."""
    (newest,) = await exchange.fetch_trades(symbol, None, 1)
    low, high = 0, int(newest["id"]) + 1
    while high - low > 1:
        middle = (low + high) // 2
        found = await exchange.fetch_trades(symbol, None, 1, {"after": middle})
        low, high = (low, middle) if found and found[0]["timestamp"] >= end_ms else (middle, high)
    trades: list[dict[str, Any]] = []
    after = high
    while True:
        page = await exchange.fetch_trades(symbol, None, 1000, {"after": after})
        trades = page + trades
        if len(page) < 1000 or page[0]["timestamp"] < start_ms:
            return trades
        after = int(page[0]["id"])


async def _trades_of_crypto_com(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Go back by nanoseconds."""
    trades: list[dict[str, Any]] = []
    end_ns = end_ms * MS_NS
    while True:
        page = await exchange.fetch_trades(symbol, None, 150, {"start_ts": start_ms * MS_NS, "end_ts": end_ns})
        trades = page + trades
        if len(page) < 150:
            return trades
        end_ns = int(page[0]["info"]["tn"])


async def _trades_of_okx(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Find the end by time, and go back from there by id."""
    trades: list[dict[str, Any]] = []
    cursor = {"type": "2", "after": str(end_ms)}
    while True:
        page = await exchange.fetch_trades(symbol, None, 100, {"method": "publicGetMarketHistoryTrades", **cursor})
        trades = page + trades
        if len(page) < 100 or page[0]["timestamp"] < start_ms:
            return trades
        cursor = {"after": page[0]["id"]}


async def _funding_forwards(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        page = await exchange.fetch_funding_rate_history(symbol, start_ms, 1000, {"until": end_ms - 1})
        rows += page
        if len(page) < 1000:
            return rows
        start_ms = page[-1]["timestamp"] + 1


async def _funding_backwards(exchange: Any, symbol: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
    """Ask for the newest before what is there already, as venues that tell the newest first want it."""
    rows: list[dict[str, Any]] = []
    while True:
        since_ms, limit, bound = {
            "bybit": (start_ms, 200, {"until": end_ms - 1}),
            "cryptocom": (start_ms - 1, 300, {"until": end_ms}),
            "okx": (start_ms, 400, {"after": end_ms}),
        }[exchange.id]
        page = await exchange.fetch_funding_rate_history(symbol, since_ms, limit, bound)
        rows = page + rows
        if len(page) < limit:
            return rows
        end_ms = page[0]["timestamp"]
