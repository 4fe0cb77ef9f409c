"""The breakers of one exchange, and whom of them a failure is put down to: the exchange, or one of its markets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from cb_trade_data.errors import ExchangeNonsenseError, ExchangeUnavailableError
from cb_trade_data.exchange_source.breaker import Breaker
from cb_trade_data.exchange_source.stopwatch import Stopwatch

_MARKETS_TO_BLAME_THE_EXCHANGE: Final = 5
# A market of nonsense would spoil the probe for all: one of another market has this long to get its turn first.
_LATER_SECS: Final = 5.0


class Breakers:
    """Stand in the way of a call: that of its exchange, and that of the market that it asks about.

    An answer that is nonsense may be the market's fault alone. It is a failure of the market, and one of the exchange
    only the first time since a success, so that it takes five such markets to hold up the others. While the exchange's
    breaker is open it says nothing about the exchange until there are five of them, and somebody else finds out: of
    another market, if one is asked about. All else that fails is the exchange's failure alone.

    *about* is everywhere the symbol of the market that is asked about; None where it is the exchange itself.
    """

    def __init__(self, exchange: str, stopwatch: Stopwatch) -> None:
        self._name = exchange
        self._stopwatch = stopwatch
        self.exchange = Breaker(exchange, stopwatch)
        self._markets: dict[str, Breaker] = {}  # those that are not idle, by their symbols
        self._markets_of_nonsense: set[str] = set()  # since the first failure with no success after it

    @property
    def markets_held_up(self) -> int:
        """How many markets are not called, or by a probe only, for the nonsense that was said of them."""
        return sum(each.state != "closed" and each.has_failures for each in self._markets.values())

    async def passage(self, about: str | None) -> None:
        """Return once a call may be made; the caller looks again when it is about to. Raises as `Breaker.passage`."""
        await self.exchange.passage(lambda: self._later_secs(about))
        if (market := self._market(about)) is not None:
            await market.passage()

    def lets_through(self, about: str | None) -> bool:
        """Tell whether a call may be made now."""
        if not self.exchange.lets_through(self._later_secs(about)):
            return False
        market = self._market(about)
        return market is None or market.lets_through()

    def is_conclusive(self, about: str | None) -> bool:
        """Tell whether what is asked for has failed for good."""
        market = self._market(about)
        return self.exchange.is_conclusive or (market is not None and market.is_conclusive)

    @contextmanager
    def watching(self, about: str | None) -> Iterator[None]:
        """Learn from how the call inside ends. Only where they let it through, with no await in between."""
        with self.exchange.watching(partial(self._fault_of_exchange, about)):
            if about is None:
                yield
                return
            market = self._markets.setdefault(about, Breaker(self._name, self._stopwatch, about))
            try:
                with market.watching(_fault_of_market):
                    yield
            finally:
                self._markets = {symbol: each for symbol, each in self._markets.items() if not each.is_idle}

    def shut_down(self) -> None:
        """Send everybody home who waits, or comes later."""
        for breaker in (self.exchange, *self._markets.values()):
            breaker.shut_down()

    def _market(self, about: str | None) -> Breaker | None:
        return None if about is None else self._markets.get(about)

    def _fault_of_exchange(self, about: str | None, error: ExchangeUnavailableError) -> str | None:
        if not self.exchange.has_failures:
            self._markets_of_nonsense.clear()
        if about is None or not isinstance(error, ExchangeNonsenseError):
            return error.reason
        is_first = about not in self._markets_of_nonsense
        self._markets_of_nonsense.add(about)
        if self.exchange.state == "closed":
            is_to_blame = is_first
        else:
            is_to_blame = len(self._markets_of_nonsense) >= _MARKETS_TO_BLAME_THE_EXCHANGE
        # Those who ask about other markets are told this, too.
        return f"what it says of {about} makes no sense: {error.reason}" if is_to_blame else None

    def _later_secs(self, about: str | None) -> float:
        """Return by how much a call is to probe later than others may."""
        return _LATER_SECS if about in self._markets_of_nonsense else 0.0


def _fault_of_market(error: ExchangeUnavailableError) -> str | None:
    return error.reason if isinstance(error, ExchangeNonsenseError) else None
