"""Rows as a Parquet file, with the gaps of the range in its metadata."""

from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from cb_trade_client.answers import CoverageSegment
from cb_trade_client.table_metadata import GAPS_KEY, encode_gaps

# Large enough for compression and scans to work well, small enough (6 MiB of bars) to keep in memory.
ROW_GROUP_ROWS = 131_072


class ParquetWriter:
    """Collects batches into row groups; memory is bounded by one of them."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        # Without the copy of the Arrow schema, which would hide the gaps from readers: it lacks what is added later.
        self._writer = pq.ParquetWriter(file, schema, compression="zstd", store_schema=False)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take the rows; they reach the file with their row group."""
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        if self._waiting_rows >= ROW_GROUP_ROWS:
            self._write_row_group()

    def finish(self, gaps: Sequence[CoverageSegment]) -> None:
        """Write what is left, the gaps and the footer."""
        if self._waiting:
            self._write_row_group()
        self._writer.add_key_value_metadata({GAPS_KEY: encode_gaps(gaps)})
        self.close()

    def close(self) -> None:
        """Close without more ado; a file that was not finished is worthless."""
        self._writer.close()

    def _write_row_group(self) -> None:
        self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._waiting_rows = [], 0
