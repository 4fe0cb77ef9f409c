"""A whole range, and everything that is known about it."""

from typing import TYPE_CHECKING

import pyarrow as pa

from cb_trade_client.answers import CoverageSegment, HistoryCompleted, HistoryStarted
from cb_trade_client.kinds import series_name
from cb_trade_client.table_metadata import with_gaps

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl


class History:
    """The answer of `DataClient.history`: rows in time order, each once.

    Attributes:
        started: What the service announced: the series, and the range after clipping.
        receipt: Where the rows came from, and what is known about the range.
    """

    def __init__(self, rows: pa.Table, started: HistoryStarted, receipt: HistoryCompleted) -> None:
        self._rows = rows
        self.started = started
        self.receipt = receipt

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __repr__(self) -> str:
        started = self.started
        name = series_name(started.exchange, started.symbol, started.kind, started.timeframe)
        return f"<History of {name}: {len(self):,} rows, {len(self.gaps):,} gaps>"

    @property
    def gaps(self) -> tuple[CoverageSegment, ...]:
        """The parts of the range that could not be settled, oldest first; empty means nothing is missing."""
        return self.receipt.gaps

    @property
    def coverage(self) -> tuple[CoverageSegment, ...]:
        """What is known about the whole range, oldest first."""
        return self.receipt.coverage

    @property
    def digest(self) -> str | None:
        """Fingerprint of the rows; see `HistoryCompleted.digest`."""
        return self.receipt.digest

    def to_arrow(self) -> pa.Table:
        """Return the rows as they arrived, without a copy; `gaps_of(table)` reads the gaps out of its metadata."""
        return with_gaps(self._rows, self.gaps)

    def to_pandas(self) -> "pd.DataFrame":
        """Return the rows as a DataFrame with a column `timestamp` of UTC times.

        Raises:
            ImportError: pandas is not installed.
        """
        _check_extra("pandas")
        return self._rows.to_pandas()

    def to_polars(self) -> "pl.DataFrame":
        """Return the rows as a DataFrame of polars, numbers without a copy.

        Raises:
            ImportError: polars is not installed.
        """
        _check_extra("polars")
        import polars as pl

        frame = pl.from_arrow(self._rows)
        return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _check_extra(name: str) -> None:
    try:
        __import__(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed; get it with: pip install 'cb-trade-client[{name}]'") from error
