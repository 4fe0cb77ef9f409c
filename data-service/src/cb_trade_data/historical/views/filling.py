"""Rows that stand where the exchange has none, marked as what they are. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_data.models.instants import from_ms, to_ms_ceil
from cb_trade_data.models.market import (
    FILLED_SCHEMA,
    NULL_FILLED_SCHEMA,
    TIMESTAMP,
    rows_before,
    timestamps_ms,
)
from cb_trade_data.models.messages import Fill
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.coverage import Segment

# As many as there are in a frame: years of nothing are made no faster than they are sent.
_ROWS_AT_ONCE: Final = 16_384
# A few milliseconds' worth.
_PARTS_ON_THE_LOOP_MAX: Final = 32


class Filling:
    """Takes in what is known of time and the rows of it, each in order, the former never after the latter.

    Attributes:
        close: The price at which the last bar closed that came, or that there was before; None where it is not known
            what happened since then.
        synthetic_rows: How many rows were added.
    """

    def __init__(self, timeframe: Timeframe, fill: Fill, is_known: Callable[[Segment], bool], start: datetime) -> None:
        """
        Args:
            is_known: Whether a bar that is missing is known not to be there, of what is known of a time.
            start: Where a bar opens, and what is known begins.
        """
        self._timeframe = timeframe
        self._with_close = fill is Fill.PREVIOUS_CLOSE
        self._schema = FILLED_SCHEMA if self._with_close else NULL_FILLED_SCHEMA
        self._is_known = is_known
        self._fillable: deque[TimeRange] = deque()
        self._known_until = self._filled_until = start
        self.close: float | None = None
        self.synthetic_rows = 0

    def see(self, segments: Iterable[Segment], failures: Iterable[Segment]) -> tuple[list[Segment], Iterable[Segment]]:
        """Remember where rows may be missing; see `Receipt.enter`, which is given the same."""
        segments = list(segments)
        for segment in segments:
            self._known_until = segment.range.end
            if self._is_known(segment):
                part = segment.range
                if self._fillable and self._fillable[-1].end == part.start:
                    part = TimeRange(self._fillable.pop().start, part.end)
                self._fillable.append(part)
        return segments, failures

    @property
    def takes_long(self) -> bool:
        """Whether what is known was told in so many parts that the next rows are worth a thread."""
        return len(self._fillable) > _PARTS_ON_THE_LOOP_MAX

    def add(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield *rows*, all, if any, that follow in the time that is known so far, and what is missing of it."""
        end = self._known_until
        if rows.num_rows:
            end = max(end, self._timeframe.advance(from_ms(rows.column("timestamp")[-1].value), 1))
        return _put_together(self._up_to(end, rows))

    def _up_to(self, end: datetime, rows: pa.Table) -> Iterator[pa.Table]:
        for part, is_fillable in self._parts(end):
            inside, rows = _cut(rows, part.end)
            if is_fillable:
                yield from self._filled(part, inside)
                continue
            self.close = None
            if inside.num_rows:
                yield self._table(inside.columns, np.zeros(inside.num_rows, bool))

    def _parts(self, end: datetime) -> Iterator[tuple[TimeRange, bool]]:
        """Yield the time up to *end*, and whether rows may be missing in it."""
        while self._filled_until < end:
            start = self._filled_until
            while self._fillable and self._fillable[0].end <= start:
                self._fillable.popleft()
            part, is_fillable = TimeRange(start, end), False
            if self._fillable and self._fillable[0].start < end:
                next_ = self._fillable[0]
                is_fillable = next_.start <= start
                part = TimeRange(start, min(end, next_.end) if is_fillable else next_.start)
            self._filled_until = part.end
            yield part, is_fillable

    def _filled(self, part: TimeRange, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield *rows*, of all of *part*, and what is missing of it, a bounded number at a time."""
        if self._with_close and self.close is None:
            if rows.num_rows == 0:
                return
            part = TimeRange(from_ms(rows.column("timestamp")[0].value), part.end)
        start = part.start
        while start < part.end:
            slice_ = TimeRange(start, part.end)
            if self._timeframe.bars_in(slice_) > _ROWS_AT_ONCE:
                slice_ = TimeRange(start, self._timeframe.advance(start, _ROWS_AT_ONCE))
            inside, rows = _cut(rows, slice_.end)
            yield self._slice(slice_, inside)
            start = slice_.end

    def _slice(self, part: TimeRange, rows: pa.Table) -> pa.Table:
        opens = self._timeframe.opens_in(part)
        is_synthetic = np.ones(len(opens), bool)
        is_synthetic[np.searchsorted(opens, timestamps_ms(rows))] = False
        self.synthetic_rows += int(np.count_nonzero(is_synthetic))
        times = pa.array(opens, pa.int64()).cast(TIMESTAMP)
        columns = [_spread(column, is_synthetic) for column in rows.columns[1:]]
        if not self._with_close:
            return self._table([times, *(pa.array(column, mask=is_synthetic) for column in columns)], is_synthetic)
        *prices, volume = columns
        closes = self._closes_up_to(prices[-1], is_synthetic)
        for price in prices:
            price[is_synthetic] = closes[is_synthetic]
        self.close = float(closes[-1])
        return self._table([times, *map(pa.array, (*prices, volume))], is_synthetic)

    def _closes_up_to(
        self, close: npt.NDArray[np.float64], is_synthetic: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """Return for each place the close of the last bar up to it, of which there is one."""
        last = np.maximum.accumulate(np.where(is_synthetic, -1, np.arange(len(close))))
        return close[last] if self.close is None else np.where(last < 0, self.close, close[last])

    def _table(self, columns: Iterable[Any], is_synthetic: npt.NDArray[np.bool_]) -> pa.Table:
        return pa.Table.from_arrays([*columns, pa.array(is_synthetic)], schema=self._schema)


def _put_together(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows in fewer tables: where time is known by turns, there are as many as turns."""
    together: list[pa.Table] = []
    count = 0
    for rows in tables:
        if together and count + rows.num_rows > _ROWS_AT_ONCE:
            yield _as_one(together)
            together, count = [], 0
        together.append(rows)
        count += rows.num_rows
    if together:
        yield _as_one(together)


def _as_one(tables: list[pa.Table]) -> pa.Table:
    return tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()


def _cut(rows: pa.Table, end: datetime) -> tuple[pa.Table, pa.Table]:
    """Return *rows* before *end*, and the others."""
    count = rows_before(rows, to_ms_ceil(end))
    return rows.slice(0, count), rows.slice(count)


def _spread(column: pa.ChunkedArray, is_synthetic: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the values of *column* in the places of real rows, 0 in all others."""
    values = np.zeros(len(is_synthetic))
    values[~is_synthetic] = column.to_numpy()
    return values
