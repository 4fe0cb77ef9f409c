"""What must be true of a partition beyond its checksums, which prove only that it is what somebody wrote."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.digest import unit_digests
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import ordered, repeats, timestamps_ms
from cb_trade_data.storage.coverage import State
from cb_trade_data.storage.housekeeping.findings import Finding, FindingKind
from cb_trade_data.storage.layouts.metadata import inspected
from cb_trade_data.storage.stored_partition import StoredPartition

_EARLIEST_MS: Final = np.iinfo(np.int64).min // 2  # so that no difference to it overflows


def flaws(stored: StoredPartition, path: str) -> Iterator[Finding]:
    """Yield what is wrong with the rows and the coverage of a partition; CPU-bound, call it off the event loop.

    Args:
        path: Where it was read from.
    """
    times, whole = timestamps_ms(stored.rows), stored.partition.range
    wrong_rows = {
        FindingKind.ROWS_OUT_OF_ORDER: _out_of_order(stored.rows),
        FindingKind.ROWS_OUTSIDE_PARTITION: (times < to_ms(whole.start)) | (times >= to_ms(whole.end)),
        FindingKind.ROWS_OFF_GRID: ~stored.partition.series.grid.on_grid(times),
        FindingKind.ROWS_NOT_HELD: ~_held(times, stored),
        FindingKind.NOT_FINITE: ~_finite(stored.rows),
    }
    for kind, is_wrong in wrong_rows.items():
        if count := int(is_wrong.sum()):
            yield Finding(kind, path, f"the first at {_instant(int(times[is_wrong.argmax()]))}", count)
    actual = unit_digests(stored.rows, stored.partition.series) if stored.digests else {}
    if wrong := [start_ms for start_ms, _ in actual.items() ^ stored.digests.items()]:
        yield Finding(FindingKind.WRONG_DIGEST, path, f"the first from {_instant(min(wrong))}", len(set(wrong)))
    found, told = ({} if stored.evidence is None else inspected(stored) or {}), stored.evidence or {}
    if wrong := [unit for unit in found.keys() | told.keys() if found.get(unit) != told.get(unit)]:
        yield Finding(FindingKind.WRONG_EVIDENCE, path, f"the first from {_instant(min(wrong))}", len(wrong))
    if stored.evidence_is_damaged:
        yield Finding(FindingKind.WRONG_EVIDENCE, path, "its checksum does not match it")
    yield from _coverage_flaws(stored, path)


def _coverage_flaws(stored: StoredPartition, path: str) -> Iterator[Finding]:
    segments, whole = stored.coverage.segments, stored.partition.range
    disorder = [later for earlier, later in pairwise(segments) if later.range.start < earlier.range.end]
    outside = [one for one in segments if one.range.start < whole.start or one.range.end > whole.end]
    if disorder:
        detail = f"the first is {disorder[0].state} {disorder[0].range}"
        yield Finding(FindingKind.COVERAGE_OUT_OF_ORDER, path, detail, len(disorder))
    if outside:
        detail = f"the first is {outside[0].state} {outside[0].range}"
        yield Finding(FindingKind.COVERAGE_OUTSIDE_PARTITION, path, detail, len(outside))


def _held(times: npt.NDArray[np.int64], stored: StoredPartition) -> npt.NDArray[np.bool_]:
    """Tell for each time whether it lies in a range that is held."""
    held = sorted(stored.coverage.ranges(State.HELD))
    if not held:
        return np.zeros(len(times), dtype=np.bool_)
    starts = np.array([to_ms(one.start) for one in held], dtype=np.int64)
    # The furthest end of all that started by then: ranges may overlap where the coverage is wrong as well.
    ends = np.maximum.accumulate(np.array([to_ms(one.end) for one in held], dtype=np.int64))
    last_started = np.searchsorted(starts, times, side="right") - 1
    return np.asarray((last_started >= 0) & (times < ends[last_started]))


def _finite(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell for each row whether all of its numbers are."""
    is_finite = np.ones(rows.num_rows, dtype=np.bool_)
    for field in rows.schema:
        if pa.types.is_floating(field.type):
            column = rows.column(field.name)
            is_finite &= np.isfinite(column.to_numpy()) | (column.is_null().to_numpy() & field.nullable)
    return is_finite


def _out_of_order(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell for each row whether it does not come after the one before it."""
    if ordered(rows) is rows:
        return repeats(rows)
    return np.diff(timestamps_ms(rows), prepend=_EARLIEST_MS) <= 0


def _instant(time_ms: int) -> str:
    try:
        return from_ms(time_ms).isoformat()
    except OverflowError:
        return f"{time_ms} ms after the epoch"
