from __future__ import annotations

import pytest
from unit_builders import bars, series, utc

from cb_trade_data.historical.inventory import take_inventory
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl


@pytest.mark.parametrize("layout", [ParquetLayout, JsonLayout])
async def test_an_inventory_lists_every_folder_once_however_many_series_there_are(tmp_path, monkeypatch, layout):
    storage = LocalFileStorage(tmp_path, layout())
    opens = [utc("2023-12-31T22:00"), utc("2024-02-01")]
    for timeframe in ("1m", "1h", "2h"):
        await storage.save_bulk_entries(series(timeframe=timeframe), bars(opens))
    listed = []
    list_objects = storage.list_objects

    def counted(folder, **options):
        listed.append(folder)
        return list_objects(folder, **options)

    monkeypatch.setattr(storage, "list_objects", counted)

    page = await take_inventory(StorageManagerImpl(storage), "binance", None, after=None, limit=9)

    assert [(str(each.series.timeframe), each.first, each.last) for each in page.series] == [
        (timeframe, *opens) for timeframe in ("1h", "1m", "2h")
    ]
    assert listed == storage.paths.exchange_folders("binance")
