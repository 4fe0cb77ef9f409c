"""Venues that packages offer."""

from __future__ import annotations

import aiohttp
import pytest

from cb_trade_simulator import BrokenVenueError, ExchangeSimulator, UnknownVenueError
from cb_trade_simulator.venues import GROUP, find_venue
from cb_trade_simulator.venues.binance import Binance

MODULE = """
from cb_trade_simulator.markets.catalogue import SPOT
from cb_trade_simulator.venues.binance import Binance

class Elsewhere(Binance):
    markets = SPOT
    spot_hosts = frozenset({"api.elsewhere.example"})

class NoVenue:
    markets = SPOT
"""


@pytest.fixture(autouse=True)
def _package(tmp_path, monkeypatch):
    metadata = tmp_path / "elsewhere-1.0.dist-info"
    metadata.mkdir()
    (tmp_path / "cb_trade_test_elsewhere.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    offers = {"elsewhere": "Elsewhere", "binance": "Elsewhere", "none": "NoVenue", "gone": "Gone"}
    lines = [f"{name} = cb_trade_test_elsewhere:{value}" for name, value in offers.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    monkeypatch.syspath_prepend(str(tmp_path))


async def test_a_venue_of_a_package_is_served_at_its_own_addresses():
    async with ExchangeSimulator("elsewhere").serve() as simulator, aiohttp.ClientSession() as session:
        statuses = []
        for host in ("api.elsewhere.example", "api.binance.com"):
            async with session.get(f"{simulator.base_url}/{host}/api/v3/time") as answer:
                statuses.append(answer.status)

    assert statuses == [200, 404]
    assert "BTC/USDT:USDT" not in simulator.symbols


def test_a_venue_of_ours_is_not_replaced():
    assert find_venue("binance") is Binance


def test_what_is_no_venue_is_told_with_what_it_lacks():
    with pytest.raises(BrokenVenueError, match=r"cb_trade_test_elsewhere:NoVenue .* lacks outages, timeframes"):
        find_venue("none")
    with pytest.raises(BrokenVenueError, match=r"cb_trade_test_elsewhere:Gone .* AttributeError"):
        find_venue("gone")


def test_an_unknown_venue_is_told_with_all_that_there_are():
    with pytest.raises(UnknownVenueError, match=r"'mtgox', there is: binance, .* elsewhere"):
        find_venue("mtgox")
