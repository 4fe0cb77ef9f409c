"""With `CB_TRADE_MODE=production`, what is only good enough for a laptop stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from cb_trade_data.models import system

GOOD = {
    "MODE": "production",
    "AUTH__AUDIENCE": "cb-trade",
    "AUTH__ISSUER": "us",
    "AUTH__ALLOWED_ORIGINS": "[]",
    "STORAGE__ROOT": "/var/lib/cb-trade",
    "LIMITS__MEMORY_MAX_BYTES": "1000000000",
    "LIMITS__REQUESTS_PER_SEC_PER_SUBJECT": "50",
}
AZURITE = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=aGVsbG8=;BlobEndpoint=http://azurite:10000/devstoreaccount1"
WELL_KNOWN_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def test_a_service_set_up_for_production_starts(load):
    assert load(**GOOD).mode == "production"


def test_a_laptop_may_do_as_it_likes(load):
    assert load(LOG_LEVEL="debug", HOST="0.0.0.0").mode == "laptop"  # noqa: S104


def test_all_that_is_only_good_enough_for_a_laptop_is_told_at_once(problems_of):
    problems = problems_of(
        MODE="production",
        HOST="0.0.0.0",  # noqa: S104
        LOG_LEVEL="debug",
        EXCHANGES__BINANCE__BASE_URL="http://127.0.0.1:9001/h",
    )

    assert sorted(problem.split(" ")[0].rstrip(":") for problem in problems) == [
        "CB_TRADE_AUTH__ALLOWED_ORIGINS",
        "CB_TRADE_AUTH__AUDIENCE",
        "CB_TRADE_AUTH__ISSUER",
        "CB_TRADE_EXCHANGES__BINANCE__BASE_URL",
        "CB_TRADE_HOST",
        "CB_TRADE_LIMITS__MEMORY_MAX_BYTES",
        "CB_TRADE_LIMITS__REQUESTS_PER_SEC_PER_SUBJECT",
        "CB_TRADE_LOG_LEVEL",
        "CB_TRADE_STORAGE__ROOT",
    ]
    assert all(problem.endswith("(CB_TRADE_MODE is production)") for problem in problems)


def test_it_is_told_with_what_is_wrong_otherwise(problems_of):
    problems = problems_of(**GOOD | {"PORT": "http", "AUTH__SECRET": "short", "LOG_LEVEL": "debug", "PRT": "1"})

    assert sorted(problem.split(" ")[0].rstrip(":") for problem in problems) == [
        "CB_TRADE_AUTH__SECRET",
        "CB_TRADE_LOG_LEVEL",
        "CB_TRADE_PORT",
        "CB_TRADE_PRT",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH__AUDIENCE", ""),
        ("AUTH__ISSUER", ""),
        ("AUTH__ALLOWED_ORIGINS", ""),
        ("STORAGE__ROOT", ""),
        ("STORAGE__ROOT", "data"),
        ("LIMITS__MEMORY_MAX_BYTES", ""),
        ("LIMITS__REQUESTS_PER_SEC_PER_SUBJECT", ""),
        ("HOST", "0.0.0.0"),  # noqa: S104
        ("HOST", "::"),
        ("HOST", "10.0.0.4"),
        ("HOST", "cb-trade.example.com"),
        ("LOG_LEVEL", "debug"),
        ("EXCHANGES__KRAKEN__BASE_URL", "http://127.0.0.1:9001/h"),
    ],
)
def test_each_of_them_stops_the_start(problems_of, name, value):
    (problem,) = problems_of(**GOOD | {name: value})

    assert problem.startswith(f"CB_TRADE_{name}")


def test_a_limit_of_memory_that_cannot_be_kept_to_is_neither_asked_for_nor_taken(load, problems_of, monkeypatch):
    monkeypatch.setattr(system, "TELLS_OWN_MEMORY", False)

    (problem,) = problems_of(**GOOD)

    assert problem.startswith("CB_TRADE_LIMITS__MEMORY_MAX_BYTES: only Linux tells")
    assert load(**GOOD | {"LIMITS__MEMORY_MAX_BYTES": ""}).mode == "production"


def test_the_command_line_is_judged_like_every_other_source(problems_of):
    (problem,) = problems_of({"host": "0.0.0.0"}, **GOOD)  # noqa: S104

    assert problem.startswith("CB_TRADE_HOST: 0.0.0.0 can be reached from elsewhere")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_who_listens_on_this_machine_only_needs_no_certificate(load, host):
    assert load(**GOOD | {"HOST": host}).host == host


def test_who_has_a_certificate_may_listen_anywhere(load):
    certificate = trustme.CA().issue_cert("cb-trade.example")
    certificate.cert_chain_pems[0].write_to_path("tls.crt")
    certificate.private_key_pem.write_to_path("tls.key")

    settings = load(**GOOD, HOST="0.0.0.0", TLS__CERTIFICATE_FILE="tls.crt", TLS__KEY_FILE="tls.key")  # noqa: S104

    assert settings.tls.key_file == Path("tls.key")


def test_an_exchange_behind_another_address_with_tls_is_fine(load):
    assert load(**GOOD, EXCHANGES__KRAKEN__BASE_URL="https://proxy.example/h").exchanges


@pytest.mark.parametrize(
    "text",
    [
        "UseDevelopmentStorage=true",
        AZURITE,
        f"AccountName=mine;AccountKey={WELL_KNOWN_KEY};EndpointSuffix=core.windows.net",
    ],
)
def test_the_emulators_key_is_no_secret(problems_of, text):
    azure = {"STORAGE__BACKEND": "azure", "STORAGE__AZURE__CONNECTION_STRING": text}

    (problem,) = problems_of(**GOOD | azure)

    assert problem.startswith("CB_TRADE_STORAGE__AZURE__CONNECTION_STRING: is that of the emulator")


def test_a_storage_account_of_ones_own_is_fine(load):
    text = "AccountName=account;AccountKey=aGVsbG8=;EndpointSuffix=core.windows.net"
    azure = {"STORAGE__BACKEND": "azure", "STORAGE__AZURE__CONNECTION_STRING": text, "STORAGE__ROOT": "data"}

    assert load(**GOOD | azure).storage.backend == "azure"


def test_the_storage_commands_do_not_mind(load, storage_settings_of):
    """What keeps house needs no key, and no limits."""
    assert storage_settings_of(MODE="production").backend == "local"
