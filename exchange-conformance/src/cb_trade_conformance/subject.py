"""Whom a card is about: a plugin, and the simulated exchange that it is pointed at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cb_trade_data.errors import InvalidSettingsError
from cb_trade_data.exchange_source.discovery import ccxt_client, load_plugins, normalized, offered
from cb_trade_data.exchange_source.plugin import ExchangePlugin
from cb_trade_data.exchange_source.plugins.generic import ccxt_ids, generic_facts
from cb_trade_data.models.series import Kind
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_simulator.errors import SimulatorError, UnknownVenueError
from cb_trade_simulator.venues import GROUP, find_venue

if TYPE_CHECKING:
    from cb_trade_data.exchange_source.facts import ExchangeFacts
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.venues.venue import Venue

# Traded on every simulated exchange of a card: two that are busy, one listed in mid-month, and one with many minutes
# without a trade.
BUSY: Final = "BTC/USDT"
OTHER: Final = "ETH/USDT"
YOUNG: Final = "SOL/USDT"
QUIET: Final = "ADA/BTC"

#: Where most simulated exchanges stand: half a minute after a bar has closed.
PRESENT: Final = datetime(2024, 5, 1, 12, 34, 30, tzinfo=UTC)
_SPRING: Final = datetime(2023, 4, 10, tzinfo=UTC)
# An exchange that answers with its newest bars, whatever it is asked, is asked when there were few.
_EARLY_SPRING: Final = datetime(2018, 4, 10, tzinfo=UTC)
_EARLY_PRESENT: Final = datetime(2018, 5, 1, 12, 34, 30, tzinfo=UTC)
# An exchange that keeps so many bars forgets some while it is asked.
_SPARE_BARS: Final = 10
_HALF_A_MINUTE: Final = timedelta(seconds=30)
# What offers the built-in exchanges.
_OURS: Final = "cb-trade-data"


class UnfitSubjectError(Exception):
    """There is no card for what was asked for; the text says why."""


@dataclass(frozen=True)
class Past:
    """Bars of the past, and a present in which the exchange still serves them."""

    range: TimeRange
    timeframe: str
    now: datetime


@dataclass(frozen=True)
class Subject:
    """A plugin, and what is simulated for it.

    Attributes:
        plugin: As the service would run it.
        venue: The name of the simulated exchange; usually the plugin's own.
        seed: Which synthetic past that exchange has.
    """

    plugin: ExchangePlugin
    venue: str
    seed: int = 1

    @property
    def facts(self) -> ExchangeFacts:
        """What the plugin says of its exchange."""
        return self.plugin.facts

    @property
    def simulated(self) -> type[Venue]:
        """What is true of the simulated exchange."""
        return find_venue(self.venue)

    @property
    def perpetual(self) -> str | None:
        """A perpetual that the simulated exchange trades; None where it trades none."""
        return next((market.symbol for market in self.simulated.markets if market.is_perpetual), None)

    @property
    def present(self) -> datetime:
        """Where the exchange stands if only `BUSY` and its newest bars matter."""
        return PRESENT if self.facts.history_bars is None else _EARLY_PRESENT

    def past(self, bars: int = 30, timeframe: str = "1m", start: datetime | None = None) -> Past:
        """Return so many bars from *start*, or a day of spring, on; fewer where the exchange keeps only its newest.

        Its present is `PRESENT`, or soon after the bars where it would not serve them then. All markets but `YOUNG`
        have bars in spring.
        """
        grid, kept = Timeframe.parse(timeframe), self.facts.history_bars
        start = start or (_SPRING if kept is None else _EARLY_SPRING)
        if kept is not None:
            bars = min(bars, kept - _SPARE_BARS)
        end = grid.advance(start, bars)
        now = PRESENT if kept is None else grid.advance(end, 1) + _HALF_A_MINUTE
        return Past(TimeRange(start, end), timeframe, now)

    def symbols_with(self, kind: Kind) -> list[str]:
        """Return a market for each sort of markets of which the plugin serves a kind without bars.

        For funding rates, the perpetual that pays most often: of an exchange that keeps only some time of them, it may
        be the only one with more than a page.
        """
        found = [BUSY] if kind in self.facts.spot_events else []
        perpetual = self._perpetual_that_pays_most_often if kind is Kind.FUNDING_RATE else self.perpetual
        if kind in self.facts.perpetual_events and perpetual is not None:
            found.append(perpetual)
        return found

    @property
    def _perpetual_that_pays_most_often(self) -> str | None:
        perpetuals = [market for market in self.simulated.markets if market.is_perpetual]
        return None if not perpetuals else min(perpetuals, key=_hours_between_payments).symbol


def _generic(exchange: str) -> ExchangePlugin:
    """Return an exchange that nobody offers and CCXT has."""
    if exchange not in ccxt_ids():
        raise UnfitSubjectError(
            f"nobody offers an exchange {exchange!r}, and CCXT does not know it: "
            "correct the name, or install a package that offers it"
        )
    try:
        return ExchangePlugin(generic_facts(exchange), ccxt_client)
    except ValueError as error:
        raise UnfitSubjectError(f"{error}, and nobody else offers it: install a package that does") from error


def _hours_between_payments(perpetual: Market) -> int:
    changes = [hours for since, hours in perpetual.funding_changes if since <= PRESENT]
    return [perpetual.funding_hours, *changes][-1]


def find_subject(exchange: str, *, seed: int = 1, package: str | None = None) -> Subject:
    """Return the plugin of this name that an installed package offers, and the simulated exchange of that name.

    Args:
        exchange: The name by which the service knows it.
        seed: Which synthetic past the simulated exchange has.
        package: Whose plugin, where several packages offer one.

    Raises:
        UnfitSubjectError: There is no such plugin, several packages offer one, nobody simulates the exchange, or what
            is offered cannot be used.
    """
    offers = [entry_point for entry_point in offered() if entry_point.name == exchange]
    packages = sorted(_OURS if offer.dist is None else offer.dist.name for offer in offers)
    if package is None and len(offers) > 1:
        raise UnfitSubjectError(f"{exchange!r} is offered by {', '.join(packages)}: say whose is meant")
    if package is not None and normalized(package) not in map(normalized, packages):
        by = ", ".join(packages) or "nobody"
        raise UnfitSubjectError(f"{package!r} offers no exchange {exchange!r}; it is offered by {by}")
    try:
        if not offers:
            plugin = _generic(exchange)
        else:
            (plugin,) = load_plugins(offers, {} if package is None else {exchange: package}, named=[exchange])
        markets = {market.symbol for market in find_venue(exchange).markets}
    except InvalidSettingsError as error:
        raise UnfitSubjectError("; ".join(error.problems)) from error
    except UnknownVenueError as error:
        raise UnfitSubjectError(
            f"nobody simulates it ({error}): offer a simulated exchange under the entry points {GROUP}"
        ) from error
    except SimulatorError as error:
        raise UnfitSubjectError(str(error)) from error
    if lacking := sorted({BUSY, OTHER, YOUNG, QUIET} - markets):
        raise UnfitSubjectError(f"the simulated exchange does not trade {', '.join(lacking)}, which a card is about")
    return Subject(plugin, exchange, seed)
