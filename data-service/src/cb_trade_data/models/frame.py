"""Frames: record batches as the bytes that they are on the wire, in memory and in files of the `arrow` layout.

A frame is an encapsulated message of the Arrow IPC format, https://arrow.apache.org/docs/format/Columnar.html. The
frames of an answer, behind its schema, are one IPC stream, whoever cut them and wherever they lay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from cb_trade_data.models.market import sliced

#: Under the 1 MiB that every message on the wire keeps to, and few enough messages: 787 kB of bars.
FRAME_ROWS: Final = 16_384
# The same for trades with the longest ids.
_FRAME_ROWS_WITH_TEXTS: Final = 8_192


def frame_rows(schema: pa.Schema) -> int:
    """Return how many rows there are in a frame that is followed by another one."""
    has_texts = any(pa.types.is_string(field.type) for field in schema)
    return _FRAME_ROWS_WITH_TEXTS if has_texts else FRAME_ROWS


@dataclass(frozen=True)
class Frame:
    """The bytes of some of a table's rows.

    Attributes:
        first: Number of the first of these rows in the table.
        rows: How many they are.
        message: One encapsulated record batch message, not compressed.
    """

    first: int
    rows: int
    message: pa.Buffer

    @property
    def end(self) -> int:
        """Number of the row after the last one."""
        return self.first + self.rows


@dataclass(frozen=True)
class Stretch:
    """Rows in time order, and the frames that there are of them.

    Attributes:
        frames: In order, none overlapping another; they need not hold all of the rows.
    """

    rows: pa.Table
    frames: tuple[Frame, ...] = ()

    def slice(self, first: int, rows: int) -> Stretch:
        """Return so many rows from number *first* on, with those frames that lie wholly in them."""
        end = first + rows
        inside = [each for each in self.frames if first <= each.first and each.end <= end]
        return Stretch(
            self.rows.slice(first, rows), tuple([replace(each, first=each.first - first) for each in inside])
        )


def framed(rows: pa.Table) -> Stretch:
    """Return the same rows as one stretch of frames: they lie in the frames, and only there."""
    batches, frames = [], []
    first = 0
    for part in sliced(rows, frame_rows(rows.schema)):
        message = frame_of(part)
        batches.append(pa.ipc.read_record_batch(message, rows.schema))
        frames.append(Frame(first, part.num_rows, message))
        first += part.num_rows
    return Stretch(pa.Table.from_batches(batches, rows.schema), tuple(frames))


def frame_of(rows: pa.Table) -> pa.Buffer:
    """Return rows, at least one, as one message."""
    batches = rows.to_batches()
    (batch,) = batches if len(batches) == 1 else rows.combine_chunks().to_batches()
    return batch.serialize()
