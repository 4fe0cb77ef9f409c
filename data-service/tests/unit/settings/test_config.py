from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from cb_trade_data.config import Settings
from cb_trade_data.config.loading import load_settings
from cb_trade_data.errors import InvalidSettingsError

SECRET = "a secret for tests that is long enough"
KNOWN = ["binance", "kraken"]

Load = Callable[..., Settings]


# --- Defaults and sources --------------------------------------------------------------------------------------------


def test_a_secret_is_all_that_must_be_set(load):
    settings = load()

    assert settings.auth.secret.get_secret_value() == SECRET
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 8700, "info")
    assert (settings.storage.backend, settings.storage.layout, settings.storage.root) == (
        "local",
        "parquet",
        Path("data"),
    )
    assert (settings.auth.audience, settings.auth.issuer, settings.exchanges) == (None, None, {})


def test_every_setting_can_be_set_by_its_variable(load):
    settings = load(
        HOST="0.0.0.0",  # noqa: S104
        PORT="0",
        MODE="laptop",
        WORKERS="2",
        DRAIN_SECS="0.5",
        LIMITS__CONNECTIONS_MAX="10",
        LIMITS__CONNECTIONS_PER_SUBJECT="2",
        LIMITS__REQUESTS_PER_SUBJECT="3",
        LIMITS__REQUESTS_PER_SEC_PER_SUBJECT="0.5",
        LIMITS__REQUEST_ROWS_MAX="4",
        LIMITS__MEMORY_MAX_BYTES="268435456",
        LOG_LEVEL="debug",
        STORAGE__BACKEND="local",
        STORAGE__LAYOUT="parquet",
        STORAGE__ROOT="/var/lib/cb-trade",
        AUTH__AUDIENCE="cb-trade",
        AUTH__ISSUER="us",
        AUTH__ALGORITHMS='["HS256"]',
        AUTH__LEEWAY_SECS="0",
        AUTH__ALLOWED_ORIGINS="[]",
        EXCHANGES__BINANCE__API_KEY="a key of ours",
        EXCHANGES__BINANCE__API_SECRET="hush, hush",
        EXCHANGES__BINANCE__BUDGET_SHARE="0.5",
        EXCHANGES__BINANCE__BASE_URL="http://127.0.0.1:9001/h",
        EXCHANGES__BINANCE__OPTIONS='{"fetchMarkets": {"types": ["spot"]}}',
        EXCHANGES__KRAKEN__BASE_URL="http://127.0.0.1:9002/h",
    )

    assert (settings.host, settings.port, settings.log_level) == ("0.0.0.0", 0, "debug")  # noqa: S104
    assert settings.storage.root == Path("/var/lib/cb-trade")
    assert (settings.auth.audience, settings.auth.issuer) == ("cb-trade", "us")
    assert (settings.auth.algorithms, settings.auth.leeway_secs, settings.auth.allowed_origins) == (("HS256",), 0, ())
    assert (settings.workers, settings.drain_secs) == (2, 0.5)
    assert tuple(settings.limits.model_dump().values()) == (10, 2, 3, 0.5, 4, 268435456)
    assert set(settings.exchanges) == {"binance", "kraken"}
    assert settings.exchanges["binance"].api_key.get_secret_value() == "a key of ours"
    assert settings.exchanges["binance"].api_secret.get_secret_value() == "hush, hush"
    assert settings.exchanges["binance"].budget_share == 0.5
    assert str(settings.exchanges["binance"].base_url) == "http://127.0.0.1:9001/h"
    assert settings.exchanges["binance"].options == {"fetchMarkets": {"types": ["spot"]}}
    assert settings.exchanges["kraken"].options == {}


def test_a_section_may_be_set_whole_as_json(load):
    settings = load(STORAGE='{"root": "/a"}', EXCHANGES='{"binance": {"base_url": "http://127.0.0.1:1/"}}')

    assert settings.storage.root == Path("/a")
    assert set(settings.exchanges) == {"binance"}


