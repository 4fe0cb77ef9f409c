"""Exchanges come from installed packages: found, told apart, and loaded before the service starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import Distribution, EntryPoint

import pytest

from cb_trade_data.errors import ErrorCode, InvalidSettingsError
from cb_trade_data.exchange_source.discovery import GROUP, OWN, load_plugins, offered
from cb_trade_data.exchange_source.facts import ExchangeFacts, Pace
from cb_trade_data.exchange_source.plugin import ExchangeAccess, ExchangePlugin
from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient
from cb_trade_data.exchange_source.plugins.exchanges import BINANCE, EXCHANGES

HERE = "test_discovery_plugins"
ROW = ExchangeFacts("mine", ("1m",), 100)
PLUGIN = ExchangePlugin(ROW, lambda facts, access: NotImplemented)
SECOND = timedelta(seconds=1)
UNUSABLE = {
    "PLACELESS": {"concurrent_calls": 0},
    "STANDING": {"pace": Pace(0, SECOND)},
    "TIMELESSLY_PACED": {"pace": Pace(2, timedelta(0))},
    "BURSTLESS": {"pace": Pace(2, SECOND, burst=0)},
    "FREE": {"perpetual_page_cost": -1.0},
    "FREE_MARKETS": {"markets_cost": -1},
    "PACED_BY_WORD": {"pace": "fast"},
}


class _Distribution(Distribution):
    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def read_text(self, filename):
        raise NotImplementedError

    def locate_file(self, path):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _others_package(monkeypatch) -> None:
    """Somebody's module, without a file."""
    import sys
    from types import ModuleType

    module = ModuleType(HERE)
    module.ROW, module.PLUGIN, module.TEXT = ROW, PLUGIN, "a row"
    module.BINANCE = ExchangeFacts("binance", ("1m",), 5)
    module.PAGELESS = ExchangeFacts("mine", ("1m",), 0)
    for row, wrong in UNUSABLE.items():
        setattr(module, row, replace(ROW, **wrong))
    module.TIMELESS = ExchangeFacts("mine", ("1m", "7x"), 5)
    module.TYPELESS = ExchangeFacts("mine", ("1m",), "a thousand")
    module.FACTLESS = ExchangePlugin("mine", lambda facts, access: NotImplemented)
    module.WRONG = ExchangeFacts("yours", ("7x",), 0)
    monkeypatch.setitem(sys.modules, HERE, module)


def offer(name: str, value: str, distribution: str = "their-exchanges") -> EntryPoint:
    return EntryPoint(name, value, GROUP)._for(_Distribution(distribution))


def problems_of(*offers: EntryPoint, named: Iterable[str] = (), **chosen: str) -> list[str]:
    with pytest.raises(InvalidSettingsError) as caught:
        load_plugins(offers, chosen, named)
    assert caught.value.code is ErrorCode.INVALID_SETTINGS
    return caught.value.problems


def test_our_own_exchanges_are_found_whatever_is_installed():
    assert [plugin.facts for plugin in load_plugins(OWN, {})] == sorted(EXCHANGES, key=lambda facts: facts.id)
    assert set(OWN) <= set(offered())


def test_a_row_of_facts_is_plugin_enough():
    (plugin,) = load_plugins([offer("mine", f"{HERE}:ROW")], {})

    assert plugin.facts is ROW
    client = plugin.make_client(ROW, ExchangeAccess("http://127.0.0.1:1/h", {"a": 1}))
    assert isinstance(client, CCXTExchangeClient)
    assert client.facts is ROW


def test_a_plugin_may_have_a_client_of_its_own():
    (plugin,) = load_plugins([offer("mine", f"{HERE}:PLUGIN")], {})

    assert plugin is PLUGIN


def test_a_name_that_two_packages_offer_is_refused_with_both_of_them():
    (problem,) = problems_of(*OWN, offer("binance", f"{HERE}:BINANCE"))

    assert problem == (
        "the exchange 'binance' is offered by cb-trade-data, their-exchanges: "
        "remove one, or set CB_TRADE_EXCHANGES__BINANCE__PLUGIN to the one to use"
    )


@pytest.mark.parametrize(
    ("distribution", "page"),
    [("their-exchanges", 5), ("Their_Exchanges", 5), ("cb-trade-data", BINANCE.page_limit_bars)],
)
def test_the_settings_say_which_of_two_counts(distribution, page):
    plugins = load_plugins([*OWN, offer("binance", f"{HERE}:BINANCE")], {"binance": distribution})

    assert {plugin.facts.id: plugin.facts.page_limit_bars for plugin in plugins}["binance"] == page
    assert len(plugins) == len(OWN)


