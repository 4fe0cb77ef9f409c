"""The simulated exchanges. A new one is a folder in here and a row in this table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cb_trade_simulator.venues.binance import Binance
from cb_trade_simulator.venues.bybit import Bybit
from cb_trade_simulator.venues.coinbase import Coinbase
from cb_trade_simulator.venues.coinbaseexchange import CoinbaseExchange
from cb_trade_simulator.venues.cryptocom import CryptoCom
from cb_trade_simulator.venues.kraken import Kraken
from cb_trade_simulator.venues.okx import Okx

if TYPE_CHECKING:
    from cb_trade_simulator.venues.venue import Venue

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