def test_a_file_in_the_working_folder_is_read(load):
    Path(".env").write_text("CB_TRADE_PORT=1111\n# CB_TRADE_HOST=no\nCB_TRADE_STORAGE__ROOT=/from-file\n")

    settings = load()

    assert (settings.port, settings.host, settings.storage.root) == (1111, "127.0.0.1", Path("/from-file"))


def test_the_command_line_beats_the_environment_beats_the_local_file_beats_the_shared_file(load):
    Path(".env").write_text("CB_TRADE_PORT=1\n")
    assert load().port == 1
    Path(".env.local").write_text("CB_TRADE_PORT=2\n")
    assert load().port == 2
    assert load(PORT="3").port == 3
    assert load({"port": 4}).port == 4


def test_sources_add_to_each_other_setting_by_setting(load):
    Path(".env").write_text("CB_TRADE_AUTH__AUDIENCE=shared\nCB_TRADE_STORAGE__ROOT=/shared\n")
    Path(".env.local").write_text(f"CB_TRADE_AUTH__ISSUER=local\nCB_TRADE_AUTH__SECRET={SECRET * 2}\n")

    settings = load(AUTH__SECRET=None, STORAGE__ROOT="/environment")

    assert (settings.auth.audience, settings.auth.issuer) == ("shared", "local")
    assert settings.auth.secret.get_secret_value() == SECRET * 2
    assert settings.storage.root == Path("/environment")


@pytest.mark.parametrize("name", ["HOST", "PORT", "LOG_LEVEL", "STORAGE__ROOT", "STORAGE__LAYOUT", "AUTH__ISSUER"])
def test_an_empty_value_is_no_value(load, name):
    default = load()

    assert load(**{name: ""}) == default


def test_an_empty_value_hides_no_value_of_a_file(load):
    Path(".env").write_text("CB_TRADE_PORT=1111\n")
    Path(".env.local").write_text("CB_TRADE_PORT=\n")

    assert load(PORT="").port == 1111


def test_case_does_not_matter_in_names(load, monkeypatch):
    monkeypatch.setenv("cb_trade_port", "1111")

    assert load().port == 1111


@pytest.mark.parametrize("name", ["CB_TRADE_CLIENT__TOKEN", "CB_TRADE_SIMULATOR__PORT", "PORT", "MY_CB_TRADE_PORT"])
def test_settings_of_other_programs_are_passed_over(load, monkeypatch, name):
    monkeypatch.setenv(name, "x")
    Path(".env").write_text(f"{name}=x\n")

    assert load().port == 8700


def test_settings_of_a_backend_that_is_not_chosen_are_ignored(load):
    assert load(STORAGE__AZURE__CONTAINER="rows", STORAGE__AZURE__ANYTHING="x").storage.backend == "local"


def test_settings_do_not_change(load):
    settings = load()

    with pytest.raises(ValidationError):
        settings.port = 5
    with pytest.raises(ValidationError):
        settings.storage.root = Path("/x")


# --- Problems --------------------------------------------------------------------------------------------------------


def test_a_missing_secret_is_told_with_what_to_do(problems_of):
    (problem,) = problems_of(AUTH__SECRET=None)

    assert problem.startswith("CB_TRADE_AUTH__SECRET is missing")
    assert "platform.sh" in problem


def test_an_empty_secret_is_a_missing_secret(problems_of):
    (problem,) = problems_of(AUTH__SECRET="")

    assert problem.startswith("CB_TRADE_AUTH__SECRET is missing")


def test_the_secret_is_missing_although_its_neighbours_are_set(problems_of):
    (problem,) = problems_of(AUTH__SECRET=None, AUTH__ISSUER="us")

    assert problem.startswith("CB_TRADE_AUTH__SECRET is missing")


