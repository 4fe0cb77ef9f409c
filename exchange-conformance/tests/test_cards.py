"""The cards of the built-in exchanges, of a naive plugin, and of one that a package offers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from installed_packages import install_the_how_tos_example, installing
from naive_exchange import naive_plugin

from cb_trade_conformance.card import Card, Outcome, draw_up_card
from cb_trade_conformance.subject import Subject, find_subject
from cb_trade_conformance.trap import Trap
from cb_trade_conformance.traps import TRAPS
from cb_trade_data.exchange_source.discovery import ccxt_client
from cb_trade_data.exchange_source.facts import EventPaging, ExchangeFacts, Pace, TimeUnit
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Page
from cb_trade_data.exchange_source.plugin import ExchangeAccess, ExchangePlugin
from cb_trade_data.exchange_source.plugins.ccxt_client import CCXTExchangeClient
from cb_trade_data.exchange_source.plugins.exchanges import (
    BINANCE,
    BYBIT,
    COINBASE,
    CRYPTOCOM,
    EXCHANGES,
    KRAKEN,
    OKX,
)
from cb_trade_data.models.instants import to_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange
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
    # From a page's last row on it goes on a millisecond later, in which others were.
    "trades": r"BTC/USDT trades: 1 row\(s\) not delivered",
    "trades-at-once": r"row\(s\) not delivered",
    "events-duplicate": r"BTC/USDT:USDT trades: 3 row\(s\) not delivered",  # one of them for CCXT's cut, as of bars
    "events-unsorted": r"BTC/USDT:USDT trades: 2 row\(s\) not delivered",
    "events-no-list": "is told to be empty",
}

TRADES, FUNDING = Kind.TRADES, Kind.FUNDING_RATE
NOTHING, ONE_MS = timedelta(0), timedelta(milliseconds=1)

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
    assert re.search(reason, await caught(trap, ExchangePlugin(replace(facts, **changes), ccxt_client)))


@pytest.mark.parametrize(
    ("trap", "facts", "kind", "changes", "reason"),
    [
        ("funding", BYBIT, FUNDING, {"page_limit_rows": 500}, "to be empty"),
        ("funding", BYBIT, FUNDING, {"newest_first": False}, "to be empty"),
        ("funding", BINANCE, FUNDING, {"newest_first": True}, "to be empty"),
        ("funding", OKX, FUNDING, {"newest_first": False}, "to be empty"),
        ("events-window-ends", OKX, FUNDING, {"start_step": NOTHING}, "to be empty"),
        ("events-window-ends", CRYPTOCOM, FUNDING, {"start_step": NOTHING}, "to be empty"),
        ("events-window-ends", BYBIT, FUNDING, {"end_step": NOTHING}, "2 calls for 199 rows, which fit a page"),
        ("events-window-ends", BYBIT, FUNDING, {"end_step": -2 * ONE_MS}, "to be empty"),
        ("events-window-ends", KRAKEN, TRADES, {"start_step": NOTHING}, r"1 row\(s\) not delivered"),
        ("events-window-ends", BINANCE, TRADES, {"end_step": NOTHING}, "2 calls for 999 rows, which fit a page"),
        ("events-window-ends", BINANCE, TRADES, {"unit": TimeUnit.SECONDS}, "to be empty"),
        ("events-window-ends", COINBASE, TRADES, {"end_step": NOTHING}, r"row\(s\) not delivered"),
        ("events-window-ends", CRYPTOCOM, TRADES, {"end_step": -ONE_MS}, r"row\(s\) not delivered"),
        ("trades", CRYPTOCOM, TRADES, {"page_limit_rows": 300}, r"row\(s\) not delivered"),
        ("trades-side", COINBASE, TRADES, {"tells_maker_side": False}, "with the side of their maker"),
        ("trades-side", KRAKEN, TRADES, {"tells_maker_side": True}, "with the side of their maker"),
    ],
)
async def test_a_fact_of_events_that_is_wrong_shows(
    trap: str, facts: ExchangeFacts, kind: Kind, changes: dict[str, Any], reason: str
):
    name = "perpetual_events" if kind is FUNDING else "spot_events"
    pagings: Mapping[Kind, EventPaging] = getattr(facts, name)
    bounds = {field: value for field, value in changes.items() if hasattr(pagings[kind].bounds, field)}
    paging = replace(
        pagings[kind],
        bounds=replace(pagings[kind].bounds, **bounds),
        **{field: value for field, value in changes.items() if field not in bounds},
    )

    wrong = replace(facts, **{name: {**pagings, kind: paging}})
    assert re.search(reason, await caught(trap, ExchangePlugin(wrong, ccxt_client)))


async def caught(trap: str, plugin: ExchangePlugin) -> str:
    """Return how it shows that the plugin is wrong; fail if it does not show."""
    card = await draw_up_card(Subject(plugin, plugin.facts.id), [trap_named(trap)])

    assert [name for name, _ in told(card)] == [trap]
    return told(card)[0][1]


def trap_named(name: str) -> Trap:
    (trap,) = (trap for trap in TRAPS if trap.name == name)
    return trap


class TidyClient(CCXTExchangeClient):
    """Hides what is wrong with an answer from the service, which would have asked again."""

    async def fetch_trades(self, series: Series, window: TimeRange, from_id: str | None = None) -> Page:
        page = await super().fetch_trades(series, window, from_id)
        return replace(page, rows=tidied(page.rows, window, worth="price"))

    async def fetch_funding_rates(self, series: Series, window: TimeRange) -> Page:
        page = await super().fetch_funding_rates(series, window)
        return replace(page, rows=tidied(page.rows, window, worth="rate"))


def tidied(rows: pa.Table, window: TimeRange, worth: str) -> pa.Table:
    """Return *rows* without those outside the window, those without worth, and the first one of two for one thing."""
    times = timestamps_ms(rows)
    is_in_window = (times >= to_ms(window.start)) & (times < to_ms(window.end))
    rows = rows.filter(pa.array(is_in_window & ~np.isnan(rows.column(worth).to_numpy())))
    ids = rows.column("id").to_pylist() if "id" in rows.column_names else [None] * rows.num_rows
    later = {key: place for place, key in enumerate(zip(timestamps_ms(rows).tolist(), ids, strict=True))}
    return rows.take(pa.array(later.values(), pa.int64()))


@pytest.mark.parametrize(
    ("facts", "trap", "reason"),
    [
        (CRYPTOCOM, "events-null", r"BTC/USDT trades: 1 row\(s\) not delivered"),
        (CRYPTOCOM, "events-conflict", r"BTC/USDT trades: 1 row\(s\) with other values"),
        (CRYPTOCOM, "events-unit", "BTC/USDT trades: .* is told to be empty"),
        (BYBIT, "events-null", "funding_rate: .* is told to be empty"),
        (BYBIT, "events-conflict", r"funding_rate: 1 row\(s\) with other values"),
        (BYBIT, "events-unit", "funding_rate: .* is told to be empty"),
    ],
)
async def test_a_plugin_that_tidies_up_falls_into_traps_that_the_service_would_have_seen(
    facts: ExchangeFacts, trap: str, reason: str
):
    def tidy(facts: ExchangeFacts, access: ExchangeAccess) -> IExchangeAPIClient:
        return TidyClient(facts, base_url=access.base_url)

    assert re.search(reason, await caught(trap, ExchangePlugin(facts, tidy)))


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
