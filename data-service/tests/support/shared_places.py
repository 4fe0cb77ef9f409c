"""Where several services keep their rows at once, and a way around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient
from storage_around import Around, AroundContainer, AroundFolder


@dataclass
class Place:
    """Where several services keep their rows: how they are told, and a way around them."""

    environment: dict[str, str]
    around: Around


def local(request: pytest.FixtureRequest) -> Place:
    root: Path = request.getfixturevalue("tmp_path") / "data"
    environment = {"CB_TRADE_STORAGE__BACKEND": "local", "CB_TRADE_STORAGE__ROOT": str(root)}
    return Place(environment, AroundFolder(root, request.getfixturevalue("monkeypatch")))


def azure(request: pytest.FixtureRequest) -> Place:
    connection_string: str = request.getfixturevalue("azurite")
    name = f"test-{uuid4().hex[:12]}"
    environment = {
        "CB_TRADE_STORAGE__BACKEND": "azure",
        "CB_TRADE_STORAGE__AZURE__CONNECTION_STRING": connection_string,
        "CB_TRADE_STORAGE__AZURE__CONTAINER": name,
    }
    client = ContainerClient.from_connection_string(connection_string, name)
    request.addfinalizer(client.close)
    return Place(environment, AroundContainer(client, request.getfixturevalue("monkeypatch")))


PLACES: list[Callable[[pytest.FixtureRequest], Place]] = [local, azure]
