"""Partitions that nobody sees, because they are of another layout than the one that the storage was opened with."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.layouts.arrow import ArrowLayout
from cb_trade_data.storage.layouts.json import JsonLayout
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.object_storage import ObjectStorage
from cb_trade_data.storage.path_utility import StoragePathUtility

_PATHS: Final[dict[str, StoragePathUtility]] = {
    "parquet": ParquetLayout.paths,
    "arrow": ArrowLayout.paths,
    "json": JsonLayout.paths,
}


async def other_layouts(storage: ObjectStorage, scope: Scope) -> list[str]:
    """Return the names of the layouts, but for the storage's own, that something in *scope* is stored in."""
    return [
        name for name, paths in _PATHS.items() if paths is not storage.paths and await _is_used(storage, scope, paths)
    ]


async def _is_used(storage: ObjectStorage, scope: Scope, paths: StoragePathUtility) -> bool:
    for folder in scope.folders(paths):
        async with aclosing(storage.list_objects(folder)) as listing:
            async for listed in listing:
                partition = paths.partition_of(listed.path)
                if partition is not None and scope.holds(partition.series):
                    return True
    return False
