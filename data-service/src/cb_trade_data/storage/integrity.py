"""Checksums: whether what is read is what was written, looked at once per object version and process."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Final

import numpy as np
import pyarrow as pa
import xxhash

_REMEMBERED_MAX: Final = 100_000


def rows_checksum(rows: pa.Table | pa.RecordBatch) -> str:
    """Return the xxh3 of the rows' values, column by column in schema order, as little-endian 64-bit words.

    It depends on the values alone, not on chunks, offsets or how they were stored.
    """
    digest = xxhash.xxh3_64()
    for name in rows.schema.names:
        column = rows.column(name)
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            # As words: Python's buffers do not know times.
            digest.update(np.ascontiguousarray(chunk.to_numpy(zero_copy_only=True)).view(np.int64).data)
    return digest.hexdigest()


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
