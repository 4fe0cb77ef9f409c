"""Bars rebuilt from trades, and where they differ from those that the exchange made of the same trades. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, slice_range, timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

# Of a sum of amounts: an exchange adds decimals, we add binary numbers.
_VOLUME_TOLERANCE: Final = 1e-9
_PRICES: Final = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Difference:
    """A bar for which trades and exchange disagree.

    Attributes:
        open_time: When it opens.
        columns: Those whose values differ; none where only one of the two has the bar.
        rebuilt: Open, high, low, close and volume by the trades; None where there were none.
        told: The same by the exchange; None where it has no such bar.
    """

    open_time: datetime
    columns: tuple[str, ...]
    rebuilt: tuple[float, ...] | None
    told: tuple[float, ...] | None


@dataclass(frozen=True)
class Comparison:
    """What comes of comparing.

    Attributes:
        compared: How many bars there are, by either, in whose whole span both are known.
        differences: Those of them that differ, oldest first.
    """

    compared: int
    differences: tuple[Difference, ...]


def rebuilt(trades: pa.Table, timeframe: Timeframe) -> pa.Table:
    """Return the bars that *trades*, in order, make: one for each that has any."""
    if trades.num_rows == 0:
        return OHLCV_SCHEMA.empty_table()
    opens = timeframe.opens_ms(timestamps_ms(trades))
    firsts = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
    lasts = np.append(firsts[1:], len(opens)) - 1
    price, amount = (trades.column(name).to_numpy() for name in ("price", "amount"))
    columns = [
        price[firsts],
        np.maximum.reduceat(price, firsts),
        np.minimum.reduceat(price, firsts),
        price[lasts],
        np.add.reduceat(amount, firsts),
    ]
    times = pa.array(opens[firsts], pa.int64()).cast(TIMESTAMP)
    return pa.Table.from_arrays([times, *map(pa.array, columns)], schema=OHLCV_SCHEMA)


def compared(trades: pa.Table, bars: pa.Table, timeframe: Timeframe, known: Iterable[TimeRange]) -> Comparison:
    """Compare *bars*, as an exchange told them, with those that *trades* make.

    Prices must be the same, volumes but for rounding. A bar of volume 0 says that nothing was traded; so does none.

    Args:
        trades: In order.
        bars: In order.
        known: Where both are known, oldest first; only bars that lie wholly in it are compared.
    """
    spans = [span for part in known if (span := _whole_bars(part, timeframe)) is not None]
    made, told = (_only(rows, spans) for rows in (rebuilt(trades, timeframe), bars))
    quiet = told.column("volume").to_numpy() == 0
    times = np.union1d(timestamps_ms(made), timestamps_ms(told))
    silent = np.setdiff1d(timestamps_ms(told)[quiet], timestamps_ms(made))
    theirs, ours = _by_time(told), _by_time(made)
    found = (_difference(time, ours.get(time), theirs.get(time)) for time in np.setdiff1d(times, silent).tolist())
    return Comparison(len(times), tuple(each for each in found if each is not None))


def _whole_bars(part: TimeRange, timeframe: Timeframe) -> TimeRange | None:
    start, end = timeframe.ceil(part.start), timeframe.floor(part.end)
    return TimeRange(start, end) if start < end else None


def _only(rows: pa.Table, spans: list[TimeRange]) -> pa.Table:
    return pa.concat_tables([rows.slice(0, 0), *(slice_range(rows, span) for span in spans)])


def _by_time(bars: pa.Table) -> dict[int, tuple[float, ...]]:
    numbers: list[npt.NDArray[np.float64]] = [bars.column(name).to_numpy() for name in OHLCV_SCHEMA.names[1:]]
    values = zip(*(column.tolist() for column in numbers), strict=True)
    return dict(zip(timestamps_ms(bars).tolist(), values, strict=True))


def _difference(time_ms: int, made: tuple[float, ...] | None, told: tuple[float, ...] | None) -> Difference | None:
    if made is None or told is None:
        return Difference(from_ms(time_ms), (), made, told)
    *_, volume_made = made
    *_, volume_told = told
    columns = [name for name, ours, theirs in zip(_PRICES, made, told, strict=False) if ours != theirs]
    if abs(volume_made - volume_told) > _VOLUME_TOLERANCE * max(volume_made, volume_told):
        columns.append("volume")
    return Difference(from_ms(time_ms), tuple(columns), made, told) if columns else None
