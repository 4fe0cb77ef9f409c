"""A partition's rows and its coverage as one immutable value, and the one way in which it changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain

import pyarrow as pa

from cb_trade_data.models.digest import units_of
from cb_trade_data.models.frame import Frame, Stretch, framed
from cb_trade_data.models.instants import from_ms, to_ms_ceil
from cb_trade_data.models.market import SCHEMAS, rows_before, union, upsert
from cb_trade_data.models.partition import Partition
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.quality.evidence import Evidence
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

    @classmethod
    def of(cls, changes: Sequence[Change]) -> Change:
        """Return the one change that does what *changes*, at least one, do in order."""
        segments = chain.from_iterable(change.segments for change in changes)
        return cls(union([change.rows for change in changes]), tuple(segments))


@dataclass(frozen=True)
class Outline:
    """What storage says of a partition beside its rows; as it stands, what it says where there is none.

    Attributes:
        evidence: What was found in all of its rows; None for kinds without bars, and where none lies with
            them that can be believed.
    """

    coverage: Coverage = field(default_factory=Coverage)
    evidence: Evidence | None = field(default_factory=dict)


@dataclass(frozen=True)
class StoredPartition:
    """What storage holds of a partition.

    Attributes:
        version: Names the stored object this was read from; None where there is none yet.
        digests: Of units of time, by their first millisecond, see `models.digest`: of those that are known.
        frames: Of those rows that lie in some.
        evidence: As in `Outline`; that of changed rows is not known before they are written.
        evidence_is_damaged: Whether what lies with them is not what was written, which is why there is none.
    """

    partition: Partition
    rows: pa.Table
    coverage: Coverage = field(default_factory=Coverage)
    version: str | None = None
    digests: Mapping[int, bytes] = field(default_factory=dict)
    frames: tuple[Frame, ...] = ()
    evidence: Evidence | None = None
    evidence_is_damaged: bool = False

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
        news = Change.of(changes)
        touched = units_of(news.rows, self.partition.series) if self.digests else set()
        digests = {start_ms: digest for start_ms, digest in self.digests.items() if start_ms not in touched}
        return replace(
            self,
            rows=upsert(self.rows, news.rows),
            coverage=self.coverage.with_segments(news.segments),
            digests=digests,
            frames=(),
            evidence=None,
            evidence_is_damaged=False,
        )

    @property
    def outline(self) -> Outline:
        """What it says beside the rows."""
        return Outline() if self.version is None else Outline(self.coverage, self.evidence)

    def rows_in(self, wanted: TimeRange) -> pa.Table:
        """Return the rows of *wanted*, in time order, without copying them."""
        if wanted.covers(self.partition.range):
            return self.rows
        first, end = self._places(wanted)
        return self.rows.slice(first, end - first)

    def stretch(self, wanted: TimeRange) -> Stretch:
        """Return the rows of *wanted*, in time order, with the frames of them, without copying any."""
        whole = Stretch(self.rows, self.frames)
        if wanted.covers(self.partition.range):
            return whole
        first, end = self._places(wanted)
        return whole.slice(first, end - first)

    def framed(self) -> StoredPartition:
        """Return the same, with all of its rows in frames."""
        if self.frames or self.rows.num_rows == 0:
            return self
        stretch = framed(self.rows)
        return replace(self, rows=stretch.rows, frames=stretch.frames)

    def since(self, start: datetime) -> StoredPartition:
        """Return what is left once everything before *start*, an instant of the partition, is forgotten."""
        kept = TimeRange(start, self.partition.range.end)
        coverage = Coverage(tuple(self.coverage.within(kept)))
        return StoredPartition(self.partition, self.rows_in(kept), coverage, self.version)

    def _places(self, wanted: TimeRange) -> tuple[int, int]:
        # In the rows as they lie: a flight has another state with each page.
        return rows_before(self.rows, to_ms_ceil(wanted.start)), rows_before(self.rows, to_ms_ceil(wanted.end))

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
