"""Any exchange that CCXT speaks to, through CCXT's own class."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cb_trade_data.errors import CbTradeError, ExchangeUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.exchange_source.once import Once
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import TIMESTAMP
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

_TIMEOUT_MS: Final = 10_000
_REASON_MAX_CHARACTERS: Final = 200
_ADDRESS: Final = re.compile(r"\b[a-z]+://\S+")
_COLUMNS: Final = ("open", "high", "low", "close", "volume")


class CCXTExchangeClient(IExchangeAPIClient):
    """One CCXT exchange; the CCXT class stays as published, only its base address and options are set.

    CCXT is imported and the markets are loaded at the first call that needs them: a service that answers from storage
    never pays for either.
    """

    def __init__(
        self, facts: ExchangeFacts, *, base_url: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        """
        Args:
            facts: The exchange's row.
            base_url: Put in front of every API address in place of `https://`; None for the real exchange.
            options: Merged over the facts' CCXT options.
        """
        self.facts = facts
        self._base_url = base_url
        self._options = {**facts.ccxt_options, **(options or {})}
        self._exchange = Once(self._make_exchange)
        self._markets = Once(self._load_markets)

    async def market(self, symbol: str) -> Market:
        """See `IExchangeAPIClient.market`."""
        market = (await self._markets.get()).get(symbol)
        if market is None:
            raise UnknownSymbolError(self.facts.id, symbol)
        return Market(str(market["id"]), market["active"] is not False)

    async def symbol_of(self, market_id: str) -> str | None:
        """See `IExchangeAPIClient.symbol_of`."""
        markets = (await self._markets.get()).values()
        return next((market["symbol"] for market in markets if market["id"] == market_id), None)

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        """See `IExchangeAPIClient.fetch_ohlcv`."""
        bars = series.grid.bars_in(window)
        async with self._translated_errors(series.symbol):
            return _to_page(await self._fetch_rows(series, since_ms=to_ms(window.start), limit=bars))

    async def fetch_first_open(self, series: Series) -> datetime | None:
        """See `IExchangeAPIClient.fetch_first_open`."""
        async with self._translated_errors(series.symbol):
            rows = await self._fetch_rows(series, since_ms=0, limit=1)
            return from_ms(int(rows[0][0])) if rows else None

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
        await self._markets.cancel()
        if self._exchange.started:
            await (await self._exchange.get()).close()

    async def _fetch_rows(self, series: Series, *, since_ms: int, limit: int) -> list[list[Any]]:
        # Not left to CCXT: a cancelled caller would cancel the load that its neighbours wait for.
        await self._markets.get()
        exchange = await self._exchange.get()
        rows: list[list[Any]] = await exchange.fetch_ohlcv(
            series.symbol, str(series.timeframe), since=since_ms, limit=limit
        )
        return rows

    async def _load_markets(self) -> dict[str, Any]:
        exchange = await self._exchange.get()
        async with self._translated_errors():
            markets: dict[str, Any] = await exchange.load_markets()
        return markets

    async def _make_exchange(self) -> Any:
        exchange_class = await asyncio.to_thread(_distrustful_class, self.facts.id)
        exchange = exchange_class({"enableRateLimit": True, "timeout": _TIMEOUT_MS, "options": self._options})
        if self._base_url is not None:
            exchange.urls["api"] = _rebased(exchange.urls["api"], self._base_url)
        return exchange

    @asynccontextmanager
    async def _translated_errors(self, symbol: str = "") -> AsyncIterator[None]:
        """Make errors ours; every one of them means that the exchange gave no answer to be believed.

        Not only CCXT's own: it trips over some answers with whatever Python raises for them.
        """
        import ccxt

        try:
            yield
        except ccxt.BadSymbol as error:
            raise UnknownSymbolError(self.facts.id, symbol) from error
        except ccxt.BaseError as error:
            raise ExchangeUnavailableError(self.facts.id, _reason(error)) from error
        except CbTradeError:
            raise
        except Exception as error:
            reason = f"an answer that cannot be read: {type(error).__name__}"
            raise ExchangeUnavailableError(self.facts.id, reason) from error


def _distrustful_class(exchange_id: str) -> type[Any]:
    """Return CCXT's class with two checks added, where it would take a broken answer for an empty one.

    An HTTP 200 must hold JSON, and every candle in it a time. Candles are handed on as they came, neither sorted nor
    filtered nor cut, so that the validation sees what the exchange really said.

    The import takes half a second: call this off the event loop.
    """
    ccxt = importlib.import_module("ccxt.async_support")

    class Distrustful(getattr(ccxt, exchange_id)):  # type: ignore[misc]
        async def fetch(self, *args: Any, **kwargs: Any) -> Any:
            answer = await super().fetch(*args, **kwargs)
            # CCXT reads an empty object as an empty list; no venue means that by it.
            if not isinstance(answer, dict | list) or answer == {}:
                raise ccxt.BadResponse(f"{self.id} answered with something that is not JSON")
            return answer

        def parse_ohlcvs(self, ohlcvs: Any, market: Any = None, *_: Any, **__: Any) -> list[Any]:
            if not isinstance(ohlcvs, list) or not all(row and isinstance(row, list | dict) for row in ohlcvs):
                raise ccxt.BadResponse(f"{self.id} answered with something that is not candles")
            rows = [self.parse_ohlcv(row, market) for row in ohlcvs]
            if not all(isinstance(row[0], int) for row in rows):
                raise ccxt.BadResponse(f"{self.id} sent a candle without a time")
            return rows

    return Distrustful


def _reason(error: Exception) -> str:
    """Return *error* as a short line of ASCII without addresses, which may hold credentials: clients get to see it."""
    text = _ADDRESS.sub("(address)", f"{type(error).__name__}: {error}")
    return text.encode("ascii", "replace").decode()[:_REASON_MAX_CHARACTERS]


def _rebased(addresses: Any, base_url: str) -> Any:
    """Return CCXT's API addresses, a string or nested dicts, behind *base_url*; templates such as {hostname} stay."""
    if isinstance(addresses, dict):
        return {name: _rebased(address, base_url) for name, address in addresses.items()}
    return str(addresses).replace("https://", base_url.rstrip("/") + "/")


def _to_page(rows: list[list[Any]]) -> Page:
    """Return CCXT's rows as columns; a missing number is NaN."""
    times = pa.array([row[0] for row in rows], pa.int64()).cast(TIMESTAMP)
    numbers = np.array([row[1:6] for row in rows], dtype=np.float64).reshape(len(rows), len(_COLUMNS))
    columns = [times, *(pa.array(numbers[:, index]) for index in range(len(_COLUMNS)))]
    return Page(pa.table(columns, names=["timestamp", *_COLUMNS]))