def test_keys_come_from_one_place(problems_of):
    (problem,) = problems_of(AUTH__JWKS_URL="https://keys.example/", AUTH__ISSUER="us", AUTH__AUDIENCE="here")

    assert problem == ("CB_TRADE_AUTH: SECRET and JWKS_URL are set, and keys come from one place: remove the others")


@pytest.mark.parametrize(("there", "lacking"), [("API_KEY", "API_SECRET"), ("API_SECRET", "API_KEY")])
def test_a_key_of_an_exchange_has_its_secret(problems_of, there, lacking):
    (problem,) = problems_of(**{f"EXCHANGES__BINANCE__{there}": "hunter2 and more"})

    assert problem.startswith(f"CB_TRADE_EXCHANGES__BINANCE__{lacking} is missing")


@pytest.mark.parametrize(("there", "lacking"), [("CERTIFICATE_FILE", "KEY_FILE"), ("KEY_FILE", "CERTIFICATE_FILE")])
def test_a_certificate_has_its_key(problems_of, there, lacking):
    Path("there.pem").touch()

    (problem,) = problems_of(**{f"TLS__{there}": "there.pem"})

    assert problem.startswith(f"CB_TRADE_TLS__{lacking} is missing")


def test_a_certificate_and_a_key_that_cannot_be_read_are_told(problems_of):
    one, other = problems_of(TLS__CERTIFICATE_FILE="not-there.pem", TLS__KEY_FILE=".")

    assert one.startswith("CB_TRADE_TLS__CERTIFICATE_FILE: cannot be read (No such file or directory)")
    assert other.startswith("CB_TRADE_TLS__KEY_FILE: cannot be read (Is a directory)")


def test_a_problem_tells_where_the_value_stands(problems_of):
    Path(".env").write_text("CB_TRADE_PORT=http\n")
    Path(".env.local").write_text('CB_TRADE_LIMITS={"connections_max": 0}\n')

    told = {problem.split(":")[0]: problem for problem in problems_of(LOG_LEVEL="loud")}

    assert told["CB_TRADE_PORT"].endswith(f"(set in {Path('.env').absolute()})")
    assert told["CB_TRADE_LIMITS__CONNECTIONS_MAX"].endswith(f"(set in {Path('.env.local').absolute()})")
    assert told["CB_TRADE_LOG_LEVEL"].endswith("(set in the environment)")


def test_a_secret_has_32_bytes_at_least(load, problems_of):
    assert "shorter than 32 bytes" in problems_of(AUTH__SECRET="x" * 31)[0]
    load(AUTH__SECRET="x" * 32)
    load(AUTH__SECRET="é" * 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "1.5"),
        ("LOG_LEVEL", "loud"),
        ("STORAGE__BACKEND", "s3"),
        ("STORAGE__LAYOUT", "csv"),
        ("EXCHANGES__BINANCE__BASE_URL", "127.0.0.1:9001"),
        ("EXCHANGES__BINANCE__BASE_URL", "ftp://127.0.0.1/"),
        ("EXCHANGES__BINANCE__OPTIONS", "[1]"),
        ("EXCHANGES__BINANCE__OPTIONS", "not json"),
        ("EXCHANGES__BINANCE__OPTIONS", '{"a": '),
        ("STORAGE", "not json"),
        ("AUTH", "not json"),
        ("EXCHANGES", "not json"),
        ("EXCHANGES", "[]"),
    ],
)
def test_a_value_that_cannot_be_is_told_by_its_variable(problems_of, name, value):
    problems = problems_of(**{name: value})

    assert any(f"CB_TRADE_{name.split('__')[0]}" in problem for problem in problems)


@pytest.mark.parametrize(
    "name",
    [
        "PRT",
        "STORAGE__ROOTT",
        "STORAGE_ROOT",
        "AUTH__SECRETS",
        "EXCHANGES__BINANCE__BASEURL",
        "EXCHANGES__BINNANCE__BASE_URL",
        "EXCHANGE__BINANCE__BASE_URL",
        "PORT__X",
        "CLIENT",
        "SIMULATORS__PORT",
        "",
    ],
)
def test_a_name_that_is_no_setting_is_told(problems_of, name):
    problems = problems_of(**{name: "1"})

    assert any(f"CB_TRADE_{name}" in problem for problem in problems)


