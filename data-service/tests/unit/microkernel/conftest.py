from __future__ import annotations

from dataclasses import replace

import pytest
from scripted_client import FACTS, ScriptedClient, source_of

from cb_trade_data.exchange_source.microkernel import DataSourceConnectorImpl


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient()


@pytest.fixture
def source(client) -> DataSourceConnectorImpl:
    return source_of(client, ScriptedClient(replace(FACTS, id="okx")))
