"""The digest of what was delivered, computed here: that the service tells the same proves that every value arrived.

Version 1: SHA-256 over the digests of its units in time order. A unit is a UTC day where bars last less than an hour,
for trades and for order books, else a UTC year; one without rows has no digest. The digest of a unit is the SHA-256 of
its rows, column by column in the order of the schema: times as milliseconds since the epoch in little-endian int64;
numbers as little-endian float64, with one NaN for all, also for null, and 0.0 for -0.0; texts as their lengths in
bytes, little-endian int64, all of them followed by the UTF-8 of all of them; levels of an order book in the same way,
as how many each row has, then all prices and amounts. Rows that a fill put in are left out: the digest of a range is
the same with any fill.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cb_trade_client import kinds
from cb_trade_client.errors import ProtocolError
from cb_trade_client.synthetic_rows import real_rows

_VERSION: Final = "v1"
_DAY_MS: Final = 86_400_000
_HOUR_SECS: Final = 3_600
_SECS: Final = {"s": 1, "m": 60}

_Cut = Callable[[int, int], memoryview]
"""Returns the bytes of a column in the rows from one number to before another."""


class AnswerDigest:
    """Takes in the rows of an answer as they arrive, in time order; holds on to those of one unit at most."""

    def __init__(self, kind: str, timeframe: str | None) -> None:
        self._has_daily_units = _has_daily_units(kind, timeframe)
        self._units = sha256()
        self._open: list[list[memoryview]] = []  # of the unit that may go on
        self._open_unit: int | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of *batch*, which follow those added before; synthetic ones are passed over."""
        batch = real_rows(batch)
        if not batch.num_rows:
            return
        times, *others = batch.columns
        times_ms = times.cast(pa.int64()).to_numpy()
        cuts = [_fixed(times_ms.astype("<i8", copy=False)), *(cut for column in others for cut in _cuts(column))]
        for unit, first, last in self._units_of(times_ms):
            if unit != self._open_unit:
                self._close()
            self._open.append([cut(first, last) for cut in cuts])
            self._open_unit = unit

    def text(self) -> str:
        """Return the digest of all that was added; nothing can be added afterwards."""
        self._close()
        return f"{_VERSION}:{self._units.hexdigest()}"

    def _close(self) -> None:
        if self._open:
            columns = zip(*self._open, strict=True)
            # In one call: each one gives up the interpreter and has to wait for it again.
            self._units.update(sha256(b"".join(piece for column in columns for piece in column)).digest())
        self._open, self._open_unit = [], None

    def _units_of(self, times: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Yield each unit that has rows, with the number of its first row and of the one after its last."""
        units = times // _DAY_MS if self._has_daily_units else _years(times)
        borders = [0, *(np.flatnonzero(units[1:] != units[:-1]) + 1).tolist(), len(units)]
        for first, last in pairwise(borders):
            yield int(units[first]), first, last


def check_digest(told: str | None, computed: AnswerDigest) -> None:
    """Compare what the service says about an answer with what arrived.

    Raises:
        ProtocolError: They differ (`digest_mismatch`), or the service says nothing that could be compared
            (`digest_missing`).
    """
    arrived = computed.text()
    if told is None or not told.startswith(f"{_VERSION}:"):
        raise ProtocolError(f"the service tells no digest of version {_VERSION}", code="digest_missing")
    if told != arrived:
        raise ProtocolError(
            "the rows that arrived are not those that the service tells the digest of",
            code="digest_mismatch",
            details={"told": told, "arrived": arrived},
        )


def _cuts(column: pa.Array) -> list[_Cut]:
    """Return what makes the bytes of *column*, in their order: two of them where rows differ in length."""
    if pa.types.is_string(column.type):
        places, data = _places(column), column.buffers()[2]
        text = memoryview(b"" if data is None else data)
        return [_lengths(places), lambda first, last: text[places[first] : places[last]]]
    if pa.types.is_list(column.type):
        places, width = _places(column), column.type.value_type.list_size
        # From the first of our own rows on: `flatten` leaves out what lies before it.
        numbers, start = _canonical(column.flatten().flatten()), int(places[0])
        ends = (places - start) * width
        return [_lengths(places), lambda first, last: numbers[ends[first] : ends[last]].data]
    return [_fixed(_canonical(column))]


def _places(column: pa.Array) -> npt.NDArray[np.int32]:
    """Return where each row of *column* begins in the memory of all, and where the last one ends."""
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]


def _lengths(places: npt.NDArray[np.int32]) -> _Cut:
    return _fixed(np.diff(places).astype("<i8"))


def _fixed(values: npt.NDArray[np.int64 | np.float64]) -> _Cut:
    return lambda first, last: values[first:last].data


def _canonical(column: pa.Array) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False) + 0.0  # which makes 0.0 of -0.0
    is_nan = np.isnan(numbers)
    if is_nan.any():
        numbers[is_nan] = np.nan
    return numbers.astype("<f8", copy=False)


def _years(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return times.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64)


def _has_daily_units(kind: str, timeframe: str | None) -> bool:
    if kind == kinds.OHLCV:
        return timeframe is None or _is_below_an_hour(timeframe)
    return kind != kinds.FUNDING_RATE


def _is_below_an_hour(timeframe: str) -> bool:
    number, unit = timeframe[:-1], timeframe[-1:]
    return unit in _SECS and number.isdecimal() and int(number) * _SECS[unit] < _HOUR_SECS