@pytest.mark.parametrize("file", [".env", ".env.local"])
def test_a_name_that_is_no_setting_is_found_in_files_too(problems_of, file):
    Path(file).write_text("CB_TRADE_PRT=1\nOTHER=2\n")

    assert problems_of() == [
        f"CB_TRADE_PRT is no setting of cb-trade: remove it, or correct its spelling (set in {Path(file).absolute()})"
    ]


def test_an_unknown_exchange_is_told_with_the_known_ones(problems_of):
    (problem,) = problems_of(EXCHANGES__BINNANCE__BASE_URL="http://127.0.0.1:9001/")

    assert "'binnance'" in problem
    assert "binance, kraken" in problem


def test_an_unknown_exchange_in_json_is_told_too(problems_of):
    (problem,) = problems_of(EXCHANGES='{"binnance": {}, "kraken": {}}')

    assert "binnance" in problem


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("CONNECTION_STRING", "garbage", "copy it whole"),
        ("CONNECTION_STRING", "DefaultEndpointsProtocol=https", "in quotes"),
        ("CONNECTION_STRING", "BlobEndpoint=;AccountKey=x", "copy it whole"),
        ("ACCOUNT_URL", "http://account.blob.core.windows.net", "write https://, or add a SAS"),
        ("ACCOUNT_URL", "ftp://account.blob.core.windows.net", "'http' or 'https'"),
    ],
)
def test_a_way_into_azure_that_cannot_be_one_is_told_by_its_variable_with_what_to_do(problems_of, name, value, remedy):
    """All of it at the start, with the other problems; the SDK would raise its own errors, later."""
    told, other = problems_of(STORAGE__BACKEND="azure", PORT="http", **{f"STORAGE__AZURE__{name}": value})

    assert told.startswith(f"CB_TRADE_STORAGE__AZURE__{name}: ")
    assert remedy in told
    assert "PORT" in other


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONNECTION_STRING", "AccountName=account;AccountKey=aGVsbG8=;EndpointSuffix=core.windows.net"),
        ("CONNECTION_STRING", "BlobEndpoint=https://account.blob.core.windows.net;SharedAccessSignature=sig=a"),
        ("CONNECTION_STRING", "UseDevelopmentStorage=true"),
        ("ACCOUNT_URL", "https://account.blob.core.windows.net"),
        ("ACCOUNT_URL", "http://127.0.0.1:10000/account?sig=a"),
    ],
)
def test_ways_into_azure_are_taken(load, name, value):
    settings = load(STORAGE__BACKEND="azure", **{f"STORAGE__AZURE__{name}": value})

    assert settings.storage.backend == "azure"


def test_all_problems_are_told_at_once(problems_of):
    Path(".env.local").write_text("CB_TRADE_HOSTT=x\n")

    problems = problems_of(
        AUTH__SECRET=None,
        PORT="http",
        STORAGE__ROOTT="x",
        PRT="1",
        EXCHANGES__BINNANCE__BASE_URL="http://127.0.0.1:9001/",
    )

    named = ("AUTH__SECRET", "PORT", "STORAGE__ROOTT", "PRT", "EXCHANGES__BINNANCE__BASE_URL", "HOSTT")
    for name in named:
        assert sum(f"CB_TRADE_{name}" in problem for problem in problems) >= 1, name
    assert len(problems) == len(named)


def test_a_value_that_is_no_json_hides_no_other_problem(problems_of):
    problems = problems_of(EXCHANGES__BINANCE__OPTIONS="not json", PORT="http", PRT="1")

    assert any("OPTIONS" in problem or "EXCHANGES" in problem for problem in problems)
    assert any("CB_TRADE_PRT" in problem for problem in problems)


