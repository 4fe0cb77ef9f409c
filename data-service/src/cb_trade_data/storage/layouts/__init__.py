"""Layouts: how a partition becomes bytes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.integrity import Verified
from cb_trade_data.storage.layouts.entries import EntryPlan
from cb_trade_data.storage.layouts.metadata import ObjectMetadata
from cb_trade_data.storage.path_utility import StoragePathUtility
from cb_trade_data.storage.stored_partition import StoredPartition


@dataclass(frozen=True, eq=False)
class StoredObject:
    """The bytes of one version of one object. A place may keep it for the next read: the same one, not an equal one."""

    path: str
    data: pa.Buffer
    version: str


class Layout(Protocol):
    """A codec between a partition and the bytes of its objects. Pure; blocking work: call it off the event loop.

    Each partition has one object that commits it, replaced only if it is unchanged. A layout may keep rows in entries
    of their own beside it: they are written first, once and for all, and what the committed object does not name is not
    there.
    """

    @property
    def paths(self) -> StoragePathUtility:
        """Where things are."""

    @property
    def is_zero_copy(self) -> bool:
        """Whether decoding copies nothing, so that what was decoded costs nothing to keep beside the object."""

    @property
    def has_entries(self) -> bool:
        """Whether rows lie in entries."""

    @property
    def has_footer(self) -> bool:
        """Whether `metadata` needs no more than the end of the object, if that holds all of it."""

    @property
    def has_parts(self) -> bool:
        """Whether `decode` of a part needs no more than the end of the object and the bytes that `bytes_of` tells."""

    def plan_entries(self, stored: StoredPartition, fresh: pa.Table, committed: StoredObject | None) -> EntryPlan:
        """Return which entries the partition is to have, and those of them that are to be written.

        Args:
            fresh: Rows of it that the committed version does not have, or may have otherwise.
            committed: The object that *stored* takes the place of; None where there is none.

        Raises:
            ValueError: That object is damaged.
        """

    def encode(self, stored: StoredPartition, entry_paths: Sequence[str] = ()) -> pa.Buffer | bytes:
        """Return the bytes of the committing object.

        Args:
            entry_paths: Of each row's entry, where rows lie in entries.
        """

    def metadata(self, stored: StoredObject) -> ObjectMetadata:
        """Return what the committing object says about itself.

        Raises:
            ValueError: The bytes are not of this layout and format, or not those that were written.
        """

    def bytes_of(self, stored: StoredObject, wanted: TimeRange) -> range:
        """Return which bytes of the committing object `decode` needs for *wanted*, besides its end; see `has_parts`.

        Args:
            stored: There need be no more of it than its end; the rest may be zeros.

        Raises:
            ValueError: That does not tell.
        """

    def entry_paths(self, partition: Partition, stored: StoredObject, wanted: TimeRange | None) -> Sequence[str]:
        """Return the paths of the entries that `decode` needs.

        Raises:
            ValueError: The bytes are not of this layout and format, or not those that were written.
        """

    def decode(
        self,
        partition: Partition,
        stored: StoredObject,
        entries: Mapping[str, bytes],
        wanted: TimeRange | None,
        verified: Verified,
    ) -> StoredPartition:
        """Read back what was written: the coverage, and at least the rows of *wanted* (all of them for None).

        Args:
            entries: Those of `entry_paths` that there are.

        Raises:
            ValueError: The bytes are not of this layout, or not those that were written.
            NewerFormatError: They are of a format that only later releases know.
        """
