"""Housekeeping beside a running service: what is deleted is asked for again, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from service_harness import at, running_service

from cb_trade_data.config import StorageSettings
from cb_trade_data.main import create_storage
from cb_trade_data.storage.housekeeping.deletion import delete
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.housekeeping.verification import Report, verify

START, END = at("2024-01-31T20:00"), at("2024-02-01T10:00")


@pytest.mark.parametrize("layout", ["parquet", "arrow", "json"])
async def test_what_is_deleted_under_a_running_service_is_fetched_again_and_nothing_else(simulator, tmp_path, layout):
    settings = StorageSettings(root=tmp_path, layout=layout)
    storage = create_storage(settings)
    async with running_service(settings, simulator.base_url) as service, service.client() as client:
        await client.history(START, END)

        before = at("2024-02-01T03:00")
        rows_deleted = sum([one.rows async for one in delete(storage, Scope("binance"), before)])
        again = await client.history(START, END)

        gone = [one async for one in delete(storage, Scope("binance"), None)]
        anew = await client.history(START, END)

    truth = simulator.candles("BTC/USDT", "1m", START, END)
    np.testing.assert_array_equal(again.rows, truth)
    np.testing.assert_array_equal(anew.rows, truth)
    assert again.last["rows_from_exchange"] == rows_deleted
    assert again.last["rows_from_storage"] == len(truth) - rows_deleted
    assert sum(one.rows for one in gone) == anew.last["rows_from_exchange"] == len(truth)

    report = Report()
    async for item in verify(create_storage(settings), Scope()):
        report.add(item)
    assert report.findings == []
    assert report.rows == len(truth)