def test_the_places_that_were_looked_at_are_told(load):
    with pytest.raises(InvalidSettingsError) as caught:
        load(AUTH__SECRET=None)

    assert caught.value.files == [str(Path(name).absolute()) for name in ("secrets", ".env.local", ".env")]


@pytest.mark.parametrize(
    "environment",
    [
        {"AUTH__SECRET": "hunter2"},
        {"AUTH": "hunter2"},
        {"AUTH": '{"secret": "hunter2"}', "AUTH__SECRET": None},
        {"AUTH": '{"secret": "hunter2', "AUTH__SECRET": None},
        {"AUTH__SECRETS": "hunter2"},
        {"AUTH__SECRET__X": "hunter2", "PORT": "x"},
        {"STORAGE": "hunter2"},
        {"EXCHANGES__BINANCE__OPTIONS": '{"secret": "hunter2"'},
        {"EXCHANGES__BINANCE__BASE_URL": "//user:hunter2@host"},
        {"STORAGE__BACKEND": "azure", "STORAGE__AZURE__CONNECTION_STRING": "hunter2"},
        {"STORAGE__BACKEND": "azure", "STORAGE__AZURE__CONNECTION_STRING": "AccountKey=hunter2;;"},
        {"STORAGE__BACKEND": "azure", "STORAGE__AZURE__ACCOUNT_URL": "http://hunter2.example"},
        {"PRT": "hunter2"},
        {"PORT": "hunter2"},
    ],
)
def test_no_problem_shows_a_value(problems_of, environment):
    """Any of them may be a secret in the wrong place."""
    problems = problems_of(**environment)

    assert problems
    assert "hunter2" not in " ".join(problems)


def test_a_secret_is_not_shown_with_the_settings(load):
    settings = load()

    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


# --- Exchanges -------------------------------------------------------------------------------------------------------


def test_an_exchange_that_can_be_served_may_be_named(load_servable):
    settings = load_servable(EXCHANGES__KUCOIN__CALLS_PER_SEC="2.5")

    assert settings.exchanges["kucoin"].calls_per_sec == 2.5


def test_what_may_have_been_meant_is_told_of_all_that_can_be_served(load_servable):
    with pytest.raises(InvalidSettingsError) as caught:
        load_servable(EXCHANGES__KUCOINN__CALLS_PER_SEC="2.5")

    (problem,) = caught.value.problems
    assert problem == (
        "CB_TRADE_EXCHANGES__KUCOINN__CALLS_PER_SEC: no exchange is called 'kucoinn'; known: binance, kraken, "
        "and 2 more by their CCXT ids; did you mean kucoin? (set in the environment)"
    )


@pytest.mark.parametrize("pace", ["0", "-1", "nan", "inf", "fast"])
def test_a_pace_is_above_zero(problems_of, pace):
    (problem,) = problems_of(EXCHANGES__BINANCE__CALLS_PER_SEC=pace)

    assert problem.startswith("CB_TRADE_EXCHANGES__BINANCE__CALLS_PER_SEC")


@pytest.fixture
def load_servable(load, monkeypatch) -> Load:
    """Return `load` where CCXT has two exchanges more."""

    def load_servable(**environment: str) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(f"CB_TRADE_{name}", value)
        return load_settings(known_exchanges=KNOWN, servable_exchanges=["gate", "kucoin"])

    return load_servable


def test_a_cache_that_leaves_no_room_for_work_is_told(load, problems_of):
    (problem,) = problems_of(LIMITS__MEMORY_MAX_BYTES="300000000", STORAGE__CACHE_MAX_BYTES="150000001")

    assert problem.startswith("CB_TRADE_STORAGE__CACHE_MAX_BYTES is more than half of LIMITS__MEMORY_MAX_BYTES")
    assert load(STORAGE__CACHE_MAX_BYTES="150000000").limits.memory_max_bytes == 300_000_000
