from __future__ import annotations

import pytest

# Contract suites live beside the tests that inherit them; their asserts should explain themselves, too.
pytest.register_assert_rewrite("storage_contract", "unit_builders")
