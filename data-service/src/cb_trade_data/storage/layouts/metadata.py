"""What an object says about itself: format, coverage, evidence, and an index of its batches with their checksums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson
import pyarrow as pa

from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.instants import from_ms, to_ms_ceil
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.quality import evidence
from cb_trade_data.quality.evidence import Evidence
from cb_trade_data.quality.inspection import inspect
from cb_trade_data.storage import formats
from cb_trade_data.storage.coverage import Coverage
from cb_trade_data.storage.formats import FORMAT, FORMAT_KEY, reader_for
from cb_trade_data.storage.integrity import Verified, bytes_checksum, rows_checksum
from cb_trade_data.storage.stored_partition import Outline, StoredPartition

_FORMAT_KEY: Final = FORMAT_KEY.encode()
_COVERAGE_KEY: Final = b"cb_trade.coverage"
_BATCHES_KEY: Final = b"cb_trade.batches"
_ENTRIES_KEY: Final = b"cb_trade.entries"
_DIGESTS_KEY: Final = b"cb_trade.digests"
_EVIDENCE_KEY: Final = b"cb_trade.evidence"
CHECKSUM_KEY: Final = formats.CHECKSUM_KEY.encode()


@dataclass(frozen=True)
class BatchEntry:
    """One batch of an object: how many rows, from the first time to the last (both inclusive), and their checksum."""

    rows: int
    first_ms: int
    last_ms: int
    checksum: str

    @property
    def range(self) -> TimeRange:
        """The shortest range that holds the batch."""
        return TimeRange(from_ms(self.first_ms), from_ms(self.last_ms + 1))


@dataclass(frozen=True)
class ObjectMetadata:
    """The metadata of a partition's object. It carries a checksum of its own, so that it can be trusted.

    Attributes:
        entries: Where rows lie in entries of their own: for each batch the names of them, in the order of its rows.
        digests: Of each unit of time that has rows, by its first millisecond, see `models.digest`; none where the
            object was written before there were any.
        evidence: Of its bars; None for kinds without, where the object was written before there was any, where it was
            found by other rules than ours, and where it is damaged: it can be found again in the rows.
        evidence_is_damaged: Whether it is not what was written.
    """

    coverage: Coverage
    batches: tuple[BatchEntry, ...]
    entries: tuple[tuple[str, ...], ...] = ()
    digests: Mapping[int, bytes] = field(default_factory=dict)
    evidence: Evidence | None = None
    evidence_is_damaged: bool = False

    @classmethod
    def of(
        cls, stored: StoredPartition, batches: Iterable[pa.Table], entries: tuple[tuple[str, ...], ...] = ()
    ) -> ObjectMetadata:
        """Describe *stored*, the rows of which are cut into *batches*: in time order, none empty.

        All of its bars are inspected anew: the neighbours of a row, new ones too, decide about it.
        """
        described = tuple(_describe(batch) for batch in batches)
        digests = unit_digests(stored.rows, stored.partition.series, stored.digests)
        return cls(stored.coverage, described, entries, digests, inspected(stored))

    @property
    def outline(self) -> Outline:
        """What it says beside the rows."""
        return Outline(self.coverage, self.evidence)

    @property
    def rows(self) -> int:
        """How many rows the object holds."""
        return sum(batch.rows for batch in self.batches)

    def overlapping(self, wanted: TimeRange | None) -> range:
        """Return the numbers of the batches that may hold rows of *wanted*; of all batches for None."""
        if wanted is None:
            return range(len(self.batches))
        start_ms, end_ms = to_ms_ceil(wanted.start), to_ms_ceil(wanted.end)
        touched = [
            number for number, batch in enumerate(self.batches) if batch.last_ms >= start_ms and batch.first_ms < end_ms
        ]
        return range(touched[0], touched[-1] + 1) if touched else range(0)

    def verify(self, rows: pa.Table, numbers: range, path: str, version: str, verified: Verified) -> None:
        """Compare *rows*, those of the batches *numbers* of an object version, with the checksums.

        Raises:
            ValueError: They differ.
        """
        first = 0
        for number in numbers:
            batch = self.batches[number]
            verified.check(path, version, number, rows.slice(first, batch.rows), batch.checksum)
            first += batch.rows

    def to_key_values(self) -> dict[bytes, bytes]:
        """Return the metadata as an Arrow schema carries it."""
        pairs = {
            _FORMAT_KEY: b"%d" % FORMAT,
            _COVERAGE_KEY: orjson.dumps([segment.to_json() for segment in self.coverage.segments]),
            _BATCHES_KEY: orjson.dumps(
                [[entry.rows, entry.first_ms, entry.last_ms, entry.checksum] for entry in self.batches]
            ),
            **({_ENTRIES_KEY: orjson.dumps(self.entries)} if self.entries else {}),
        }
        # Each with a checksum of its own: those who do not know of them check all else as they always did.
        apart = {_DIGESTS_KEY: _write_digests(self.digests)}
        if self.evidence is not None:
            apart[_EVIDENCE_KEY] = _write_evidence(self.evidence)
        return pairs | {CHECKSUM_KEY: _checksum(FORMAT, pairs)} | apart

    @classmethod
    def from_key_values(cls, pairs: Mapping[bytes, bytes] | None, path: str) -> ObjectMetadata:
        """Read back what `to_key_values` gave, in this release or an earlier one. To be done first, see `reader_for`.

        Raises:
            NewerFormatError: It is of a format that only later releases know.
            ValueError: It is not what was written.
        """
        pairs = pairs or {}
        found = pairs.get(_FORMAT_KEY, b"")
        if found != b"1" and pairs.get(CHECKSUM_KEY) == _checksum(1, pairs):
            raise ValueError(f"the checksum is that of format 1, which calls itself {found!r}")
        return reader_for(int(found) if found.isdigit() else found, _READERS, path)(pairs)


def _checksum(written_format: int, pairs: Mapping[bytes, bytes]) -> bytes:
    # Only format 1 leaves its own number out. All others must not: that is what tells an object of a later release from
    # an older one with a flipped bit in its number.
    number = b"" if written_format == 1 else b"%d" % written_format
    content = (pairs.get(name, b"") for name in (_COVERAGE_KEY, _BATCHES_KEY, _ENTRIES_KEY))
    return bytes_checksum(number + b"".join(content)).encode()


def _read_format_1(pairs: Mapping[bytes, bytes]) -> ObjectMetadata:
    if pairs.get(CHECKSUM_KEY) != _checksum(1, pairs):
        raise ValueError("the checksum of the metadata does not match it")
    try:
        index = tuple(BatchEntry(*entry) for entry in orjson.loads(pairs[_BATCHES_KEY]))
        names = tuple(tuple(map(str, batch)) for batch in orjson.loads(pairs.get(_ENTRIES_KEY, b"[]")))
        digests = _read_digests(pairs[_DIGESTS_KEY]) if _DIGESTS_KEY in pairs else {}
        written = pairs.get(_EVIDENCE_KEY)
        text = None if written is None else _evidence_text(written)
        return ObjectMetadata(
            Coverage.from_json(orjson.loads(pairs[_COVERAGE_KEY])),
            index,
            names,
            digests,
            None if text is None else evidence.read_back(text),
            evidence_is_damaged=written is not None and text is None,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an index of batches: {error}") from error


def inspected(stored: StoredPartition) -> Evidence | None:
    """Return what is found in the rows of *stored*, all that it has; None for kinds without bars."""
    timeframe = stored.partition.series.timeframe
    if timeframe is None:
        return None
    return evidence.evidence_of(inspect(stored.rows, timeframe))


def _write_digests(digests: Mapping[int, bytes]) -> bytes:
    units = [[start_ms, digest.hex()] for start_ms, digest in digests.items()]
    return orjson.dumps({"units": units, "checksum": bytes_checksum(orjson.dumps(units))})


def _read_digests(written: bytes) -> Mapping[int, bytes]:
    document = orjson.loads(written)
    if document["checksum"] != bytes_checksum(orjson.dumps(document["units"])):
        raise ValueError("the checksum of the digests does not match them")
    return {int(start_ms): bytes.fromhex(text) for start_ms, text in document["units"]}


def _write_evidence(found: Evidence) -> bytes:
    return _with_checksum(evidence.written(found))


def _evidence_text(written: bytes) -> bytes | None:
    """Return the evidence as it was written; None where it is not that any more."""
    # Cut out, and not parsed: most who read an object want nothing of it.
    text = written[len(_with_checksum(b"")) - 1 : -1]
    return text if written == _with_checksum(text) else None


def _with_checksum(text: bytes) -> bytes:
    return b'{"checksum":"%s","found":%s}' % (bytes_checksum(text).encode(), text)


def _describe(batch: pa.Table) -> BatchEntry:
    times = timestamps_ms(batch)
    return BatchEntry(batch.num_rows, int(times[0]), int(times[-1]), rows_checksum(batch))


_READERS: Final[dict[int, Callable[[Mapping[bytes, bytes]], ObjectMetadata]]] = {1: _read_format_1}
