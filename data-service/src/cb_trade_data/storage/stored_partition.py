"""A partition's rows and its coverage as one immutable value, and the one way in which it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain

import pyarrow as pa

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import SCHEMAS, slice_range, union, upsert
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Coverage, Segment


@dataclass(frozen=True)
class Change:
    """New rows and what was learned with them: applied together or not at all.

    Attributes:
        rows: In time order, unique, with the schema of the kind; a row of equal time replaces the stored one.
        segments: The coverage that these rows, or their absence, prove.
    """

    rows: pa.Table
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class StoredPartition:
    """What storage holds of a partition.

    Attributes:
        version: Names the stored object this was read from; None where there is none yet.
        digests: Of each unit of time that has rows in that object, by its first millisecond, see `models.digest`; empty
            where they are not known.
    """

    partition: Partition
    rows: pa.Table
    coverage: Coverage = field(default_factory=Coverage)
    version: str | None = None
    digests: Mapping[int, bytes] = field(default_factory=dict)

    @classmethod
    def empty(cls, partition: Partition) -> StoredPartition:
        """Return a partition of which nothing is known."""
        return cls(partition, SCHEMAS[partition.series.kind].empty_table())

    def with_changes(self, changes: Iterable[Change]) -> StoredPartition:
        """Return the partition after *changes*, applied in order."""
        changes = list(changes)
        if not changes:
            return self
        # Page by page, the pages of a month would have the month gone through a hundred times.
        rows = upsert(self.rows, union([change.rows for change in changes]))
        segments = chain.from_iterable(change.segments for change in changes)
        return replace(self, rows=rows, coverage=self.coverage.with_segments(segments), digests={})

    def rows_in(self, wanted: TimeRange) -> pa.Table:
        """Return the rows of *wanted*, in time order, without copying them."""
        if wanted.covers(self.partition.range):
            return self.rows
        return slice_range(self.rows, wanted)

    def since(self, start: datetime) -> StoredPartition:
        """Return what is left once everything before *start*, an instant of the partition, is forgotten."""
        kept = TimeRange(start, self.partition.range.end)
        return replace(self, rows=self.rows_in(kept), coverage=Coverage(tuple(self.coverage.within(kept))), digests={})

    @property
    def oldest(self) -> datetime | None:
        """The time of the oldest row."""
        if self.rows.num_rows == 0:
            return None
        return from_ms(self.rows.column("timestamp")[0].cast(pa.int64()).as_py())

    @property
    def newest(self) -> datetime | None:
        """The time of the newest row."""
        if self.rows.num_rows == 0:
            return None
        return from_ms(self.rows.column("timestamp")[-1].cast(pa.int64()).as_py())
