"""A key of an account at an exchange: where it goes, and where it never shows."""

from __future__ import annotations

import json
from typing import Any

import ccxt.async_support as ccxt
import pytest
from ccxt_venues import FACTS, NOW, running_venue
from pydantic import HttpUrl
from service_harness import at, running_service

from cb_trade_data.config import ExchangeSettings
from cb_trade_data.errors import ExchangeUnavailableError
from cb_trade_data.exchange_source.plugin import ExchangeAccess
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.server import configure_log
from cb_trade_simulator.faults import StatusFault

KEY, SECRET = "K3Y-of-an-account-at-the-exchange", "S3CRET-of-that-key-hush"
CREDENTIALS = {"api_key": KEY, "api_secret": SECRET}
WINDOW = TimeRange(at("2024-05-01T10:00"), at("2024-05-01T10:10"))


@pytest.fixture
def sent(monkeypatch) -> list[str]:
    """Everything that CCXT hands over to be sent: address, headers and body of each call."""
    sent: list[str] = []
    send = ccxt.Exchange.fetch

    async def fetch(self: Any, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        sent.append(json.dumps([url, headers, body]))
        return await send(self, url, method, headers, body)

    monkeypatch.setattr(ccxt.Exchange, "fetch", fetch)
    return sent


async def test_what_everybody_may_ask_is_asked_without_the_key(name, sent):
    """Not even for markets, of which CCXT would look up fees and networks of the account."""
    async with running_venue(FACTS[name], NOW, **CREDENTIALS) as venue:
        symbol = "BTC/USD" if name in {"coinbase", "coinbaseexchange", "kraken"} else "BTC/USDT"
        rows = await venue.rows(symbol, "1m", WINDOW)
        await venue.client.fetch_time()
        truth = venue.truth(symbol, "1m", WINDOW)

    assert rows == truth
    assert len(sent) >= 2
    assert not [each for each in sent if KEY in each or SECRET in each or "sign" in each.lower()]


async def test_the_same_calls_are_made_with_a_key_as_without(name, sent):
    calls: list[list[str]] = []
    for credentials in ({}, CREDENTIALS):
        sent.clear()
        async with running_venue(FACTS[name], NOW, **credentials) as venue:
            await venue.client.load_markets(venue.client.markets_due("BTC/USDT", anew=False))
        calls.append(sorted(json.loads(each)[0].split("/h/")[1] for each in sent))

    assert calls[0] == calls[1]


async def test_what_only_accounts_may_ask_is_signed_and_its_errors_do_not_show_the_key(sent):
    options = {"fetchOHLCV": {"usePrivate": True}}
    async with running_venue(FACTS["coinbase"], NOW, options=options, **CREDENTIALS) as venue:
        with pytest.raises(ExchangeUnavailableError) as caught:  # the simulator has no accounts
            await venue.rows("BTC/USD", "1m", WINDOW)

    headers = json.loads(sent[-1])[1]
    assert headers["CB-ACCESS-KEY"] == KEY
    assert headers["CB-ACCESS-SIGN"]
    assert not [each for each in sent if SECRET in each]
    assert shows_no_credential(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 429, 500])
@pytest.mark.parametrize("name", ["binance", "bybit", "coinbase", "kraken", "okx"])
async def test_an_exchange_that_quotes_the_key_is_not_quoted(name, status):
    body = json.dumps({"code": -2014, "msg": f"API-key {KEY} with {SECRET} is not liked", "error": [KEY]})
    async with running_venue(FACTS[name], NOW, **CREDENTIALS) as venue:
        venue.simulator.inject(StatusFault(status, body), endpoint="*", times=None)

        with pytest.raises(ExchangeUnavailableError) as caught:
            await venue.client.load_markets(venue.client.markets_due("BTC/USDT", anew=False))

    assert shows_no_credential(caught.value)


def shows_no_credential(error: BaseException | None) -> bool:
    """Tell whether *error* and those it came from, which a traceback shows, are without key and secret."""
    while error is not None:
        if any(credential in f"{error} {error!r} {vars(error)}" for credential in (KEY, SECRET)):
            return False
        error = error.__cause__ or error.__context__
    return True


async def test_no_log_line_and_no_answer_shows_the_key_however_much_is_logged(simulator, tmp_path, capsys):
    access = ExchangeSettings(base_url=HttpUrl(simulator.base_url), api_key=KEY, api_secret=SECRET)
    quoting = StatusFault(401, json.dumps({"code": -2014, "msg": f"API-key {KEY} with {SECRET} is not liked"}))
    configure_log("debug")
    try:
        async with running_service(tmp_path, {"binance": access}) as service, service.client() as client:
            good = await client.history(at("2024-01-01"), at("2024-01-01T01:00"))
            simulator.inject(quoting, endpoint="*", times=None)
            bad = await client.history(at("2024-02-01"), at("2024-02-01T01:00"))
    finally:
        configure_log("warning")

    told = capsys.readouterr()
    assert len(good.rows) == 60
    assert [gap["state"] for gap in bad.last["gaps"]] == ["failed"]
    assert "-2014" in told.err + json.dumps(bad.last)
    assert not [each for each in (KEY, SECRET) if each in told.err + told.out + json.dumps([good.last, bad.last])]


def test_what_a_plugin_is_handed_does_not_show_it():
    access = ExchangeAccess(None, {"password": SECRET}, api_key=KEY, api_secret=SECRET)

    assert KEY not in repr(access)
    assert SECRET not in repr(access)
