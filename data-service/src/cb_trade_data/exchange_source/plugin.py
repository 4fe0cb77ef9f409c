"""What a package offers under the entry points `cb_trade.exchanges`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cb_trade_data.exchange_source.facts import ExchangeFacts

if TYPE_CHECKING:
    from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient


@dataclass(frozen=True)
class ExchangeAccess:
    """How the settings want an exchange to be reached.

    Attributes:
        base_url: Put in front of every address of its API in place of `https://`; None for the real exchange.
        options: Whatever the plugin takes; for CCXT, merged into the options of its class.
        api_key: Of an account there, for what only accounts may ask; None where there is none.
        api_secret: That key's secret; there if and only if the key is. Neither may be logged or told to anybody.
    """

    base_url: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    api_key: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ExchangePlugin:
    """An exchange with a client of its own. For an exchange that CCXT serves, a row of facts is plugin enough.

    Attributes:
        facts: What the exchange is like; the id is the name by which it is asked for.
        make_client: Makes the client of this process. It gets the facts with what the settings have changed in them,
            and must not call the exchange.
    """

    facts: ExchangeFacts
    make_client: Callable[[ExchangeFacts, ExchangeAccess], IExchangeAPIClient]
