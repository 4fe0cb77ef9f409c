"""The simulated exchanges. A new one of ours is a folder in here and a row in this table; packages may offer others."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final

from cb_trade_simulator.errors import BrokenVenueError, UnknownVenueError
from cb_trade_simulator.venues.binance import Binance
from cb_trade_simulator.venues.bybit import Bybit
from cb_trade_simulator.venues.coinbase import Coinbase
from cb_trade_simulator.venues.coinbaseexchange import CoinbaseExchange
from cb_trade_simulator.venues.cryptocom import CryptoCom
from cb_trade_simulator.venues.kraken import Kraken
from cb_trade_simulator.venues.okx import Okx
from cb_trade_simulator.venues.venue import Venue

GROUP: Final = "cb_trade.simulated_venues"
"""The entry points under which a package offers a venue: its name, and a class as `Venue` describes it."""

VENUES: dict[str, type[Venue]] = {
    "binance": Binance,
    "bybit": Bybit,
    "coinbase": Coinbase,
    "coinbaseexchange": CoinbaseExchange,
    "cryptocom": CryptoCom,
    "kraken": Kraken,
    "okx": Okx,
}
"""By the name of the class in CCXT that speaks to the real one."""


def find_venue(name: str) -> type[Venue]:
    """Return the venue of this name, one of ours or one that an installed package offers; ours cannot be replaced.

    Raises:
        UnknownVenueError: There is none.
        BrokenVenueError: What the package offers cannot be loaded, or is no venue.
    """
    if name in VENUES:
        return VENUES[name]
    offered = {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
    if name not in offered:
        raise UnknownVenueError(name, [*VENUES, *sorted(offered)])
    try:
        venue = offered[name].load()
    except Exception as error:  # anything at all: it is anybody's code
        raise BrokenVenueError(offered[name].value, f"{type(error).__name__}: {error}") from error
    lacking = [fact for fact in Venue.__annotations__ if not hasattr(venue, fact)]
    if not isinstance(venue, type) or lacking:
        raise BrokenVenueError(offered[name].value, f"it is no venue, for it lacks {', '.join(lacking) or 'a class'}")
    return venue
