"""The markets of a CCXT exchange: loaded when first needed, in parts where that is possible, and again when old."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

# CCXT never asks again by itself. Whether a market is traded may change, and a new one may be listed at any time.
_OLD_AFTER: Final = timedelta(hours=1)
_NONE_BELIEVED_FOR: Final = timedelta(minutes=10)

LoadMarkets = Callable[[str], Awaitable[Mapping[str, Any]]]

EVERYTHING: Final = "all"


class CCXTMarkets:
    """Finds markets, as CCXT describes them, by symbol and by the exchange's own name.

    On some venues a spot market and a perpetual bear the same name. There, those that are loaded apart from the spot
    markets are called `linear:BTCUSDT`: names that are unique.
    """

    def __init__(self, parts: tuple[str, ...], load: LoadMarkets, monotonic_secs: Callable[[], float]) -> None:
        """
        Args:
            parts: What CCXT calls the parts: spot markets first, then perpetuals; empty for one that is everything.
            load: Loads a part, or `EVERYTHING`, from the exchange.
            monotonic_secs: The time by which markets grow old.
        """
        first, *rest = parts or (EVERYTHING,)
        self._spot = _Part(first, load, monotonic_secs)
        self._perpetual = _Part(rest[0], load, monotonic_secs) if rest else self._spot

    def due(self, name: str, *, anew: bool) -> str | None:
        """Return the part to load before anything is said of *name*, a symbol or a market id; None for none.

        Due is what was never loaded, and with *anew* what was loaded long ago. That there is no such market is believed
        for ten minutes only.
        """
        part = self._part(name)
        is_known = name in part.markets or self.symbol_of(name) is not None
        max_age = None if is_known and not anew else _OLD_AFTER if is_known else _NONE_BELIEVED_FOR
        return part.name if part.is_older_than(max_age) else None

    async def load(self, name: str) -> None:
        """Load the part of that name, or load it again."""
        await (self._spot if name == self._spot.name else self._perpetual).load()

    def get(self, symbol: str) -> Mapping[str, Any] | None:
        """Return a market as the exchange described it last; None where it has none, or has not been asked."""
        return self._part(symbol).markets.get(symbol)

    def id_of(self, market: Mapping[str, Any]) -> str:
        """Return the exchange's own name of a market, made unique."""
        part = self._part(market["symbol"])
        return str(market["id"]) if part is self._spot else f"{part.name}:{market['id']}"

    def symbol_of(self, market_id: str) -> str | None:
        """Return the symbol by which a market went last; None where there is no such market."""
        markets = self._part(market_id).markets.values()
        return next((str(market["symbol"]) for market in markets if self.id_of(market) == market_id), None)

    def _part(self, name: str) -> _Part:
        return self._perpetual if ":" in name else self._spot


class _Part:
    """Markets that are loaded together."""

    def __init__(self, name: str, load: LoadMarkets, monotonic_secs: Callable[[], float]) -> None:
        self.name = name
        self.markets: Mapping[str, Any] = {}
        self._load = load
        self._monotonic_secs = monotonic_secs
        self._loaded_at_secs: float | None = None

    def is_older_than(self, max_age: timedelta | None) -> bool:
        """Tell whether the markets were loaded longer than *max_age* ago, or never; None is any age."""
        if self._loaded_at_secs is None:
            return True
        return max_age is not None and self._monotonic_secs() - self._loaded_at_secs > max_age.total_seconds()

    async def load(self) -> None:
        asked_at_secs = self._monotonic_secs()
        self.markets = await self._load(self.name)
        self._loaded_at_secs = asked_at_secs
