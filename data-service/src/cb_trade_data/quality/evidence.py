"""Evidence: what was found in bars, by the UTC day, or by the year where they last a day or longer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from cb_trade_data.models.instants import to_ms_ceil
from cb_trade_data.models.market import rows_before, timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.codes import DataCode
from cb_trade_data.quality.inspection import Inspection

#: Which rules of `inspection` found it. To be raised with any change after which they find something else in the same
#: rows: evidence by other rules says nothing, and rows that have no other are inspected when somebody asks.
RULES: Final = 2

_DAY: Final = Timeframe(1, "d")
_YEAR: Final = Timeframe(12, "M")


@dataclass(frozen=True)
class Found:
    """What was found in the rows of some time. What was found in several times adds up.

    Attributes:
        rows: How many there are.
        flagged: How many of them have each code; codes that none has are left out. No row has two.
    """

    rows: int = 0
    flagged: Mapping[DataCode, int] = field(default_factory=dict)

    @property
    def flagged_rows(self) -> int:
        """How many rows have any code."""
        return sum(self.flagged.values())

    def __add__(self, other: Found) -> Found:
        return Found(self.rows + other.rows, Counter(self.flagged) + Counter(other.flagged))


#: By the first millisecond of each unit of time that has rows, oldest first.
Evidence: TypeAlias = Mapping[int, Found]


def unit_of(timeframe: Timeframe) -> Timeframe:
    """Return the unit of time by which evidence about bars of *timeframe* is kept: UTC days, or years."""
    return _DAY if timeframe.duration_ms < _DAY.duration_ms else _YEAR


def evidence_of(inspection: Inspection, wanted: TimeRange | None = None) -> Evidence:
    """Return what *inspection* has found, unit by unit; where *wanted* is given, in the rows of that time only."""
    unit, times = unit_of(inspection.timeframe), timestamps_ms(inspection.rows)
    first, end = (0, len(times)) if wanted is None else places_of(wanted, inspection.rows)
    flagged: dict[int, dict[DataCode, int]] = {}
    for code, numbers in inspection.flagged.items():
        inside = numbers[(numbers >= first) & (numbers < end)]
        for start_ms, count in _counts(unit.opens_ms(times[inside])):
            flagged.setdefault(start_ms, {})[code] = count
    rows_of_unit = _counts(unit.opens_ms(times[first:end]))
    return {start_ms: Found(rows, flagged.get(start_ms, {})) for start_ms, rows in rows_of_unit}


def places_of(wanted: TimeRange, rows: pa.Table) -> tuple[int, int]:
    """Return the number of the first of *rows*, in time order, that lies in *wanted*, and of the first behind it."""
    return rows_before(rows, to_ms_ceil(wanted.start)), rows_before(rows, to_ms_ceil(wanted.end))


def written(evidence: Evidence) -> bytes:
    """Return *evidence* as JSON: the rules, then of each unit its first millisecond, its rows, and `{code: count}`."""
    units = [
        [start_ms, found.rows, {code.value: count for code, count in found.flagged.items()}]
        for start_ms, found in evidence.items()
    ]
    return orjson.dumps([RULES, units])


def read_back(text: bytes) -> Evidence | None:
    """Return the evidence that was `written`; None where it was found by other rules than ours."""
    return WrittenEvidence(text) if text.startswith(b"[%d," % RULES) else None


class WrittenEvidence(Mapping[int, Found]):
    """Evidence as it was `written`, read when somebody looks: of a year of hours that takes a millisecond."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __getitem__(self, start_ms: int) -> Found:
        return self._units[start_ms]

    def __iter__(self) -> Iterator[int]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    @cached_property
    def _units(self) -> Evidence:
        _, units = orjson.loads(self._text)
        return {
            start_ms: Found(rows, {DataCode(code): count for code, count in flagged.items()})
            for start_ms, rows, flagged in units
        }


def _counts(starts_ms: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield each of *starts_ms*, which must ascend, with how often it is there."""
    firsts = np.flatnonzero(np.diff(starts_ms, prepend=starts_ms[:1] - 1))
    counts = np.diff(firsts, append=len(starts_ms))
    return zip(starts_ms[firsts].tolist(), counts.tolist(), strict=True)