@pytest.mark.parametrize(("name", "by"), [("binance", "cb-trade-data"), ("kucoin", "nobody")])
def test_a_package_that_does_not_offer_the_exchange_cannot_be_chosen(name, by):
    (problem,) = problems_of(*OWN, **{name: "typo"})

    assert problem == (
        f"CB_TRADE_EXCHANGES__{name.upper()}__PLUGIN: 'typo' offers no exchange {name!r}, it is offered by {by}: "
        "install that package, or correct or remove the setting"
    )


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("mine", "no_such_module:ROW", "cannot be loaded (ModuleNotFoundError: No module named 'no_such_module')"),
        ("mine", f"{HERE}:NONE", f"cannot be loaded (AttributeError: module '{HERE}' has no attribute 'NONE')"),
        ("mine", f"{HERE}:TEXT", "is neither ExchangeFacts nor an ExchangePlugin with such, but str"),
        ("mine", f"{HERE}:FACTLESS", "is neither ExchangeFacts nor an ExchangePlugin with such, but ExchangePlugin"),
        ("yours", f"{HERE}:ROW", "calls itself 'mine' in its facts"),
        ("mine", f"{HERE}:PAGELESS", "has pages of 0 bars"),
        ("mine", f"{HERE}:PLACELESS", "has 0 places for calls under way, and so could never be called"),
        ("mine", f"{HERE}:STANDING", "has a pace of 0 calls in 1 s, of which 1 may come at once"),
        ("mine", f"{HERE}:TIMELESSLY_PACED", "has a pace of 2 calls in 0 s, of which 1 may come at once"),
        ("mine", f"{HERE}:BURSTLESS", "has a pace of 2 calls in 1 s, of which 0 may come at once"),
        ("mine", f"{HERE}:FREE", "has calls that cost less than nothing"),
        ("mine", f"{HERE}:FREE_MARKETS", "has calls that cost less than nothing"),
        ("mine", f"{HERE}:TIMELESS", "has a timeframe '7x', which is not one"),
        ("any", f"{HERE}:ROW", "has the name that stands for whichever exchange can answer"),
        ("Mine", f"{HERE}:ROW", "has a name that is not made of up to 32 small letters, digits and underscores"),
    ],
)
def test_a_plugin_that_cannot_be_used_says_why_and_whose_it_is_and_what_to_do(name, value, why):
    problems = problems_of(offer(name, value))

    assert f"the exchange {name!r} of their-exchanges ({value}) {why}: repair that package, or remove it" in problems


@pytest.mark.parametrize("row", ["TYPELESS", "PACED_BY_WORD"])
def test_facts_of_wrong_types_are_a_problem_like_any_other(row):
    (problem,) = problems_of(offer("mine", f"{HERE}:{row}"))

    assert problem.startswith(f"the exchange 'mine' of their-exchanges ({HERE}:{row}) has facts of other types than")


def test_all_problems_are_told_at_once():
    problems = problems_of(
        offer("a", f"{HERE}:NONE"),
        offer("b", f"{HERE}:WRONG"),
        *OWN,
        offer("kraken", f"{HERE}:ROW"),
        named=["coinspot", "kraken", "mtgox"],
        okx="typo",
    )

    assert [problem.split(": ")[-1] for problem in problems] == [
        "repair that package, or remove it",
        *["repair that package, or remove it"] * 3,
        "remove what is set of it, or install a package that does",
        "remove one, or set CB_TRADE_EXCHANGES__KRAKEN__PLUGIN to the one to use",
        "correct the name, or install a package that offers it",
        "install that package, or correct or remove the setting",
    ]


def test_a_plugin_that_is_broken_is_told_once_even_if_the_settings_name_it():
    assert len(problems_of(offer("kucoin", f"{HERE}:NONE"), named=["kucoin"])) == 1


# --- Exchanges that nobody offers ------------------------------------------------------------------------------------


def test_an_exchange_that_only_ccxt_knows_gets_a_cautious_row():
    (plugin,) = load_plugins([], {}, named=["kucoin"])
    facts = plugin.facts

    assert facts.timeframes == ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
    assert facts.page_limit_bars == 500
    assert facts.bounds is None
    assert not facts.jumps_to_first
    assert facts.pace.calls_per_sec <= 10


def test_an_exchange_that_the_settings_name_and_a_package_offers_is_the_package_s():
    (plugin,) = load_plugins([offer("mine", f"{HERE}:ROW")], {}, named=["mine"])

    assert plugin.facts is ROW


@pytest.mark.parametrize(
    ("name", "why", "what_to_do"),
    [
        (
            "mtgox",
            "nobody offers an exchange 'mtgox', and CCXT does not know it",
            "correct the name, or install a package that offers it",
        ),
        (
            "coinspot",
            "CCXT has no candles of coinspot, and nobody else offers it",
            "remove what is set of it, or install a package that does",
        ),
    ],
)
def test_an_exchange_that_cannot_be_served_is_told_at_the_start(name, why, what_to_do):
    assert problems_of(named=[name]) == [f"CB_TRADE_EXCHANGES__{name.upper()}: {why}: {what_to_do}"]
