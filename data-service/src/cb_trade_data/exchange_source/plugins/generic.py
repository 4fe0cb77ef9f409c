"""A row of facts for an exchange that nobody has proven: what CCXT says of its class, read with caution."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from cb_trade_data.exchange_source.facts import ExchangeFacts, Pace
from cb_trade_data.models.timeframe import Timeframe

_PAGE_BARS: Final = 100
_DAY_MS: Final = 86_400_000
# CCXT's figure is a unit of cost, of which a page of candles takes one or two.
_UNITS_PER_PAGE: Final = 2
_SHORTEST_BETWEEN_CALLS: Final = timedelta(milliseconds=125)
_MARKETS_COST: Final = 5
_CONCURRENT_CALLS: Final = 4


def ccxt_ids() -> list[str]:
    """Return the exchanges that the installed CCXT knows, without paying for its import."""
    spec = importlib.util.find_spec("ccxt")
    folders = (
        [] if spec is None else [str(Path(place) / "async_support") for place in spec.submodule_search_locations or ()]
    )
    return sorted(module.name for module in pkgutil.iter_modules(folders) if not module.ispkg)


def generic_facts(exchange_id: str) -> ExchangeFacts:
    """Return facts good enough to be served exactly, if not with the fewest calls; imports CCXT.

    Windows are asked for by start and number. Left out are bars whose grid is not the same everywhere: months, which
    CCXT counts as 30 days; weeks, which some begin on Thursday (KuCoin, Hyperliquid); several days, which begin on any.

    Raises:
        ValueError: CCXT's class has no candles of which we know the grid.
    """
    exchange: Any = getattr(importlib.import_module("ccxt.async_support"), exchange_id)()
    timeframes = sorted(
        filter(_has_our_grid, exchange.timeframes or ()), key=lambda name: Timeframe.parse(name).duration_ms
    )
    if exchange.has["fetchOHLCV"] is not True or not timeframes:
        raise ValueError(f"CCXT has no candles of {exchange_id}")
    between = max(_SHORTEST_BETWEEN_CALLS, timedelta(milliseconds=exchange.rateLimit) * _UNITS_PER_PAGE)
    return ExchangeFacts(
        id=exchange_id,
        timeframes=tuple(timeframes),
        page_limit_bars=min(_page_limits(exchange.features or {}), default=_PAGE_BARS),
        is_proven=False,
        pace=Pace(1, between),
        markets_cost=_MARKETS_COST,
        concurrent_calls=_CONCURRENT_CALLS,
    )


def _has_our_grid(name: str) -> bool:
    try:
        timeframe = Timeframe.parse(name)
    except ValueError:
        return False
    return timeframe.unit in "smhd" and _DAY_MS % timeframe.duration_ms == 0


def _page_limits(features: dict[str, Any]) -> Iterable[int]:
    """Yield the page limits of all kinds of markets, nested as CCXT likes."""
    for name, feature in features.items():
        if name == "fetchOHLCV" and isinstance(feature, dict):
            if isinstance(limit := feature.get("limit"), int) and limit > 0:
                yield limit
        elif isinstance(feature, dict):
            yield from _page_limits(feature)
