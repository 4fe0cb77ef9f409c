"""Exchanges come from installed packages: found, told apart, and loaded before the service starts."""

from __future__ import annotations

from importlib.metadata import Distribution, EntryPoint

import pytest

from cb_trade_data.errors import InvalidSettingsError
from cb_trade_data.exchange_source.discovery import GROUP, OWN, generic_plugin, load_plugins, offered
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.plugin import ExchangeAccess, ExchangePlugin
from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient
from cb_trade_data.exchange_source.plugins.exchanges import BINANCE, EXCHANGES

HERE = "test_discovery_plugins"
ROW = ExchangeFacts("mine", ("1m",), 100)
PLUGIN = ExchangePlugin(ROW, lambda facts, access: NotImplemented)


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
    module.TIMELESS = ExchangeFacts("mine", ("1m", "7x"), 5)
    monkeypatch.setitem(sys.modules, HERE, module)


def offer(name: str, value: str, distribution: str = "their-exchanges") -> EntryPoint:
    return EntryPoint(name, value, GROUP)._for(_Distribution(distribution))


def problems_of(*offers: EntryPoint, **chosen: str) -> list[str]:
    with pytest.raises(InvalidSettingsError) as caught:
        load_plugins(offers, chosen)
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
        f"CB_TRADE_EXCHANGES__{name.upper()}__PLUGIN: 'typo' offers no exchange {name!r}; it is offered by {by}"
    )


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("mine", "no_such_module:ROW", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("mine", f"{HERE}:NONE", "cannot be loaded: AttributeError"),
        ("mine", f"{HERE}:TEXT", "is neither ExchangeFacts nor an ExchangePlugin, but str"),
        ("yours", f"{HERE}:ROW", "calls itself 'mine' in its facts"),
        ("mine", f"{HERE}:PAGELESS", "has pages of 0 bars"),
        ("mine", f"{HERE}:TIMELESS", "has a timeframe '7x', which is not one"),
        ("Mine", f"{HERE}:ROW", "has a name that is not made of up to 32 small letters, digits and underscores"),
    ],
)
def test_a_plugin_that_cannot_be_used_says_why_and_whose_it_is(name, value, why):
    (problem,) = problems_of(offer(name, value))

    assert problem.startswith(f"the exchange {name!r} of their-exchanges ({value}) {why}")


def test_all_problems_are_told_at_once():
    assert len(problems_of(offer("a", f"{HERE}:NONE"), offer("b", f"{HERE}:NONE"), *OWN, okx="typo")) == 3


# --- Exchanges that nobody offers ------------------------------------------------------------------------------------


def test_an_exchange_that_only_ccxt_knows_gets_a_cautious_row():
    facts = generic_plugin("kucoin").facts

    assert facts.timeframes == ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
    assert facts.page_limit_bars == 500
    assert facts.bounds is None
    assert not facts.jumps_to_first
    assert facts.pace.calls_per_sec <= 10


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mtgox", "nobody offers an exchange 'mtgox', and CCXT does not know it"),
        ("coinspot", "the exchange 'coinspot' cannot be served: CCXT has no candles of coinspot"),
    ],
)
def test_an_exchange_that_cannot_be_served_is_told_at_the_start(name, why):
    with pytest.raises(InvalidSettingsError) as caught:
        generic_plugin(name)
    assert caught.value.problems == [why]
