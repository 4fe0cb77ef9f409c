"""A storage and what stands around it, as the suites of its contract ask for them."""

from __future__ import annotations

import pytest
from storage_around import Around, Form

from cb_trade_data.storage.interfaces import IRawDataStorage


class StorageUnderTest:
    """A storage's test class inherits this and supplies its form (the layout, seen from outside) and three fixtures."""

    form: Form

    @pytest.fixture
    def storage(self) -> IRawDataStorage:
        """Return the storage under test, with nothing in it."""
        raise NotImplementedError

    @pytest.fixture
    def twin(self) -> IRawDataStorage:
        """Return another storage over the same place, as another process would have."""
        raise NotImplementedError

    @pytest.fixture
    def around(self) -> Around:
        raise NotImplementedError
