"""Every path in storage is made, and read back, here."""

from __future__ import annotations

from datetime import MAXYEAR
from typing import Final
from urllib.parse import quote, unquote

from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.models.series import Series

FACTS_NAME: Final = "_series.json"
_PART_STEM: Final = "part"


class StoragePathUtility:
    """Hive-style paths, the same keys for every kind: DuckDB, Polars, pandas and Spark open the whole tree.

    `ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=01/part.parquet`; month 0 is the whole year,
    year 0 the whole series. Percent-encoding is what those engines decode by themselves.
    """

    def __init__(self, suffix: str) -> None:
        """*suffix* is the layout's file name ending, without the dot."""
        self.part_name = f"{_PART_STEM}.{suffix}"

    def exchange_folder(self, kind: str, exchange: str) -> str:
        """Return the folder of everything stored of one exchange and kind."""
        return f"{kind}/exchange={quote(exchange, safe='')}"

    def coin_folder(self, kind: str, exchange: str, symbol: str) -> str:
        """Return the folder of everything stored of one symbol and kind."""
        return f"{self.exchange_folder(kind, exchange)}/symbol={quote(symbol, safe='')}"

    def series_folder(self, series: Series) -> str:
        """Return the folder of one series."""
        folder = self.coin_folder(series.kind, series.exchange, series.symbol)
        # A case-insensitive disk must keep 1m and 1M apart.
        timeframe = str(series.timeframe).replace("M", "mo") if series.timeframe else "none"
        return f"{folder}/timeframe={timeframe}"

    def facts_path(self, series: Series) -> str:
        """Return the path of the series' facts object."""
        return f"{self.series_folder(series)}/{FACTS_NAME}"

    def part_path(self, partition: Partition) -> str:
        """Return the path of the partition's object."""
        return f"{self.series_folder(partition.series)}/{self._part_key(partition)}"

    def partition_of(self, series: Series, path: str) -> Partition | None:
        """Return the partition of *series* that *path* is the object of; None for any other file."""
        keys = path.split("/")[-3:]
        if len(keys) != 3 or keys[2] != self.part_name:
            return None
        year, month = keys[0].removeprefix("year="), keys[1].removeprefix("month=")
        if not (year.isdecimal() and month.isdecimal()):
            return None
        if int(year) > MAXYEAR or int(month) > 12:
            return None
        partition = Partition(series, int(year), int(month))
        is_ours = path == self.part_path(partition) and partition == partition_at(series, partition.range.start)
        return partition if is_ours else None

    def symbol_of(self, path: str) -> str | None:
        """Return the symbol that *path* belongs to; None for a path that is not ours."""
        for key in path.split("/"):
            if key.startswith("symbol="):
                return unquote(key.removeprefix("symbol="))
        return None

    def _part_key(self, partition: Partition) -> str:
        month = f"{partition.month:02}" if partition.month else "0"
        return f"year={partition.year}/month={month}/{self.part_name}"
