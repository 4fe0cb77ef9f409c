"""Finding the exchanges that installed packages offer, ours among them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from cb_trade_data.errors import InvalidSettingsError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.plugin import ExchangeAccess, ExchangePlugin
from cb_trade_data.exchange_source.plugins.generic import ccxt_ids, generic_facts
from cb_trade_data.models.series import ANY_EXCHANGE, EXCHANGE_NAME
from cb_trade_data.models.timeframe import Timeframe

if TYPE_CHECKING:
    from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient

GROUP: Final = "cb_trade.exchanges"
_OURS: Final = "cb-trade-data"
_ROWS: Final = "cb_trade_data.exchange_source.plugins.exchanges"

# Entry points like anybody's, but written here and not in our metadata: of an editable install, that is as old as the
# install, and the service would start without the exchanges it has learned since.
OWN: Final = tuple(
    EntryPoint(name, f"{_ROWS}:{name.upper()}", GROUP)
    for name in ("binance", "bybit", "coinbase", "coinbaseexchange", "cryptocom", "kraken", "okx")
)


def offered() -> list[EntryPoint]:
    """Return what all installed packages offer; loads nothing."""
    return [*OWN, *entry_points(group=GROUP)]


def load_plugins(
    found: Iterable[EntryPoint], chosen: Mapping[str, str], named: Iterable[str] = ()
) -> list[ExchangePlugin]:
    """Return the exchanges that *found* offer, and those of *named* that nobody offers and CCXT has, each once.

    CCXT is imported only where one of *named* is offered by nobody.

    Args:
        found: What packages offer.
        chosen: The distribution that counts, by the name of the exchange, where the settings say one.
        named: The exchanges that the settings name.

    Raises:
        InvalidSettingsError: With every problem there is, of all of them: two distributions offer one name and nobody
            chose, a plugin is broken, or CCXT cannot serve what nobody offers.
    """
    by_name: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry_point in found:
        by_name[entry_point.name].append(entry_point)
    plugins: list[ExchangePlugin] = []
    problems: list[str] = []
    for name in sorted({*by_name, *chosen, *named}):
        try:
            if name in by_name or name in chosen:
                plugins.append(_loaded(_the_one(name, by_name[name], chosen.get(name))))
            else:
                plugins.append(_generic(name))
        except _UnfitError as unfit:
            problems += unfit.problems
    if problems:
        raise InvalidSettingsError(problems, [])
    return plugins


class _UnfitError(Exception):
    """An exchange cannot be served as things are; each problem says why, where that was found, and what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def _the_one(name: str, offers: list[EntryPoint], chosen: str | None) -> EntryPoint:
    variable = f"{_variable(name)}__PLUGIN"
    by = ", ".join(sorted(_distribution(offer) for offer in offers)) or "nobody"
    if chosen is not None:
        offers = [offer for offer in offers if normalized(_distribution(offer)) == normalized(chosen)]
        if not offers:
            raise _UnfitError(
                f"{variable}: {chosen!r} offers no exchange {name!r}, it is offered by {by}: "
                "install that package, or correct or remove the setting"
            )
    if len(offers) > 1:
        raise _UnfitError(f"the exchange {name!r} is offered by {by}: remove one, or set {variable} to the one to use")
    return offers[0]


def _loaded(entry_point: EntryPoint) -> ExchangePlugin:
    where = f"the exchange {entry_point.name!r} of {_distribution(entry_point)} ({entry_point.value})"
    remedy = "repair that package, or remove it"
    try:
        value = entry_point.load()
    except Exception as error:  # anything at all: it is anybody's code
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise _UnfitError(f"{where} cannot be loaded ({said}): {remedy}") from error
    if isinstance(value, ExchangeFacts):
        value = ExchangePlugin(value, ccxt_client)
    if not isinstance(value, ExchangePlugin) or not isinstance(value.facts, ExchangeFacts):
        raise _UnfitError(
            f"{where} is neither ExchangeFacts nor an ExchangePlugin with such, but {type(value).__name__}: {remedy}"
        )
    try:
        problems = list(_wrong_with(value.facts, entry_point.name))
    except (AttributeError, TypeError) as error:
        problems = [f"has facts of other types than they should be ({error})"]
    if problems:
        raise _UnfitError(*(f"{where} {problem}: {remedy}" for problem in problems))
    return value


def _generic(name: str) -> ExchangePlugin:
    """Return an exchange that nobody offers and CCXT has."""
    if name not in ccxt_ids():
        raise _UnfitError(
            f"{_variable(name)}: nobody offers an exchange {name!r}, and CCXT does not know it: "
            "correct the name, or install a package that offers it"
        )
    try:
        return ExchangePlugin(generic_facts(name), ccxt_client)
    except ValueError as error:
        raise _UnfitError(
            f"{_variable(name)}: {error}, and nobody else offers it: "
            "remove what is set of it, or install a package that does"
        ) from error


def ccxt_client(facts: ExchangeFacts, access: ExchangeAccess) -> IExchangeAPIClient:
    """Return a client that serves *facts* through the CCXT class of the same id."""
    # Large imports, which commands that only look for names need not pay for.
    from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient

    return CCXTExchangeClient(
        facts,
        base_url=access.base_url,
        options=access.options,
        api_key=access.api_key,
        api_secret=access.api_secret,
    )


def _wrong_with(facts: ExchangeFacts, name: str) -> Iterable[str]:
    if not EXCHANGE_NAME.fullmatch(name):
        yield "has a name that is not made of up to 32 small letters, digits and underscores"
    if name == ANY_EXCHANGE:
        yield "has the name that stands for whichever exchange can answer"
    if facts.id != name:
        yield f"calls itself {facts.id!r} in its facts"
    if facts.page_limit_bars < 1:
        yield f"has pages of {facts.page_limit_bars} bars"
    if facts.concurrent_calls < 1:
        yield f"has {facts.concurrent_calls} places for calls under way, and so could never be called"
    pace, span_secs = facts.pace, facts.pace.per.total_seconds()
    if pace.calls <= 0 or span_secs <= 0 or pace.burst < 1:
        yield f"has a pace of {pace.calls} calls in {span_secs:g} s, of which {pace.burst} may come at once"
    if facts.markets_cost < 0 or facts.perpetual_page_cost < 0:
        yield "has calls that cost less than nothing"
    for timeframe in facts.timeframes:
        try:
            Timeframe.parse(timeframe)
        except ValueError:
            yield f"has a timeframe {timeframe!r}, which is not one"


def _variable(exchange: str) -> str:
    """Return what the settings of an exchange begin with."""
    return f"CB_TRADE_EXCHANGES__{exchange.upper()}"


def _distribution(entry_point: EntryPoint) -> str:
    return _OURS if entry_point.dist is None else str(entry_point.dist.name)


def normalized(distribution: str) -> str:
    """Return the name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
