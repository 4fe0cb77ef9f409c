"""The worked example of docs/how-to/add-an-exchange.md, installed as it stands there and served by the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from math import sin
from pathlib import Path

import pytest
import typer
from installed_packages import install_the_how_tos_example, installing
from service_harness import SECRET, at, running_service

from cb_trade_data.commands.serve import serve
from cb_trade_data.config import AuthSettings, ExchangeSettings, Settings
from cb_trade_data.errors import InvalidSettingsError
from cb_trade_data.exchange_source.discovery import GROUP
from cb_trade_data.exchange_source.plugins.exchanges import BINANCE, KRAKEN
from cb_trade_data.main import _exchange_registry, create_app


@pytest.fixture
def install(tmp_path, monkeypatch):
    with installing(tmp_path, monkeypatch) as install:
        yield install


@pytest.fixture
def example(install) -> None:
    install_the_how_tos_example(install)


def settings(tmp_path: Path, **exchanges: ExchangeSettings) -> Settings:
    return Settings(
        _env_file=None, storage={"root": tmp_path / "data"}, auth=AuthSettings(secret=SECRET), exchanges=exchanges
    )


@pytest.mark.usefixtures("example")
async def test_an_exchange_of_ones_own_is_served_like_any_other(tmp_path):
    start, end = at("2023-12-31T12:00"), at("2024-01-02")
    async with (
        running_service(tmp_path / "data", "http://127.0.0.1:1/h") as service,
        service.client() as client,
    ):
        cold, warm = [
            await client.history(start, end, exchange="sine", symbol="SINE/USD", timeframe="1h") for _ in range(2)
        ]

    opens = [datetime.fromtimestamp(row["timestamp"] / 1000, UTC) for row in cold.chunks[0]["data"]]
    assert opens == [at("2024-01-01") + timedelta(hours=hour) for hour in range(24)]
    assert [row["close"] for row in cold.chunks[0]["data"]] == [100 + 10 * sin(o.timestamp() / 86_400) for o in opens]
    assert warm.rows.tolist() == cold.rows.tolist()
    assert warm.last["exchange_calls"] == 0
    assert cold.last["exchange_calls"] > 0
    assert cold.last["gaps"] == []
    assert [each["state"] for each in cold.last["coverage"]] == ["unlisted", "held"]


@pytest.mark.usefixtures("example")
def test_a_row_of_facts_is_all_that_an_exchange_of_ccxts_needs(tmp_path):
    offers = {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
    assert offers["binanceus"].load().page_limit_bars == 1000

    create_app(settings(tmp_path))


@pytest.mark.usefixtures("example")
def test_one_exchange_of_two_packages_stops_the_start_until_the_settings_choose(install, tmp_path):
    install("other-exchanges", {}, {GROUP: {"sine": "more_exchanges:SINE"}})

    with pytest.raises(InvalidSettingsError, match="'sine' is offered by more-exchanges, other-exchanges"):
        create_app(settings(tmp_path))
    create_app(settings(tmp_path, sine=ExchangeSettings(plugin="other-exchanges")))


def test_every_exchange_that_cannot_be_served_is_told_in_one_error_that_stops_the_start(install, tmp_path):
    offers = {"broken": "broken:BROKEN", "gone": "no_such_module:GONE"}
    install("broken-exchanges", {"broken.py": "1 / 0"}, {GROUP: offers})

    with pytest.raises(InvalidSettingsError) as caught:
        create_app(settings(tmp_path, coinspot=ExchangeSettings(), mtgox=ExchangeSettings()))

    broken, coinspot, gone, mtgox = caught.value.problems
    assert broken == (
        "the exchange 'broken' of broken-exchanges (broken:BROKEN) cannot be loaded "
        "(ZeroDivisionError: division by zero): repair that package, or remove it"
    )
    assert "CCXT has no candles of coinspot" in coinspot
    assert "No module named 'no_such_module'" in gone
    assert "CCXT does not know it" in mtgox


def test_an_exchange_that_only_the_settings_name_is_served(tmp_path):
    app = create_app(settings(tmp_path, kucoin=ExchangeSettings(calls_per_sec=0.5)))

    assert app.title == "cb-trade"


@pytest.mark.parametrize(
    ("own", "calls_per_sec"), [({}, BINANCE.pace.calls_per_sec / 8), ({"calls_per_sec": 20.0}, 20 / 8)]
)
def test_a_budget_is_shared_with_other_hosts_and_by_the_workers_of_this_one(tmp_path, own, calls_per_sec):
    whole = settings(tmp_path, binance=ExchangeSettings(budget_share=0.25, **own))
    registry = _exchange_registry(whole.model_copy(update={"workers": 2}))

    assert registry.facts("binance").pace.calls_per_sec == pytest.approx(calls_per_sec)
    assert registry.facts("kraken").pace.calls_per_sec == pytest.approx(KRAKEN.pace.calls_per_sec / 2)


def test_the_command_tells_all_that_is_wrong_with_exchanges_and_does_not_start(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CB_TRADE_AUTH__SECRET", SECRET)
    monkeypatch.setenv("CB_TRADE_EXCHANGES__BINANCE__PLUGIN", "more-exchanges")
    monkeypatch.setenv("CB_TRADE_EXCHANGES__COINSPOT__CALLS_PER_SEC", "1")

    with pytest.raises(typer.Exit) as ended:
        serve(port=0)

    told = capsys.readouterr().err
    assert ended.value.exit_code == 2
    assert "invalid_settings" in told
    assert "'more-exchanges' offers no exchange 'binance', it is offered by cb-trade-data" in told
    assert "CB_TRADE_EXCHANGES__COINSPOT: CCXT has no candles of coinspot" in told
