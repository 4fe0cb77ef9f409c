"""Where fetched rows go: stdout as CSV, or a CSV or Parquet file that appears only when it is whole."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from cb_trade_client.answers import CoverageSegment

SUFFIXES = (".parquet", ".csv")


class RowWriter(Protocol):
    """Takes batches in time order, as they come."""

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append the rows of *batch*."""

    def finish(self, gaps: "Sequence[CoverageSegment]") -> None:
        """Complete the output; *gaps* is what the range lacks."""


@contextmanager
def open_output(path: Path | None, schema: "pa.Schema") -> Iterator[RowWriter]:
    """Yield a writer of *schema* to *path*, or of CSV to stdout when it is None.

    A file takes its place when the block ends well; otherwise an older file of that name stays as it was.
    """
    # Imported here: Arrow takes longer to load than `cb-trade --help` may.
    from cb_trade_client.output.csv_rows import CsvWriter, standard_output
    from cb_trade_client.output.parquet_rows import ParquetWriter
    from cb_trade_client.output.whole_file import whole_file

    if path is None:
        yield CsvWriter(standard_output(), schema)
        return
    with whole_file(path) as file:
        if path.suffix.lower() == ".csv":
            yield CsvWriter(file, schema)
        else:
            with closing(ParquetWriter(file, schema)) as writer:
                yield writer
