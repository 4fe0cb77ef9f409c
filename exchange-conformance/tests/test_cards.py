"""The cards of the built-in exchanges, of a naive plugin, and of one that a package offers."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from installed_packages import install_the_how_tos_example, installing
from naive_exchange import naive_plugin

from cb_trade_conformance.card import Card, Outcome, draw_up_card
from cb_trade_conformance.subject import Subject, find_subject
from cb_trade_conformance.traps import TRAPS
from cb_trade_data.exchange_source.discovery import ccxt_client
from cb_trade_data.exchange_source.facts import ExchangeFacts, Pace
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient
from cb_trade_data.exchange_source.plugin import ExchangePlugin
from cb_trade_data.exchange_source.plugins.exchanges import BINANCE, COINBASE, EXCHANGES, KRAKEN, OKX
from exchanges_reference import PAGE, cards_on, outcomes

#: What it does wrong, and how that shows.
WHY_NAIVE_FAILS = {
    # Without an end, each of its calls brings as many bars as fit, and three calls are made for what it calls a page.
    "page-borders": "7 calls of klines, where 3 would do",
    # Binance jumps to the first bar where no end is given: three calls bring the same rows again and again.
    "listing": "the answer does not fit the question",
    # CCXT makes an empty list of whatever has no rows in it, and it is taken at its word.
    "cut-json": "is told to be empty",
    "html": "is told to be empty",
    "no-candles": "is told to be empty",
    # All of CCXT's errors are one to it.
    "retry-after": r"called again after \d+ of 60 s",
    "vanished": "Invalid symbol",
    # CCXT cuts what came to the limit, so that a bar falls off a page with one too many.
    "duplicate": r"1 row\(s\) not delivered",
    "conflict": r"1 row\(s\) not delivered",
    # One of the three calls that it makes for a page came back empty, and the others speak for it.
    "empty-lie": r"1000 row\(s\) not delivered",
    # A spot market and a perpetual have the same name there.
    "names": "disambiguate between different markets",
    # It does not look at whether a market is still traded.
    "delisted": "is told to be held",
    # Nobody has looked up what loading its markets weighs.
    "pace": r"its markets weigh as much as 3\.\d+ pages, not 1",
}


# A card takes some eleven seconds, ten of them waiting for an answer that never comes; on a machine that has none to
# spare, more.
SLOW = pytest.mark.timeout(150)


def told(card: Card) -> list[tuple[str, str]]:
    return [(each.trap.name, each.reason) for each in card.verdicts if each.outcome is Outcome.FAILED]


@SLOW
@pytest.mark.parametrize("facts", EXCHANGES, ids=lambda facts: facts.id)
async def test_a_built_in_exchange_passes_every_trap_as_its_page_says(facts: ExchangeFacts):
    card = await draw_up_card(find_subject(facts.id), TRAPS)

    assert told(card) == []
    assert outcomes(card) == cards_on(PAGE.read_text())[facts.id], "run: .venv/bin/python tools/exchanges_reference.py"


@SLOW
async def test_a_naive_plugin_falls_into_exactly_the_traps_that_it_should():
    card = await draw_up_card(Subject(naive_plugin(BINANCE), "binance"), TRAPS)

    assert set(card.failed) == set(WHY_NAIVE_FAILS)
    for trap, reason in told(card):
        assert re.search(WHY_NAIVE_FAILS[trap], reason), f"{trap}: {reason}"


@pytest.mark.parametrize(
    ("trap", "facts", "changes", "reason"),
    [
        ("page-borders", COINBASE, {"page_limit_bars": 500}, "to be failed"),
        ("timeframes", OKX, {"ccxt_options": {"fetchOHLCV": {"timezone": "HK"}}}, "^6h: .* to be failed"),
        ("long-ago", KRAKEN, {"history_bars": None}, "does not fit the question"),
        ("vanished", KRAKEN, {"unknown_symbol_words": ()}, "Unknown asset pair"),
        ("pace", KRAKEN, {"pace": Pace(3, timedelta(seconds=2))}, "one too many after"),
        ("pace", BINANCE, {"perpetual_page_cost": 4}, "BTC/USDT:USDT ohlcv 1m: a page of weight 5 is one too many"),
        ("pace", COINBASE, {"markets_cost": 4}, "its markets weigh as much as 5 pages, not 4"),
    ],
)
async def test_a_fact_that_is_wrong_shows(trap: str, facts: ExchangeFacts, changes: dict[str, Any], reason: str):
    plugin = ExchangePlugin(replace(facts, **changes), ccxt_client)

    card = await draw_up_card(Subject(plugin, facts.id), [each for each in TRAPS if each.name == trap])

    assert [name for name, _ in told(card)] == [trap]
    assert re.search(reason, told(card)[0][1])


async def test_a_plugin_that_breaks_falls_into_every_trap_and_ends_none_of_the_others():
    def broken(*_: object) -> IExchangeAPIClient:
        raise RuntimeError("nobody\nthought of this")

    card = await draw_up_card(Subject(ExchangePlugin(KRAKEN, broken), "kraken"), TRAPS)

    assert {reason for _, reason in told(card)} == {"RuntimeError: nobody thought of this"}
    assert card.count(Outcome.PASSED) == 0


@pytest.fixture
def _example(tmp_path, monkeypatch):
    with installing(tmp_path, monkeypatch) as install:
        install_the_how_tos_example(install)
        yield


@SLOW
@pytest.mark.usefixtures("_example")
async def test_a_plugin_and_a_simulated_exchange_that_a_package_offers_get_a_card():
    card = await draw_up_card(find_subject("binanceus"), [trap for trap in TRAPS if not trap.waits])

    assert told(card) == []
    assert card.count(Outcome.PASSED) > 30
