"""Layouts: how a partition becomes bytes, and back."""

from __future__ import annotations

from typing import Protocol

from cb_trade_data.models.partition import Partition
from cb_trade_data.storage.stored_partition import StoredPartition


class Layout(Protocol):
    """A codec between a partition and the bytes of its object. Pure; blocking work, so call it off the event loop."""

    suffix: str

    def encode(self, stored: StoredPartition) -> bytes:
        """Return the object's bytes: rows and coverage in one."""

    def decode(self, partition: Partition, data: bytes, version: str) -> StoredPartition:
        """Read back what `encode` gave.

        Raises:
            ValueError: *data* is not an object of this layout, or of a format version this layout cannot read.
        """
