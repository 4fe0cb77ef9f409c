"""How rows travel: each format cuts them into chunks of its own, every message of which is under 1 MiB. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from cb_trade_data.api.outgoing import historical_data_chunk
from cb_trade_data.models.frame import Stretch, frame_of, frame_rows
from cb_trade_data.models.instants import from_ms, to_ms
from cb_trade_data.models.market import SCHEMAS, rows_until_cut, timestamps_ms
from cb_trade_data.models.messages import WireFormat
from cb_trade_data.models.series import Kind, Series

# Of JSON, which takes its time to write: large enough that what each message costs does not matter, small enough that
# others get their turns. The longest numbers there are make it a few times as much, far below the 1 MiB that no message
# may exceed.
_DATA_BYTES: Final = 128 * 1024
# So many rows stay below that with the longest ids, of which each byte may be written as six.
_ROWS_WITH_IDS_MAX: Final = 2_000
# Of the first chunk, so that it leaves at once.
_FIRST_DATA_BYTES: Final = 32 * 1024
# A day of minutes.
_FIRST_FRAME_ROWS: Final = 1_440


@dataclass(frozen=True)
class Chunk:
    """Some rows of an answer as they travel.

    Attributes:
        rows: How many they are.
        text: The message that tells of them, JSON.
        binary: What follows at once as a message of its own; None where the text holds the rows.
    """

    rows: int
    text: bytes
    binary: pa.Buffer | bytes | None = None

    @property
    def size_bytes(self) -> int:
        """How much there is to send."""
        return len(self.text) + (0 if self.binary is None else len(self.binary))


class ChunkEncoder(ABC):
    """Cuts the rows of one answer into chunks, numbered from 0; time runs on from one to the next."""

    #: As the wire calls it: a plain text, since those of an enumeration are slow to look up.
    format: str
    #: Bytes of a usual row: two to five digits before and after each point.
    typical_row_bytes: int
    #: Whether a chunk takes so long to make that it is worth a thread.
    takes_long = False

    def __init__(self, request_id: str, series: Series, chunk_rows: int | None) -> None:
        """*chunk_rows*: upper bound of the rows in a chunk; None leaves it to the format."""
        self._request_id = request_id
        self._series = series
        self._asked_rows = chunk_rows
        self._sequence = 0

    @abstractmethod
    def chunks(self, stretch: Stretch) -> Iterator[Chunk]:
        """Yield the rows of *stretch*, which follow those given before; those of one time in one chunk."""

    @abstractmethod
    def _next_rows(self) -> int:
        """Return how many rows the next chunk may hold."""

    def _cut(self, rows: pa.Table) -> Iterator[pa.Table]:
        """Yield *rows* a chunk's worth at a time; each is to be made one before the next."""
        if 0 < rows.num_rows <= self._next_rows():
            yield rows
            return
        while rows.num_rows:
            count = rows_until_cut(rows, self._next_rows())
            yield rows.slice(0, count)
            rows = rows.slice(count)

    def _text(self, rows: pa.Table, **data: Any) -> bytes:
        """Return the message of the next chunk."""
        times = rows.column("timestamp")
        end = self._series.grid.advance(from_ms(times[-1].value), 1)
        text = historical_data_chunk(
            self._request_id, self._sequence, rows.num_rows, times[0].value, to_ms(end), **data
        )
        self._sequence += 1
        return text


class _JsonEncoder(ChunkEncoder):
    def chunks(self, stretch: Stretch) -> Iterator[Chunk]:
        """See `ChunkEncoder.chunks`."""
        for rows in self._cut(stretch.rows):
            yield Chunk(rows.num_rows, self._text(rows, data=orjson.Fragment(self._data(rows))))

    def _next_rows(self) -> int:
        usual = (_DATA_BYTES if self._sequence else _FIRST_DATA_BYTES) // self.typical_row_bytes
        if self._series.kind is Kind.TRADES:
            usual = min(usual, _ROWS_WITH_IDS_MAX)
        return min(self._asked_rows or usual, usual)

    @abstractmethod
    def _data(self, rows: pa.Table) -> bytes:
        """Return the rows as JSON."""


class JsonRows(_JsonEncoder):
    """`json`: an object for each row."""

    format = WireFormat.JSON.value
    typical_row_bytes = 115
    takes_long = True

    def _data(self, rows: pa.Table) -> bytes:
        # A column is written at once and cut into its cells: less than half the time that objects of Python take.
        cells = [_cells(column) for column in _columns(rows)]
        row = b"{%b}" % b",".join(b'"%b":%%b' % name.encode() for name in rows.schema.names)
        return b"[%b]" % b",".join(map(row.__mod__, zip(*cells, strict=True)))


class JsonColumns(_JsonEncoder):
    """`json_columns`: an object of arrays, one for each column."""

    format = WireFormat.JSON_COLUMNS.value
    typical_row_bytes = 55

    def _data(self, rows: pa.Table) -> bytes:
        return _json(dict(zip(rows.schema.names, _columns(rows), strict=True)))


class ArrowFrames(ChunkEncoder):
    """`arrow`: frames, which together are one Arrow IPC stream; all that there are but the first go out as they are."""

    format = WireFormat.ARROW.value
    typical_row_bytes = 48

    def __init__(self, request_id: str, series: Series, chunk_rows: int | None) -> None:
        """See `ChunkEncoder`."""
        super().__init__(request_id, series, chunk_rows)
        self._frame_rows = frame_rows(SCHEMAS[series.kind])

    def chunks(self, stretch: Stretch) -> Iterator[Chunk]:
        """See `ChunkEncoder.chunks`."""
        first = 0
        for frame in stretch.frames:
            yield from self._cut_frames(stretch.rows.slice(first, frame.first - first))
            part = stretch.rows.slice(frame.first, frame.rows)
            if frame.rows <= self._next_rows():
                yield self._chunk(part, frame.message)
            else:
                yield from self._cut_frames(part)
            first = frame.end
        yield from self._cut_frames(stretch.rows.slice(first) if first else stretch.rows)

    def _cut_frames(self, rows: pa.Table) -> Iterator[Chunk]:
        for part in self._cut(rows):
            yield self._chunk(part, frame_of(part))

    def _next_rows(self) -> int:
        usual = self._frame_rows if self._sequence else _FIRST_FRAME_ROWS
        return min(self._asked_rows or usual, usual)

    def _chunk(self, rows: pa.Table, message: pa.Buffer) -> Chunk:
        binary: pa.Buffer | bytes = message
        if self._sequence == 0:
            binary = b"".join((_schema_message(rows.schema), memoryview(message)))
        return Chunk(rows.num_rows, self._text(rows, bytes=len(binary)), binary)


ENCODERS: Final[dict[WireFormat, type[ChunkEncoder]]] = {
    WireFormat(encoder.format): encoder for encoder in (JsonRows, JsonColumns, ArrowFrames)
}


@lru_cache
def _schema_message(schema: pa.Schema) -> bytes:
    return bytes(schema.serialize())


_Column: TypeAlias = npt.NDArray[np.int64 | np.float64] | list[Any]


def _columns(rows: pa.Table) -> list[_Column]:
    return [timestamps_ms(rows), *(_column(rows.column(field.name), field.type) for field in list(rows.schema)[1:])]


def _column(column: pa.ChunkedArray, kind: pa.DataType) -> _Column:
    values: _Column = column.to_numpy() if pa.types.is_primitive(kind) else column.to_pylist()
    return values


def _cells(column: _Column) -> list[bytes]:
    return _json(column)[1:-1].split(b",") if isinstance(column, np.ndarray) else list(map(orjson.dumps, column))


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
