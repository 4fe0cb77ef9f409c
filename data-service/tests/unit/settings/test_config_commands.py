"""`cb-trade config`: what an operator sees of the settings, and whether the service would start with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cb_trade_data.commands.config import config

SAS = "https://account.blob.core.windows.net/?sv=2024&sig=hunter2"
CONNECTION_STRING = "AccountName=account;AccountKey=aHVudGVyMg==;EndpointSuffix=core.windows.net"
NO_KEYS = {"defaultType": "swap", "recvWindow": 5000, "fetchMarkets": {"types": ["spot"]}, "adjust": True}


@pytest.fixture
def run(load, monkeypatch):
    """Return what `cb-trade config` says, in an environment with a secret and what is given."""

    def run(*arguments: str, **environment: str) -> Result:
        for name, value in environment.items():
            monkeypatch.setenv(f"CB_TRADE_{name}", value)
        return CliRunner().invoke(config, arguments)

    return run


@pytest.fixture
def shown(run):
    """Return what `config show --json` says of each variable: its value, and where that comes from."""

    def shown(**environment: str) -> dict[str, tuple[object, str]]:
        result = run("show", "--json", **environment)
        assert result.exit_code == 0, result.stderr
        return {
            each["variable"].removeprefix("CB_TRADE_"): (each["value"], each["from"])
            for each in json.loads(result.stdout)
        }

    return shown


def test_every_setting_is_shown_with_where_it_comes_from(shown, tmp_path):
    Path(".env").write_text("CB_TRADE_HOST=::1\nCB_TRADE_PORT=1\n")
    Path(".env.local").write_text('CB_TRADE_PORT=2\nCB_TRADE_LIMITS={"connections_max": 5, "request_rows_max": 6}\n')
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "cb_trade_log_level").write_text("warning\n")

    settings = shown(LIMITS__REQUEST_ROWS_MAX="7", WORKERS="")

    assert settings["HOST"] == ("::1", str(tmp_path / ".env"))
    assert settings["PORT"] == (2, str(tmp_path / ".env.local"))
    assert settings["LOG_LEVEL"] == ("warning", str(tmp_path / "secrets" / "cb_trade_log_level"))
    assert settings["LIMITS__CONNECTIONS_MAX"] == (5, str(tmp_path / ".env.local"))
    assert settings["LIMITS__REQUEST_ROWS_MAX"] == (7, "the environment")
    assert settings["LIMITS__MEMORY_MAX_BYTES"] == (None, "default")
    assert settings["WORKERS"] == (1, "default")
    assert settings["STORAGE__ROOT"] == ("data", "default")
    assert len(settings) > 25


def test_of_two_files_the_one_for_the_very_setting_counts(shown, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "CB_TRADE_LIMITS").write_text('{"connections_max": 5, "request_rows_max": 6}')
    (tmp_path / "secrets" / "CB_TRADE_LIMITS__CONNECTIONS_MAX").write_text("7")

    settings = shown()

    assert settings["LIMITS__CONNECTIONS_MAX"] == (7, str(tmp_path / "secrets" / "CB_TRADE_LIMITS__CONNECTIONS_MAX"))
    assert settings["LIMITS__REQUEST_ROWS_MAX"] == (6, str(tmp_path / "secrets" / "CB_TRADE_LIMITS"))


def test_the_exchanges_that_are_named_are_shown(shown):
    settings = shown(EXCHANGES__BINANCE__OPTIONS=json.dumps(NO_KEYS), EXCHANGES='{"kraken": {"calls_per_sec": 2}}')

    assert settings["EXCHANGES__BINANCE__OPTIONS"] == (NO_KEYS, "the environment")
    assert settings["EXCHANGES__BINANCE__BUDGET_SHARE"] == (1.0, "default")
    assert settings["EXCHANGES__KRAKEN__CALLS_PER_SEC"] == (2, "the environment")
    assert not any(name.startswith("EXCHANGES__OKX") for name in settings)


def test_what_the_backend_leaves_unread_is_said_to_be(shown):
    value, where = shown(STORAGE__AZURE__CONTAINER="rows")["STORAGE__AZURE__CONTAINER"]

    assert (value, where) == ("cb-trade", "the environment, ignored: the backend is local")


@pytest.mark.parametrize("arguments", [("show",), ("show", "--json"), ("check",)])
@pytest.mark.parametrize(
    "environment",
    [
        {"AUTH__SECRET": "hunter2" * 10},
        {"EXCHANGES__BINANCE__API_KEY": "hunter2-key", "EXCHANGES__BINANCE__API_SECRET": "hunter2-secret"},
        {"EXCHANGES": '{"binance": {"api_key": "hunter2-key", "api_secret": "hunter2-secret"}}'},
        {"EXCHANGES__BINANCE__OPTIONS": '{"apiKey": "hunter2", "a": {"privateKey": "hunter2", "b": ["x"]}}'},
        {"EXCHANGES__BINANCE__OPTIONS": '{"headers": {"X-Access-Token": "hunter2"}, "passwords": ["hunter2"]}'},
        {"EXCHANGES__BINANCE__OPTIONS": '{"innocent": "hunter2", "a": {"b": [["hunter2"], {"c": "hunter2"}]}}'},
        {"EXCHANGES__BINANCE__OPTIONS": '{"proxy": "http://me:hunter2@proxy"}'},
        {"EXCHANGES__BINANCE__BASE_URL": "http://me:hunter2@127.0.0.1:9001/h?key=hunter2"},
        {"EXCHANGES__BINANCE__BASE_URL": "https://proxy.example.com/hunter2"},
        {"EXCHANGES__BINANCE__BASE_URL": "https://proxy.example.com/#hunter2"},
        {"STORAGE__BACKEND": "azure", "STORAGE__AZURE__ACCOUNT_URL": SAS},
        {"STORAGE__BACKEND": "azure", "STORAGE__AZURE__CONNECTION_STRING": CONNECTION_STRING},
        {"STORAGE__AZURE__CONNECTION_STRING": CONNECTION_STRING},
        {"STORAGE__AZURE__ACCOUNT_URL": SAS},
    ],
)
def test_no_secret_is_shown(run, arguments, environment):
    result = run(*arguments, **environment)

    assert result.exit_code == 0, result.stderr
    assert "hunter2" not in result.output
    assert "aHVudGVyMg" not in result.output


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("https://account.blob.core.windows.net/?sig=hunter2", "https://account.blob.core.windows.net/…"),
        ("https://me@account.blob.core.windows.net", "https://account.blob.core.windows.net/…"),
        ("https://account.blob.core.windows.net/hunter2", "https://account.blob.core.windows.net/…"),
        ("https://account.blob.core.windows.net:8443", "https://account.blob.core.windows.net:8443/"),
        ("https://account.blob.core.windows.net", "https://account.blob.core.windows.net/"),
    ],
)
def test_of_an_address_the_host_is_shown_and_whether_there_is_more(shown, address, text):
    settings = shown(STORAGE__BACKEND="azure", STORAGE__AZURE__ACCOUNT_URL=address)

    assert settings["STORAGE__AZURE__ACCOUNT_URL"][0] == text


def test_where_keys_are_published_is_shown_by_its_host(load, shown, monkeypatch):
    monkeypatch.delenv("CB_TRADE_AUTH__SECRET")

    settings = shown(AUTH__JWKS_URL="https://login.example.com/hunter2/keys", AUTH__AUDIENCE="us", AUTH__ISSUER="them")

    assert settings["AUTH__JWKS_URL"][0] == "https://login.example.com/…"


@pytest.mark.parametrize("pin", [1234, 0.5, "1234"])
def test_of_options_that_nobody_knows_only_the_names_are_shown(shown, pin):
    settings = shown(EXCHANGES__BINANCE__OPTIONS=json.dumps({"pin": pin, "inner": {"pins": [pin, None, True]}}))

    assert settings["EXCHANGES__BINANCE__OPTIONS"][0] == {
        "pin": "********",
        "inner": {"pins": ["********", None, True]},
    }


def test_people_get_a_table(run):
    lines = run("show", PORT="8701").stdout.splitlines()

    assert lines[0].split() == ["variable", "value", "from"]
    assert next(line.split() for line in lines if "CB_TRADE_PORT" in line) == [
        "CB_TRADE_PORT",
        "8701",
        "the",
        "environment",
    ]


def test_settings_that_would_start_are_fine(run):
    result = run("check")

    assert (result.exit_code, result.stdout) == (0, "the settings are fine (laptop)\n")


@pytest.mark.parametrize("command", ["show", "check"])
def test_settings_that_would_not_start_are_told_with_every_problem_and_every_place(run, tmp_path, command):
    result = run(command, PORT="http", LOG_LEVEL="loud", PRT="1")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("invalid_settings: ")
    assert all(f"  - CB_TRADE_{name}" in result.stderr for name in ("PORT", "LOG_LEVEL", "PRT"))
    places = f"{tmp_path / 'secrets'}, {tmp_path / '.env.local'} and {tmp_path / '.env'}"
    assert result.stderr.endswith(f"looked in the environment, {places}\n")


def test_a_check_finds_what_plugins_have_to_say(run):
    result = run("check", EXCHANGES__BINANCE__PLUGIN="somebody-elses")

    assert result.exit_code == 2
    assert "CB_TRADE_EXCHANGES__BINANCE__PLUGIN" in result.stderr


def test_a_check_touches_nothing(run, tmp_path):
    run("check")

    assert list(tmp_path.iterdir()) == []
