"""Checksums: whether what is read is what was written."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash


def checksum(rows: pa.Table, knowledge: bytes) -> str:
    """Return the xxh3 of *knowledge* and of the rows' values, column by column in schema order.

    It depends on the values alone (little-endian 64-bit words), not on chunks, offsets or how they were stored.
    """
    digest = xxhash.xxh3_64(knowledge)
    for column in rows.columns:
        values = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for chunk in values.chunks:
            digest.update(np.ascontiguousarray(chunk.to_numpy(zero_copy_only=True)).data)
    return digest.hexdigest()
