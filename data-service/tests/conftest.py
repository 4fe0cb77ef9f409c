"""What the unit and the integration tests share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import structlog
from azurite import is_installed, running_azurite

# Contract suites live beside the tests that inherit them; their asserts should explain themselves, too.
pytest.register_assert_rewrite(
    "json_contract",
    "storage_around",
    "storage_contract",
    "storage_events_contract",
    "storage_survival_contract",
    "storage_verbs_contract",
    "storage_versions_contract",
    "unit_builders",
)


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The connection string of an Azurite of this test process's own."""
    if not is_installed():
        pytest.skip("Azurite is not installed: npm is needed for that")
    with running_azurite() as connection_string:
        yield connection_string


@pytest.fixture(autouse=True)
def _restore_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever sets up the log changes the process: put it back as pytest had it.

    Loggers that are kept once they were used would stay as they were set up, and no later test could see what they say.
    """
    monkeypatch.setattr(structlog, "configure", partial(_configure_for_now, structlog.configure))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def _configure_for_now(configure: Callable[..., None], **options: Any) -> None:
    configure(**options | {"cache_logger_on_first_use": False})
