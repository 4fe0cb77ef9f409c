"""Rows as CSV (RFC 4180): one header line, times in ISO 8601 UTC, numbers in the fewest digits that read back the same.

Texts are quoted where they must be, https://www.rfc-editor.org/rfc/rfc4180; levels of an order book are JSON.
"""

import sys
from collections.abc import Sequence
from typing import BinaryIO

import orjson
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
    columns = [_plain(column) for column in batch.columns]
    told = [pa.types.is_string(field.type) or pa.types.is_list(field.type) for field in batch.schema]
    if any(is_told and _needs_quotes(column).true_count for is_told, column in zip(told, columns, strict=True)):
        return _with_quotes(columns)
    # Arrow's own writer, which is faster, quotes all texts or none.
    sink = pa.BufferOutputStream()
    plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
    csv.write_csv(plain, sink, csv.WriteOptions(include_header=False, quoting_style="none"))
    return bytes(sink.getvalue())


def standard_output() -> BinaryIO:
    """Return stdout for bytes."""
    return sys.stdout.buffer


def _plain(column: pa.Array) -> pa.Array:
    """Return *column* with times and levels as texts."""
    if pa.types.is_timestamp(column.type):
        return _to_text(column)
    if pa.types.is_list(column.type):
        return pa.array([orjson.dumps(levels).decode() for levels in column.to_pylist()], pa.string())
    return column


def _needs_quotes(texts: pa.Array) -> pa.BooleanArray:
    return pc.match_substring_regex(texts, '[",\r\n]')


def _with_quotes(columns: Sequence[pa.Array]) -> bytes:
    """Return lines of *columns*, in which the texts that need it are quoted."""
    cells = [_quoted(column.cast(pa.string())) for column in columns]
    rows = pc.binary_join_element_wise(*cells, ",", null_handling="replace", null_replacement="")
    together = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)
    return bytes(pc.binary_join(together, "\n")[0].as_buffer()) + b"\n"


def _quoted(texts: pa.Array) -> pa.Array:
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(_needs_quotes(texts), quoted, texts)


def _to_text(times: pa.Array) -> pa.Array:
    # By way of a zoneless cast: Arrow formats zoned times only where a time zone database is installed.
    spaced = times.cast(pa.timestamp("ms")).cast(pa.string())
    return pc.binary_join_element_wise(pc.replace_substring(spaced, " ", "T"), "Z", "")
