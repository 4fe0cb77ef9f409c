"""A walk over a storage: every object there is, and what it is to us."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum, auto

from cb_trade_data.models.partition import Partition
from cb_trade_data.models.series import Series
from cb_trade_data.storage.housekeeping.scope import Scope
from cb_trade_data.storage.object_storage import CHECK_PATH, ListedObject, ObjectStorage
from cb_trade_data.storage.path_utility import DAMAGED_FOLDER, StoragePathUtility


class Role(Enum):
    """What an object is to a storage."""

    PARTITION = auto()  # commits one
    FACTS = auto()
    ENTRY = auto()  # one row, in a layout that keeps them so
    OURS = auto()  # of no series
    FOREIGN = auto()


@dataclass(frozen=True)
class FoundObject:
    """An object of a storage.

    Attributes:
        series: Whose folder it lies in; None for none's.
        partition: That it commits, or that its row belongs to; None for every other role.
    """

    path: str
    size_bytes: int
    role: Role
    series: Series | None = None
    partition: Partition | None = None


async def survey(storage: ObjectStorage, scope: Scope) -> AsyncGenerator[FoundObject, None]:
    """Yield every object that *scope* means; those of a series one after the other.

    What was set aside is left out: see `set_aside`.
    """
    for folder in scope.folders(storage.paths):
        async with aclosing(storage.list_objects(folder)) as listing:
            async for listed in listing:
                found = _found(listed, storage.paths)
                if scope.holds(found.series) and not listed.path.startswith(f"{DAMAGED_FOLDER}/"):
                    yield found


async def set_aside(storage: ObjectStorage, scope: Scope) -> AsyncGenerator[ListedObject, None]:
    """Yield the objects in *scope* that were found damaged and moved out of the way."""
    for folder in scope.folders(storage.paths):
        async with aclosing(storage.list_objects(f"{DAMAGED_FOLDER}/{folder}".rstrip("/"))) as listing:
            async for listed in listing:
                if scope.holds(storage.paths.series_of(listed.path.removeprefix(f"{DAMAGED_FOLDER}/"))):
                    yield listed


async def abandoned(storage: ObjectStorage, scope: Scope) -> AsyncGenerator[ListedObject, None]:
    """Yield what writers in *scope* left behind when they died."""
    for folder in scope.folders(storage.paths):
        async with aclosing(storage.list_abandoned(folder)) as listing:
            async for listed in listing:
                if scope.holds(storage.paths.series_of(listed.path)):
                    yield listed


def _found(listed: ListedObject, paths: StoragePathUtility) -> FoundObject:
    path = listed.path
    series, partition = paths.series_of(path), paths.partition_of(path)
    if partition is not None:
        role = Role.PARTITION
    elif series is not None and path == paths.facts_path(series):
        role = Role.FACTS
    elif (partition := paths.entry_partition(path)) is not None:
        role = Role.ENTRY
    else:
        role = Role.OURS if path == CHECK_PATH else Role.FOREIGN
    return FoundObject(path, listed.size_bytes, role, series, partition)
