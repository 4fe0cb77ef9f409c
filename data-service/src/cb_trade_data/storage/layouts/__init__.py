"""Layouts: how a partition becomes bytes, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.path_utility import StoragePathUtility
from cb_trade_data.storage.stored_partition import StoredPartition


@dataclass(frozen=True)
class StoredObject:
    """The bytes of one version of one object."""

    path: str
    data: pa.Buffer
    version: str


class Layout(Protocol):
    """A codec between a partition and the bytes of its objects. Pure; blocking work: call it off the event loop.

    Each partition has one object that commits it, replaced only if it is unchanged. A layout may keep rows in entries
    of their own beside it: they are written first, and what the committed object does not vouch for is not there.
    """

    @property
    def paths(self) -> StoragePathUtility:
        """Where things are."""

    @property
    def is_mapped(self) -> bool:
        """Whether decoded rows point into the object's bytes, so that mapping a file saves reading it."""

    def encode(self, stored: StoredPartition) -> pa.Buffer | bytes:
        """Return the bytes of the committing object."""

    def entries(self, fresh: pa.Table, partition: Partition) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of each entry that *fresh* rows need."""

    def decode(
        self,
        partition: Partition,
        stored: StoredObject,
        entries: Sequence[StoredObject],
        wanted: TimeRange | None,
        verified: Verified,
    ) -> StoredPartition:
        """Read back what was written: the coverage, and at least the rows of *wanted* (all of them for None).

        Args:
            entries: The objects found in `paths.entry_folders(partition, wanted)`.

        Raises:
            ValueError: The bytes are not of this layout and format, or not those that were written.
        """
