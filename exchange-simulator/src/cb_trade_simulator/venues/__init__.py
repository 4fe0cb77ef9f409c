"""The simulated exchanges. A new one is a file in here and a row in this table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cb_trade_simulator.venues.binance import Binance

if TYPE_CHECKING:
    from cb_trade_simulator.venues.venue import Venue

VENUES: dict[str, type[Venue]] = {
    "binance": Binance,
}
