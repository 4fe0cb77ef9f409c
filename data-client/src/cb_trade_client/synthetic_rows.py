"""Rows that a fill put where the exchange has no bar, told from those that it has."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

SYNTHETIC: Final = "synthetic"
"""The column, the last one, that tells of each row whether it was filled in; there only where a fill was asked for."""


def count_synthetic(batch: pa.RecordBatch) -> int:
    """Return how many rows of *batch* were filled in."""
    return int(batch.column(SYNTHETIC).true_count) if SYNTHETIC in batch.schema.names else 0


def real_rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of *batch* that the exchange has, with the columns that it has."""
    if SYNTHETIC not in batch.schema.names:
        return batch
    real = batch.select([name for name in batch.schema.names if name != SYNTHETIC])
    return real.filter(pc.invert(batch.column(SYNTHETIC))) if count_synthetic(batch) else real
