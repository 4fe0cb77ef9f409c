"""Settings as a process finds them: in a working folder, an environment and a folder of secrets of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from cb_trade_data.config import Settings, StorageSettings, sources
from cb_trade_data.config.loading import load_settings, load_storage_settings
from cb_trade_data.errors import ErrorCode, InvalidSettingsError
from cb_trade_data.models import system

SECRET = "a secret for tests that is long enough"
KNOWN = ["binance", "kraken"]

Load = Callable[..., Settings]


@pytest.fixture
def load(monkeypatch, tmp_path) -> Load:
    """Return `load_settings` in a working folder and an environment with nothing of ours but a secret, as on Linux."""
    for name in list(os.environ):
        if name.upper().startswith("CB_TRADE"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(system, "TELLS_OWN_MEMORY", True)
    monkeypatch.setattr(sources, "SECRETS_FOLDER", tmp_path / "secrets")
    monkeypatch.setenv("CB_TRADE_AUTH__SECRET", SECRET)

    def load(overrides: dict[str, Any] | None = None, **environment: str | None) -> Settings:
        for name, value in environment.items():
            if value is None:
                monkeypatch.delenv(f"CB_TRADE_{name}")
            else:
                monkeypatch.setenv(f"CB_TRADE_{name}", value)
        return load_settings(overrides, known_exchanges=KNOWN)

    return load


@pytest.fixture
def problems_of(load) -> Callable[..., list[str]]:
    """Return what `load` complains about, less the last line, which tells where it looked."""

    def problems_of(overrides: dict[str, Any] | None = None, **environment: str | None) -> list[str]:
        with pytest.raises(InvalidSettingsError) as caught:
            load(overrides, **environment)
        assert caught.value.code is ErrorCode.INVALID_SETTINGS
        assert "input_value" not in str(caught.value.__cause__)
        return caught.value.problems

    return problems_of


@pytest.fixture
def storage_settings_of(load, monkeypatch) -> Callable[..., StorageSettings]:
    """Return what the storage commands read."""

    def storage_settings_of(**environment: str) -> StorageSettings:
        for name, value in environment.items():
            monkeypatch.setenv(f"CB_TRADE_{name}", value)
        return load_storage_settings(known_exchanges=KNOWN)

    return storage_settings_of
