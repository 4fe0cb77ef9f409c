"""The digest of an answer: what was delivered, whatever the format, the chunks and the files it came from.

Version 1: SHA-256 over the digests of its units in time order. A unit is a UTC day where bars last less than an hour,
for trades and for order books, else a UTC year; one without rows has no digest. The digest of a unit is the SHA-256 of
its rows, column by column in the order of the schema: times as milliseconds since the epoch in little-endian int64;
numbers as little-endian float64, with one NaN for all and 0.0 for -0.0; texts as their lengths in bytes, little-endian
int64, all of them followed by the UTF-8 of all of them; levels of an order book in the same way, as how many each row
has, then all prices and amounts. Part of the wire's contract: clients compute it as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cb_trade_data.models.instants import from_ms, to_ms, to_ms_ceil
from cb_trade_data.models.market import level_numbers, text_bytes, timestamps_ms
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.time_range import TimeRange

VERSION: Final = "v1"

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000
_NOTHING: Final[Mapping[int, bytes]] = MappingProxyType({})


class AnswerDigest:
    """Takes in the rows of an answer as they are delivered; holds on to those of one unit at most."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._units = sha256()
        self._open: list[pa.Table] = []  # of the unit that may go on
        self._open_start_ms: int | None = None

    def add(self, stretch: TimeRange, rows: pa.Table, known: Mapping[int, bytes] = _NOTHING) -> None:
        """Add the rows of a stretch of time that follows those added before.

        Args:
            known: Digests of units, by their first millisecond: of all the rows that there are of each in storage, from
                where *rows* are. Of a unit that reaches beyond *stretch* it is not used.
        """
        stretch_start_ms, stretch_end_ms = to_ms_ceil(stretch.start), to_ms_ceil(stretch.end)
        times: npt.NDArray[np.int64] | None = None
        for start_ms, end_ms in pairwise(_borders_ms(stretch_start_ms, stretch_end_ms - 1, self._series)):
            is_whole = stretch_start_ms <= start_ms and end_ms <= stretch_end_ms
            if is_whole and (digest := known.get(start_ms)) is not None:
                self._close()
                self._units.update(digest)
                continue
            if times is None:
                times = timestamps_ms(rows)
            first, last = np.searchsorted(times, [start_ms, end_ms]).tolist()
            if first < last:
                if start_ms != self._open_start_ms:
                    self._close()
                self._open.append(rows.slice(first, last - first))
                self._open_start_ms = start_ms

    def add_whole(self, stretch: TimeRange, known: Mapping[int, bytes]) -> bool:
        """Add a stretch of whole units by their digests alone, if they are *known*; tell whether they were.

        Args:
            stretch: It follows what was added before.
            known: Of all units in it that have rows.
        """
        start_ms, end_ms = to_ms_ceil(stretch.start), to_ms_ceil(stretch.end)
        borders = _borders_ms(start_ms, end_ms - 1, self._series)
        if not known or (borders[0], borders[-1]) != (start_ms, end_ms):
            return False
        self._close()
        for unit_ms in borders[:-1]:
            self._units.update(known.get(unit_ms, b""))
        return True

    def text(self) -> str:
        """Return the digest of all that was added; nothing can be added afterwards."""
        self._close()
        return f"{VERSION}:{self._units.hexdigest()}"

    def _close(self) -> None:
        if self._open:
            self._units.update(_digest(pa.concat_tables(self._open)))
        self._open, self._open_start_ms = [], None


def unit_digests(rows: pa.Table, series: Series, known: Mapping[int, bytes] = _NOTHING) -> dict[int, bytes]:
    """Return the digest of each unit of which *rows*, in time order, has any, by the unit's first millisecond.

    Args:
        known: Those that need not be computed.
    """
    return {start_ms: known.get(start_ms) or _digest(part) for start_ms, part in _by_unit(rows, series)}


def units_of(rows: pa.Table, series: Series) -> set[int]:
    """Return the first milliseconds of the units of which *rows*, in time order, has any."""
    return {start_ms for start_ms, _ in _by_unit(rows, series)}


def _by_unit(rows: pa.Table, series: Series) -> Iterator[tuple[int, pa.Table]]:
    """Yield the start and the rows of each unit that has any, oldest first."""
    if rows.num_rows == 0:
        return
    times = timestamps_ms(rows)
    borders = _borders_ms(int(times[0]), int(times[-1]), series)
    places = np.searchsorted(times, borders).tolist()
    for start_ms, (first, last) in zip(borders, pairwise(places), strict=False):
        if first < last:
            yield start_ms, rows.slice(first, last - first)


def _borders_ms(first_ms: int, last_ms: int, series: Series) -> Sequence[int]:
    """Return the starts of the units from that of *first_ms* to the one after that of *last_ms*."""
    if series.kind is not Kind.FUNDING_RATE and series.grid.duration_ms < _HOUR_MS:
        return range(first_ms // _DAY_MS * _DAY_MS, (last_ms // _DAY_MS + 2) * _DAY_MS, _DAY_MS)
    years = range(from_ms(first_ms).year, from_ms(last_ms).year + 2)
    return [to_ms(datetime(year, 1, 1, tzinfo=UTC)) for year in years]


def _digest(rows: pa.Table) -> bytes:
    hashed = sha256(timestamps_ms(rows).astype("<i8", copy=False).data)
    for field in list(rows.schema)[1:]:
        column = rows.column(field.name)
        if pa.types.is_string(field.type):
            texts = column.combine_chunks()
            hashed.update(pc.binary_length(texts).to_numpy().astype("<i8").data)
            hashed.update(text_bytes(texts))
            continue
        if pa.types.is_list(field.type):
            hashed.update(pc.list_value_length(column).to_numpy().astype("<i8").data)
            hashed.update(_canonical(level_numbers(column)).data)
            continue
        hashed.update(_canonical(column.to_numpy()).data)
    return hashed.digest()


def _canonical(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = values.astype(np.float64, copy=False) + 0.0  # which makes 0.0 of -0.0
    is_nan = np.isnan(numbers)
    if is_nan.any():
        numbers[is_nan] = np.nan
    return numbers.astype("<f8", copy=False)
