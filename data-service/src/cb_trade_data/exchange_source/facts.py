"""What an exchange is like, as data: a plugin is a row of these until its behaviour truly differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from cb_trade_data.models.series import Kind


@dataclass(frozen=True)
class ExchangeFacts:
    """The facts of one exchange that planning and paging rest on.

    Attributes:
        id: CCXT's id of the exchange.
        timeframes: The bars it serves, in CCXT's spelling, shortest first.
        page_limit_bars: The most bars one answer holds.
        kinds: What can be had from it through us.
        settle_margin: How long after its end a bar may still change.
        concurrent_calls: How many of our calls may be under way at once.
        ccxt_options: Merged into the options of the CCXT class.
    """

    id: str
    timeframes: tuple[str, ...]
    page_limit_bars: int
    kinds: frozenset[Kind] = frozenset({Kind.OHLCV})
    settle_margin: timedelta = timedelta(seconds=2)
    concurrent_calls: int = 4
    ccxt_options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
