"""What the unit and the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azurite import is_installed, running_azurite

# Contract suites live beside the tests that inherit them; their asserts should explain themselves, too.
pytest.register_assert_rewrite("storage_contract", "storage_around", "unit_builders")


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The connection string of an Azurite of this test process's own."""
    if not is_installed():
        pytest.skip("Azurite is not installed: npm is needed for that")
    with running_azurite() as connection_string:
        yield connection_string
