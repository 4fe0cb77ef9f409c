"""`cb-trade conformance` as a user runs it."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import pytest
import structlog
from installed_packages import install_the_how_tos_example, installing
from typer.testing import CliRunner, Result

from cb_trade_client.main import build_app
from cb_trade_client.plugins import GROUP
from cb_trade_data.exchange_source.discovery import GROUP as EXCHANGES

COMMAND = EntryPoint("conformance", "cb_trade_conformance.command:conformance", GROUP)

FICKLE = """
from dataclasses import replace
from cb_trade_data.exchange_source.plugins.exchanges import BINANCE

# It takes both ends of a window as exclusive, and so loses the first bar of each.
BINANCE = replace(BINANCE, bounds=replace(BINANCE.bounds, start_step=-BINANCE.bounds.end_step))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    with installing(tmp_path, monkeypatch) as install:
        yield install


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build_app([COMMAND]), ["conformance", *arguments])


def test_a_plugin_that_passes_ends_it_with_zero():
    result = run("kraken", "--trap", "address", "--trap", "listing")

    assert result.exit_code == 0
    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["trap", "result", "why"]
    assert [line.split() for line in lines] == [
        ["address", "passed"],
        ["listing", "not", "applicable", "it", "keeps", "only", "its", "newest", "720", "bars"],
        ["kraken:", "1", "passed,", "0", "failed,", "1", "not", "applicable"],
    ]


def test_a_plugin_that_falls_into_a_trap_ends_it_with_one_and_the_reason(install):
    install("fickle", {"fickle.py": FICKLE}, {EXCHANGES: {"binance": "fickle:BINANCE"}})

    result = run("binance", "--package", "fickle", "--trap", "page-borders", "--trap", "address", "--json")

    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["exchange"], document["seed"]) == ("binance", 1)
    assert document["counts"] == {"passed": 0, "failed": 2, "not applicable": 0}
    assert [trap["name"] for trap in document["traps"]] == ["address", "page-borders"]
    for trap in document["traps"]:
        assert trap["outcome"] == "failed"
        assert trap["tried"].endswith(".")
        assert "2023-04-10T00:00:00+00:00" in trap["reason"]


def test_what_is_wrong_is_told_apart_from_what_is_failed(install):
    install_the_how_tos_example(install)
    install("other-exchanges", {}, {EXCHANGES: {"binanceus": "more_exchanges:BINANCEUS"}})

    told = {
        arguments: run(*arguments)
        for arguments in (
            ("mtgox",),
            ("sine",),
            ("kucoin",),
            ("binanceus",),
            ("binance", "--package", "no-such-package"),
            ("okx", "--trap", "no-such-trap"),
        )
    }

    assert {result.exit_code for result in told.values()} == {2}
    assert {result.stdout for result in told.values()} == {""}
    assert not any("CB_TRADE_" in result.stderr for result in told.values())  # no settings are read
    assert "nobody offers an exchange 'mtgox', and CCXT does not know it" in told["mtgox",].stderr
    assert "it is offered by cb-trade-data" in told["binance", "--package", "no-such-package"].stderr
    for exchange in ("sine", "kucoin"):
        assert "nobody simulates it" in told[exchange,].stderr
        assert "cb_trade.simulated_venues" in told[exchange,].stderr
    assert "offered by more-exchanges, other-exchanges: say whose is meant" in told["binanceus",].stderr
    assert "address, page-borders" in told["okx", "--trap", "no-such-trap"].stderr


def test_the_log_is_as_it_was_afterwards():
    before = structlog.get_config()

    run("kraken", "--trap", "address")

    assert structlog.get_config() == before


def test_the_seed_makes_another_past():
    result = run("okx", "--trap", "page-borders", "--seed", "7", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["seed"] == 7
