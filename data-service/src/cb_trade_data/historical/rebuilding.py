"""Bars rebuilt from trades, and where they differ from those that the exchange made of the same trades. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.instants import from_ms
from cb_trade_data.models.market import OHLCV_SCHEMA, TIMESTAMP, slice_range, timestamps_ms
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

# Of a sum of amounts: an exchange adds decimals, we add binary numbers.
_VOLUME_TOLERANCE: Final = 1e-9
_COLUMNS: Final = tuple(OHLCV_SCHEMA.names[1:])
_VOLUME: Final = _COLUMNS.index("volume")


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
        bars: How many there are, by either of the two.
        differing: How many of them differ.
        differences: Those of them, oldest first, or the first of those.
    """

    bars: int
    differing: int
    differences: tuple[Difference, ...]


def rebuilt(trades: pa.Table, timeframe: Timeframe) -> pa.Table:
    """Return the bars that *trades*, in order, make: one for each that has any.

    What the parts of a series of trades make, one after the other, `folded` makes bars of: also of one that two parts
    share.
    """
    times, price, amount = (trades.column(name) for name in ("timestamp", "price", "amount"))
    return folded(pa.Table.from_arrays([times, *[price] * 4, amount], schema=OHLCV_SCHEMA), timeframe)


def folded(bars: pa.Table, timeframe: Timeframe) -> pa.Table:
    """Return the bars of *timeframe* that shorter ones make: one for each in which any of them opens.

    Prices are exact. A volume is a sum of binary numbers, taken one after the other: a bar that goes on with more of
    them comes out the same, but one that is put together from longer ones may round otherwise.

    Args:
        bars: In time order, none of which reaches over the end of a bar of *timeframe*. Several may open at one time,
            then they follow each other.
    """
    if bars.num_rows == 0:
        return OHLCV_SCHEMA.empty_table()
    opens = timeframe.opens_ms(timestamps_ms(bars))
    firsts = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
    lasts = np.append(firsts[1:], len(opens)) - 1
    open_, high, low, close, volume = (bars.column(name).to_numpy() for name in _COLUMNS)
    columns = [
        open_[firsts],
        np.maximum.reduceat(high, firsts),
        np.minimum.reduceat(low, firsts),
        close[lasts],
        # Not by `np.add.reduceat`, which adds in an order that depends on how many there are.
        np.bincount(np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(opens))), volume),
    ]
    times = pa.array(opens[firsts], pa.int64()).cast(TIMESTAMP)
    return pa.Table.from_arrays([times, *map(pa.array, columns)], schema=OHLCV_SCHEMA)


def whole_bars(known: Iterable[TimeRange], timeframe: Timeframe) -> Iterator[TimeRange]:
    """Yield the parts of *known* that bars of *timeframe* fill, with edges on the grid, in the same order."""
    for part in known:
        start, end = timeframe.ceil(part.start), timeframe.floor(part.end)
        if start < end:
            yield TimeRange(start, end)


def compared(made: pa.Table, told: pa.Table, spans: Iterable[TimeRange], *, differences_max: int) -> Comparison:
    """Compare bars as an exchange *told* them with those *made* of trades.

    Prices must be the same, volumes but for rounding. A bar of volume 0 says that nothing was traded; so does none.

    Args:
        made: In order.
        told: In order.
        spans: Where both are known, oldest first, with edges on the grid; only bars that open there are compared.
        differences_max: The most that are told one by one; all are counted.
    """
    spans = list(spans)
    made, told = (_only(bars, spans) for bars in (made, told))
    times = np.union1d(timestamps_ms(made), timestamps_ms(told))
    (is_made, ours), (is_told, theirs) = (_at(times, bars) for bars in (made, told))
    is_unlike = ours != theirs
    volume, volume_told = ours[:, _VOLUME], theirs[:, _VOLUME]
    is_unlike[:, _VOLUME] = np.abs(volume - volume_told) > _VOLUME_TOLERANCE * np.maximum(volume, volume_told)
    is_unlike[~(is_made & is_told)] = False
    is_quiet = ~is_made & (volume_told == 0)
    places = np.flatnonzero(((is_made != is_told) & ~is_quiet) | is_unlike.any(axis=1))
    return Comparison(
        len(times),
        len(places),
        tuple(
            Difference(
                from_ms(int(times[place])),
                tuple(name for name, differs in zip(_COLUMNS, is_unlike[place], strict=True) if differs),
                tuple(ours[place].tolist()) if is_made[place] else None,
                tuple(theirs[place].tolist()) if is_told[place] else None,
            )
            for place in places[:differences_max].tolist()
        ),
    )


def _only(bars: pa.Table, spans: list[TimeRange]) -> pa.Table:
    return pa.concat_tables([bars.slice(0, 0), *(slice_range(bars, span) for span in spans)])


def _at(times: npt.NDArray[np.int64], bars: pa.Table) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
    """Tell for each of *times* whether a bar opens then, and return a row of its values, of zeros where none does."""
    opens = timestamps_ms(bars)
    values = np.zeros((len(times), len(_COLUMNS)))
    values[np.searchsorted(times, opens)] = np.column_stack([bars.column(name).to_numpy() for name in _COLUMNS])
    return np.isin(times, opens), values
