"""The registry: exchanges by name, each once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_client import FACTS, ScriptedClient

from cb_trade_data.errors import UnknownExchangeError
from cb_trade_data.exchange_source.microkernel import PluginRegistry


def test_exchanges_are_known_by_name_and_sorted():
    registry = PluginRegistry()
    for name in ("okx", "binance", "kraken"):
        registry.register(replace(FACTS, id=name), ScriptedClient)

    assert registry.names == ["binance", "kraken", "okx"]
    assert registry.facts("kraken").id == "kraken"


def test_a_name_is_registered_once():
    registry = PluginRegistry()
    registry.register(FACTS, ScriptedClient)

    with pytest.raises(ValueError, match="'binance' is registered already"):
        registry.register(replace(FACTS, page_limit_bars=5), ScriptedClient)

    assert registry.facts("binance") is FACTS


def test_replacing_an_exchange_is_said_aloud():
    registry = PluginRegistry()
    registry.register(FACTS, ScriptedClient)

    registry.register(replace(FACTS, page_limit_bars=5), ScriptedClient, override=True)

    assert registry.facts("binance").page_limit_bars == 5
    assert registry.names == ["binance"]


def test_a_name_nobody_registered_is_unknown_and_the_known_ones_are_told():
    registry = PluginRegistry()
    registry.register(FACTS, ScriptedClient)

    for use in (registry.facts, registry.make_client):
        with pytest.raises(UnknownExchangeError) as caught:
            use("binnance")
        assert caught.value.details == {"exchange": "binnance", "known": ["binance"]}


def test_registering_makes_no_client():
    made = []
    registry = PluginRegistry()

    registry.register(FACTS, lambda: made.append(1) or ScriptedClient())
    assert made == []
    registry.make_client("binance")
    assert made == [1]
