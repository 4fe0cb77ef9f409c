"""Rows as CSV: one header line, times in ISO 8601 UTC, numbers in the fewest digits that read back the same."""

import sys
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cb_trade_client.answers import CoverageSegment


class CsvWriter:
    """Writes batches to a binary file as they come, so that memory does not grow with the range."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema
        self._is_headed = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the rows and hand them on at once: a program at the other end of a pipe can start working."""
        self._write_header()
        self._file.write(to_csv(batch))
        self._file.flush()

    def finish(self, gaps: Sequence[CoverageSegment]) -> None:  # noqa: ARG002 - CSV has no place for gaps
        """Leave at least the header line."""
        self._write_header()
        self._file.flush()

    def _write_header(self) -> None:
        if not self._is_headed:
            self._file.write((",".join(self._schema.names) + "\n").encode())
            self._is_headed = True


def to_csv(batch: pa.RecordBatch) -> bytes:
    """Return the rows of *batch* as CSV lines without a header; a null is an empty cell."""
    columns = [_to_text(column) if pa.types.is_timestamp(column.type) else column for column in batch.columns]
    plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    sink = pa.BufferOutputStream()
    csv.write_csv(plain, sink, csv.WriteOptions(include_header=False, quoting_style="none"))
    return bytes(sink.getvalue())


def standard_output() -> BinaryIO:
    """Return stdout for bytes."""
    return sys.stdout.buffer


def _to_text(times: pa.Array) -> pa.Array:
    # By way of a zoneless cast: Arrow formats zoned times only where a time zone database is installed.
    spaced = times.cast(pa.timestamp("ms")).cast(pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(spaced, " ", "T"), "Z", "")
