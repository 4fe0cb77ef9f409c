"""What is odd in bars that are possible. Nothing is dropped for it: it is counted, and shown to who asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.quality import outliers, runs, units
from cb_trade_data.quality.bars import PRICES, Bars, RowNumbers
from cb_trade_data.quality.codes import DataCode

#: What a bar can be flagged as. One that is several of these is counted as the first of them, so that counts add up.
ODDITIES: Final = (
    DataCode.OTHER_UNIT,
    DataCode.STALE_REPEAT,
    DataCode.FLAT_RUN,
    DataCode.PRICE_OUTLIER,
    DataCode.VOLUME_OUTLIER,
)

# So many that what a call costs does not matter, and so few that all columns, and what is made of them, stay in cache.
_BLOCK_ROWS: Final = 16_384


@dataclass(frozen=True)
class Finding:
    """What is odd in one bar.

    Attributes:
        time: The open time of the bar.
        columns: Which of its numbers are odd, the oddest first.
        value: The first of them.
        usual: What would be usual in its place, by the bars around it; NaN where there are none.
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
    timeframe: Timeframe
    flagged: Mapping[DataCode, RowNumbers]

    def findings(self) -> Iterator[Finding]:
        """Yield what is odd in each flagged row, in time order."""
        bars = Bars.of(self.rows, self.timeframe)
        exponents = units.exponents(bars) if len(self.flagged[DataCode.OTHER_UNIT]) else np.empty(0, np.int64)
        tick = outliers.tick(bars) if len(self.flagged[DataCode.PRICE_OUTLIER]) else 0.0
        found = [(number, code) for code, numbers in self.flagged.items() for number in numbers.tolist()]
        for number, code in sorted(found):
            columns: tuple[str, ...] = ("close", *(name for name in PRICES if name != "close"))
            usual = outliers.usual_close(bars, number)
            match code:
                case DataCode.OTHER_UNIT:
                    # By its decimals: of many jumps, one way, the power alone may be more than a number holds.
                    usual = float(Decimal(float(bars.close[number])).scaleb(-int(exponents[number])))
                case DataCode.STALE_REPEAT:
                    columns += ("volume",)
                case DataCode.PRICE_OUTLIER:
                    columns = outliers.odd_prices(bars, number, tick)
                case DataCode.VOLUME_OUTLIER:
                    columns, usual = ("volume",), outliers.usual_volume(bars, number)
            value = self.rows.column(columns[0])[number].as_py()
            yield Finding(code, from_ms(int(bars.times_ms[number])), columns, value, usual)


# Storage keeps whatever it is given: prices of 0, numbers that are none or too great to be multiplied. What cannot be
# told of these is not told, which is no trouble.
@np.errstate(all="ignore")
def inspect(rows: pa.Table, timeframe: Timeframe) -> Inspection:
    """Return what is odd in *rows*. They are judged by each other alone: at either end, by those on one side.

    Args:
        rows: Bars, in time order, unique, that have passed the gate.
        timeframe: Theirs.
    """
    bars = Bars.of(rows, timeframe)
    suspects = _suspects(bars)
    found = {
        DataCode.OTHER_UNIT: units.in_other_unit(bars) if suspects.may_change_unit else np.empty(0, np.int64),
        DataCode.STALE_REPEAT: runs.stale_repeats(bars, suspects.repeats),
        DataCode.FLAT_RUN: runs.flat_runs(bars, suspects.flat),
        DataCode.PRICE_OUTLIER: outliers.price_outliers(bars, suspects.prices),
        DataCode.VOLUME_OUTLIER: outliers.volume_outliers(bars, suspects.volumes),
    }
    seen = np.empty(0, np.int64)
    flagged = {}
    for code in ODDITIES:
        numbers = found[code]
        if len(numbers) and len(seen):
            numbers = np.setdiff1d(numbers, seen, assume_unique=True)
        flagged[code] = numbers
        seen = np.concatenate([seen, numbers])
    return Inspection(rows, timeframe, MappingProxyType(flagged))


@dataclass(frozen=True)
class _Suspects:
    """The numbers of the rows that are worth a closer look: few, and all that there can be anything with."""

    prices: RowNumbers
    volumes: RowNumbers
    repeats: RowNumbers
    flat: RowNumbers
    may_change_unit: bool


def _suspects(bars: Bars) -> _Suspects:
    """Look at all rows, a block at a time, with what can be told of each from the two beside it."""
    prices, volumes, repeats, flat, breaks = ([np.empty(0, np.int64)] for _ in range(5))
    may_change_unit, have_holes = False, bars.have_holes
    for start in range(0, len(bars), _BLOCK_ROWS):
        first, end = max(start - 1, 0), start + _BLOCK_ROWS
        with_next, block = bars.slice(first, end + 1), bars.slice(first, end)
        prices.append(outliers.may_be_price_outliers(with_next) + first)
        volumes.append(np.flatnonzero(outliers.may_be_volume_outliers(with_next)) + first + 1)
        repeats.append(np.flatnonzero(runs.may_repeat(block)) + first + 1)
        flat.append(np.flatnonzero(runs.is_flat(bars.slice(start, end))) + start)
        may_change_unit = may_change_unit or units.may_change_unit(block)
        if have_holes:
            breaks.append(block.breaks(1) + first)
    before = np.concatenate(breaks)
    is_alone = np.zeros(len(bars), np.bool_)  # none is beside it on one side
    is_alone[:1] = is_alone[-1:] = is_alone[before] = is_alone[before + 1] = True
    alone = np.flatnonzero(is_alone)
    return _Suspects(
        np.concatenate([*prices, alone[outliers.may_be_price_outliers_alone(bars, alone)]]),
        np.concatenate([*volumes, alone[outliers.may_be_volume_outliers_alone(bars, alone)]]),
        np.concatenate(repeats),
        np.concatenate(flat),
        may_change_unit,
    )
