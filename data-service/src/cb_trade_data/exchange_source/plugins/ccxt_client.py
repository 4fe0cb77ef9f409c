"""Any exchange that CCXT speaks to, through CCXT's own class."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from cb_trade_data.errors import CbTradeError, UnknownSymbolError
from cb_trade_data.exchange_source.facts import EventPaging, ExchangeFacts
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.exchange_source.once import Once
from cb_trade_data.exchange_source.plugins.ccxt_markets import EVERYTHING, CCXTMarkets
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

_TIMEOUT: Final = timedelta(seconds=10)
# Before any exchange there is, and not so early that one of them chokes on it.
_BEFORE_ALL: Final = datetime(2010, 1, 1, tzinfo=UTC)


class CCXTExchangeClient(IExchangeAPIClient):
    """One CCXT exchange; the CCXT class stays as published, only its base address and options are set.

    CCXT is imported at the first call, and markets are loaded when somebody sees by `markets_due` that they are needed:
    a service that answers from storage never pays for either.
    """

    def __init__(
        self,
        facts: ExchangeFacts,
        *,
        base_url: str | None = None,
        options: Mapping[str, Any] | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        timeout: timedelta = _TIMEOUT,
        monotonic_secs: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            facts: The exchange's row.
            base_url: Put in front of every API address in place of `https://`; None for the real exchange.
            options: Merged over the facts' CCXT options.
            api_key: Of an account at the exchange, for calls that CCXT signs; None where there is none.
            api_secret: That key's secret.
            timeout: How long an answer is waited for.
            monotonic_secs: The time by which markets grow old.
        """
        self.facts = facts
        self._base_url = base_url
        self._timeout = timeout
        self._options = {**facts.ccxt_options, **(options or {})}
        self._credentials = {} if api_key is None else {"apiKey": api_key, "secret": api_secret}
        self._exchange = Once(self._make_exchange)
        # Whoever says in the options which markets are loaded gets these, all together.
        parts = () if "fetchMarkets" in self._options else facts.ccxt_market_types
        self._markets = CCXTMarkets(parts, self._load_markets, monotonic_secs)
        self._parts: dict[str, list[dict[str, Any]]] = {}
        self._loading = asyncio.Lock()

    def markets_due(self, name: str, *, anew: bool) -> str | None:
        """See `IExchangeAPIClient.markets_due`."""
        return self._markets.due(name, anew=anew)

    async def load_markets(self, part: str) -> None:
        """See `IExchangeAPIClient.load_markets`."""
        await self._markets.load(part)

    async def market(self, symbol: str) -> Market:
        """See `IExchangeAPIClient.market`."""
        market = self._find(symbol)
        return Market(self._markets.id_of(market), market["active"] is not False)

    async def symbol_of(self, market_id: str) -> str | None:
        """See `IExchangeAPIClient.symbol_of`."""
        return self._markets.symbol_of(market_id)

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        """See `IExchangeAPIClient.fetch_ohlcv`."""
        bars, bounds = series.grid.bars_in(window), self.facts.bounds
        written = {} if bounds is None else bounds.parameters(window, bars)
        return Page(await self._fetch_candles(series, window.start, bars, written))

    async def fetch_trades(self, series: Series, window: TimeRange, from_id: str | None = None) -> Page:
        """See `IExchangeAPIClient.fetch_trades`."""
        paging = self._event_paging(series)
        by_id = None if paging.id_parameter is None or from_id is None else {paging.id_parameter: int(from_id)}
        rows = await self._fetch_rows("fetch_trades", series, paging, by_id or paging.question(window))
        if paging.tells_maker_side:
            rows = _with_taker_side(rows)
        is_full = rows.num_rows >= paging.page_limit_rows
        can_go_on = is_full and paging.id_parameter is not None and _is_one_time(rows)
        last_id = rows.column("id")[-1].as_py() if can_go_on else ""
        return Page(rows, is_cut=is_full, goes_on_at=str(int(last_id) + 1) if last_id.isdecimal() else None)

    async def fetch_funding_rates(self, series: Series, window: TimeRange) -> Page:
        """See `IExchangeAPIClient.fetch_funding_rates`."""
        paging = self._event_paging(series)
        return Page(await self._fetch_rows("fetch_funding_rate_history", series, paging, paging.question(window)))

    async def fetch_first_open(self, series: Series) -> datetime | None:
        """See `IExchangeAPIClient.fetch_first_open`."""
        bounds = self.facts.bounds
        # Without an end: with one, Bybit counts back from it.
        written = {} if bounds is None or bounds.start is None else {bounds.start: bounds.unit.write(_BEFORE_ALL)}
        opens_ms = timestamps_ms(await self._fetch_candles(series, _BEFORE_ALL, 1, written))
        return from_ms(int(opens_ms.min())) if len(opens_ms) else None

    async def fetch_time(self) -> datetime | None:
        """See `IExchangeAPIClient.fetch_time`."""
        exchange = await self._exchange.get()
        if not exchange.has["fetchTime"]:
            return None
        async with self._translated_errors():
            told = await exchange.fetch_time()
            return None if told is None else from_ms(told)

    async def close(self) -> None:
        """See `IExchangeAPIClient.close`."""
        if self._exchange.started:
            await (await self._exchange.get()).close()

    async def _fetch_candles(
        self, series: Series, since: datetime, limit: int, written: Mapping[str, int | str]
    ) -> pa.Table:
        self._find(series.symbol)
        exchange = await self._exchange.get()
        async with self._translated_errors(series.symbol):
            candles: pa.Table = await exchange.fetch_ohlcv(
                series.symbol, str(series.timeframe), since=to_ms(since), limit=limit, params=dict(written)
            )
        return candles

    async def _fetch_rows(
        self, method: str, series: Series, paging: EventPaging, written: Mapping[str, int | str]
    ) -> pa.Table:
        self._find(series.symbol)
        exchange = await self._exchange.get()
        async with self._translated_errors(series.symbol):
            # Without a start of its own, which CCXT would make an end of as well.
            rows: pa.Table = await getattr(exchange, method)(
                series.symbol, limit=paging.page_limit_rows, params=dict(written)
            )
        return rows

    def _event_paging(self, series: Series) -> EventPaging:
        paging = self.facts.event_paging(series)
        assert paging is not None, f"nobody asks for {series}"  # noqa: S101 - it would be refused before
        return paging

    def _find(self, symbol: str) -> Mapping[str, Any]:
        market = self._markets.get(symbol)
        if market is None:
            raise UnknownSymbolError(self.facts.id, symbol)
        return market

    async def _load_markets(self, part: str) -> Mapping[str, Any]:
        """Load one part of the markets, or all; CCXT gets to know them beside those it knows from other parts."""
        exchange = await self._exchange.get()
        # CCXT is told by its options which part to load.
        async with self._loading, self._translated_errors():
            if part == EVERYTHING:
                markets: Mapping[str, Any] = await exchange.load_markets(True)
                return markets
            exchange.options["fetchMarkets"] = {**_dict(exchange.options.get("fetchMarkets")), "types": [part]}
            self._parts[part] = await exchange.fetch_markets()
            everything: dict[str, Any] = exchange.set_markets(
                [each for loaded in self._parts.values() for each in loaded]
            )
            return {each["symbol"]: everything[each["symbol"]] for each in self._parts[part]}

    async def _make_exchange(self) -> Any:
        distrustful = await asyncio.to_thread(importlib.import_module, f"{__package__}.distrustful")
        # Its throttle is off: the connector decides when which call is made.
        exchange = distrustful.distrustful_class(self.facts)(
            {
                "enableRateLimit": False,
                "timeout": self._timeout / timedelta(milliseconds=1),
                "options": self._options,
                **self._credentials,
            }
        )
        if self._base_url is not None:
            exchange.urls["api"] = _rebased(exchange.urls["api"], self._base_url)
        return exchange

    @asynccontextmanager
    async def _translated_errors(self, symbol: str = "") -> AsyncIterator[None]:
        """Make errors ours. Not only CCXT's own: it trips over some answers with whatever Python raises for them."""
        try:
            yield
        except CbTradeError:
            raise
        except Exception as error:
            from cb_trade_data.exchange_source.plugins.ccxt_errors import translated

            raise translated(self.facts, error, symbol) from error


def _is_one_time(rows: pa.Table) -> bool:
    times = timestamps_ms(rows)
    return len(times) > 0 and bool(times[0] == times[-1])


def _with_taker_side(trades: pa.Table) -> pa.Table:
    """Return *trades*, of which `side` is the maker's, with the taker's: the other one."""
    side = trades.column("side")
    taker = pc.if_else(pc.equal(side, "buy"), "sell", pc.if_else(pc.equal(side, "sell"), "buy", side))
    return trades.set_column(trades.schema.get_field_index("side"), trades.schema.field("side"), taker)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _rebased(addresses: Any, base_url: str) -> Any:
    """Return CCXT's API addresses, a string or nested dicts, behind *base_url*; templates such as {hostname} stay."""
    if isinstance(addresses, dict):
        return {name: _rebased(address, base_url) for name, address in addresses.items()}
    return str(addresses).replace("https://", base_url.rstrip("/") + "/")
