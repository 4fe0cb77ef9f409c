"""What is particular to each kind without bars: what its rows must be, and what their times tell."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cb_trade_data.historical.kinds.funding_rate import FUNDING_RATE_RULES
from cb_trade_data.historical.kinds.rules import EventRules
from cb_trade_data.historical.kinds.trades import TRADES_RULES
from cb_trade_data.models.series import Kind

__all__ = ["EVENT_RULES", "EventRules"]

#: A kind joins this table when it can be fetched.
EVENT_RULES: Final[Mapping[Kind, EventRules]] = MappingProxyType(
    {Kind.TRADES: TRADES_RULES, Kind.FUNDING_RATE: FUNDING_RATE_RULES}
)
