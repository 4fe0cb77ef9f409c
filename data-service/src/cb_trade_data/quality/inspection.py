"""What is odd in bars that are possible. Nothing is dropped for it: it is counted, and shown to who asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality.codes import DataCode

RowNumbers: TypeAlias = npt.NDArray[np.int64]

#: What a bar can be flagged as. One that is several of these is counted as the first of them.
ODDITIES: Final = (
    DataCode.OTHER_UNIT,
    DataCode.STALE_REPEAT,
    DataCode.FLAT_RUN,
    DataCode.PRICE_OUTLIER,
    DataCode.VOLUME_OUTLIER,
)


@dataclass(frozen=True)
class Finding:
    """What is odd in one bar.

    Attributes:
        time: The open time of the bar.
        columns: Which of its numbers are odd.
        value: The oddest of them.
        usual: What would be usual there, by the bars around it.
    """

    code: DataCode
    time: datetime
    columns: tuple[str, ...]
    value: float
    usual: float


@dataclass(frozen=True)
class Inspection:
    """What was found in some bars.

    Attributes:
        rows: The bars.
        flagged: For every code of `ODDITIES` the numbers of the rows that are so, ascending; no row is in two of them.
    """

    rows: pa.Table
    flagged: Mapping[DataCode, RowNumbers]

    def findings(self) -> Iterator[Finding]:
        """Yield what is odd in each flagged row, in time order."""
        times = timestamps_ms(self.rows)
        found = [(number, code) for code, numbers in self.flagged.items() for number in numbers.tolist()]
        for number, code in sorted(found):
            volume = self.rows.column("volume")[number].as_py()
            yield Finding(code, from_ms(int(times[number])), ("volume",), volume, volume)


def inspect(rows: pa.Table, timeframe: Timeframe) -> Inspection:
    """Return what is odd in *rows*.

    Args:
        rows: Bars, in time order, unique, that have passed the gate.
        timeframe: Theirs.
    """
    flagged = dict.fromkeys(ODDITIES, np.empty(0, np.int64))
    flagged[DataCode.STALE_REPEAT] = _stale_repeats(rows, timeframe)
    return Inspection(rows, MappingProxyType(flagged))


def _stale_repeats(rows: pa.Table, timeframe: Timeframe) -> RowNumbers:
    """Return the bars that moved, and just as the one right before them did."""
    times, volume = timestamps_ms(rows), rows.column("volume").to_numpy()
    is_repeat = (times[1:] == timeframe.opens_ms(times[:-1] + timeframe.duration_ms)) & (volume[1:] > 0)
    for name in ("open", "high", "low", "close", "volume"):
        numbers = rows.column(name).to_numpy()
        is_repeat &= numbers[1:] == numbers[:-1]
    has_moved = rows.column("high").to_numpy() > rows.column("low").to_numpy()
    return np.flatnonzero(is_repeat & has_moved[1:]) + 1
