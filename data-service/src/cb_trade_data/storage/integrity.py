"""Checksums: whether what is read is what was written, looked at once per object version and process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from cb_trade_data.models.market import level_numbers, text_bytes

_REMEMBERED_MAX: Final = 100_000


def rows_checksum(rows: pa.Table | pa.RecordBatch) -> str:
    """Return the xxh3 of the rows' values, column by column in schema order, as little-endian 64-bit words.

    Of a column that may lack numbers, a byte for each row tells first whether it is missing, then come the values.
    Texts are taken as their lengths in bytes, little-endian 32-bit words, all of them followed by all of their UTF-8;
    levels of order books in the same way, as how many each row has, then all prices and amounts.

    It depends on the values alone, not on chunks, offsets or how they were stored.
    """
    digest = xxhash.xxh3_64()
    for field in rows.schema:
        column = rows.column(field.name)
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        # One kind of bytes after the other, each for all chunks: the same rows may be in one piece or in many.
        for bytes_of in _kinds_of_bytes(field):
            for chunk in chunks:
                digest.update(bytes_of(chunk))
    return digest.hexdigest()


def _kinds_of_bytes(field: pa.Field) -> Sequence[Callable[[pa.Array], memoryview | pa.Buffer]]:
    if pa.types.is_string(field.type):
        return (lambda texts: _memory(pc.binary_length(texts)), text_bytes)
    if pa.types.is_list(field.type):
        return (
            lambda levels: _memory(pc.list_value_length(levels)),
            lambda levels: level_numbers(levels).view(np.int64).data,
        )
    if field.nullable:
        return (lambda values: values.is_null().to_numpy(zero_copy_only=False).data, partial(_words, may_lack=True))
    return (_words,)


def _words(values: pa.Array, *, may_lack: bool = False) -> memoryview:
    numbers = np.ascontiguousarray(values.to_numpy(zero_copy_only=not may_lack))
    return numbers.view(np.int64).data  # as words: Python's buffers do not know times


def _memory(lengths: pa.Int32Array) -> memoryview:
    return np.asarray(lengths.to_numpy()).data


def bytes_checksum(data: bytes) -> str:
    """Return the xxh3 of *data*."""
    return xxhash.xxh3_64_hexdigest(data)


class Verified:
    """Remembers which batches of which object versions were found to be whole; forgets the oldest beyond a bound."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    def check(self, path: str, version: str, batch: int, rows: pa.Table | pa.RecordBatch, expected: str) -> None:
        """Compare the checksum of *rows* with the *expected* one, unless that was done before.

        Raises:
            ValueError: They differ.
        """
        key = (path, version, batch)
        if key in self._known:
            with suppress(KeyError):  # forgotten just now, by another thread
                self._known.move_to_end(key)
            return
        if rows_checksum(rows) != expected:
            raise ValueError(f"the checksum of batch {batch} does not match its rows")
        self._known[key] = None
        if len(self._known) > _REMEMBERED_MAX:
            self._known.popitem(last=False)
