"""The markets of a CCXT exchange: loaded when first needed, in parts where that is possible, and again when old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from cb_trade_data.exchange_source.once import Once

# CCXT never asks again by itself. Whether a market is traded may change, and a new one may be listed at any time.
MARKETS_OLD_AFTER: Final = timedelta(hours=1)
_NONE_BELIEVED_FOR: Final = timedelta(minutes=10)

LoadMarkets = Callable[[str | None], Awaitable[Mapping[str, Any]]]


class CCXTMarkets:
    """Finds markets, as CCXT describes them, by symbol and by the exchange's own name.

    On some venues a spot market and a perpetual bear the same name. There, those that are loaded apart from the spot
    markets are called `linear:BTCUSDT`: names that are unique.
    """

    def __init__(
        self, parts: tuple[str, ...], load: LoadMarkets, monotonic_secs: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            parts: What CCXT calls the parts: spot markets first, then perpetuals; empty for one that is everything.
            load: Loads a part, or everything (None), from the exchange.
            monotonic_secs: The time by which markets grow old.
        """
        names: tuple[str | None, ...] = parts or (None,)
        self._spot = _Part(names[0], load, monotonic_secs)
        self._perpetual = self._spot if len(names) == 1 else _Part(names[1], load, monotonic_secs)

    async def find(self, symbol: str, max_age: timedelta | None) -> Mapping[str, Any] | None:
        """Return a market as the exchange described it at most *max_age* ago, None meaning ever; None if it has none.

        That there is none is believed for ten minutes only.
        """
        part = self._part(symbol)
        market = (await part.markets(max_age)).get(symbol)
        return (await part.markets(_NONE_BELIEVED_FOR)).get(symbol) if market is None else market

    def id_of(self, market: Mapping[str, Any]) -> str:
        """Return the exchange's own name of a market, made unique."""
        part = self._part(market["symbol"])
        return str(market["id"]) if part is self._spot else f"{part.name}:{market['id']}"

    async def symbol_of(self, market_id: str) -> str | None:
        """Return the symbol by which a market goes today; None where there is no such market."""
        apart = self._perpetual is not self._spot and market_id.startswith(f"{self._perpetual.name}:")
        markets = (await (self._perpetual if apart else self._spot).markets(MARKETS_OLD_AFTER)).values()
        return next((str(market["symbol"]) for market in markets if self.id_of(market) == market_id), None)

    async def close(self) -> None:
        """End loads that are under way."""
        await asyncio.gather(self._spot.loading.cancel(), self._perpetual.loading.cancel())

    def _part(self, symbol: str) -> _Part:
        return self._perpetual if ":" in symbol else self._spot


class _Part:
    """Markets that are loaded together."""

    def __init__(self, name: str | None, load: LoadMarkets, monotonic_secs: Callable[[], float]) -> None:
        self.name = name
        self.loading = Once(self._reload, keep=False)
        self._load = load
        self._monotonic_secs = monotonic_secs
        self._markets: Mapping[str, Any] = {}
        self._loaded_at_secs: float | None = None

    async def markets(self, max_age: timedelta | None) -> Mapping[str, Any]:
        """Return the markets, loaded at most *max_age* ago; None takes them however old they are."""
        loaded = self._loaded_at_secs
        if loaded is None or (max_age and self._monotonic_secs() - loaded > max_age.total_seconds()):
            # Not left to CCXT: there a cancelled caller cancels the load that its neighbours wait for.
            await self.loading.get()
        return self._markets

    async def _reload(self) -> None:
        asked = self._monotonic_secs()
        self._markets = await self._load(self.name)
        self._loaded_at_secs = asked
