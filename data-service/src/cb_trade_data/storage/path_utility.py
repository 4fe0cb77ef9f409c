"""Every path in storage is made, and read back, here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

from cb_trade_data.models.instants import EPOCH
from cb_trade_data.models.partition import Partition, partition_at
from cb_trade_data.models.series import Kind, Series
from cb_trade_data.models.timeframe import Timeframe

FACTS_NAME: Final = "_series.json"
DAMAGED_FOLDER: Final = "_damaged"

_NO_TIMEFRAME: Final = "none"
_MONTHS: Final = 12
_DAYS: Final = 31


class StoragePathUtility(ABC):
    """Paths are relative, with `/`. Whatever a symbol is called, its paths collide with no other's and stay inside.

    Symbols are percent-encoded whole; `1M` is spelled `1mo`, because case-insensitive disks must keep it apart from
    `1m`.
    """

    @abstractmethod
    def exchange_folders(self, exchange: str | None) -> list[str]:
        """Return the folders of everything stored of one exchange, or of all of them (None)."""

    @abstractmethod
    def series_folder(self, series: Series) -> str:
        """Return the folder of one series."""

    @abstractmethod
    def part_path(self, partition: Partition) -> str:
        """Return the path of the object that commits the partition."""

    @abstractmethod
    def series_of(self, path: str) -> Series | None:
        """Return the series that *path* belongs to; None for a path that is not ours."""

    @abstractmethod
    def partition_of(self, path: str) -> Partition | None:
        """Return the partition that *path* commits; None for any other file."""

    def is_entry_folder(self, path: str) -> bool:  # noqa: ARG002
        """Tell whether there are entries in the folder at *path*, and nothing else of ours; see `EntryPaths`."""
        return False

    def entry_partition(self, path: str) -> Partition | None:  # noqa: ARG002
        """Return the partition that the entry at *path* belongs to; None where it is none, as in a layout without."""
        return None

    def _checked(self, partition: Partition, path: str) -> Partition | None:
        """Return *partition* if there is such a one, and *path* is the path of it."""
        if partition.year >= MAXYEAR or partition.month > _MONTHS:
            return None
        try:
            start = partition.range.start
        except ValueError:  # no such day
            return None
        is_ours = path == self.part_path(partition) and partition == partition_at(partition.series, start)
        return partition if is_ours else None

    def facts_path(self, series: Series) -> str:
        """Return the path of the series' facts object."""
        return f"{self.series_folder(series)}/{FACTS_NAME}"

    def damaged_path(self, path: str, version: str) -> str:
        """Return where that version of the object at *path* is kept once it was found damaged."""
        return f"{DAMAGED_FOLDER}/{path}.{quote(version, safe='')}"


class HivePaths(StoragePathUtility):
    """Hive-style, the same keys for every kind: DuckDB, Polars, pandas and Spark open the whole tree.

    `ohlcv/exchange=binance/symbol=BTC%2FUSDT/timeframe=1m/year=2024/month=01/part.parquet`; month 0 is the whole year,
    year 0 the whole series. A day is a file of its own in the folder of its month, `part-05.parquet`. Percent-encoding
    is what those engines decode by themselves; `none` is the timeframe of kinds without bars.
    """

    def __init__(self, suffix: str) -> None:
        """*suffix* is the layout's file name ending, without the dot."""
        self._suffix = suffix

    def exchange_folders(self, exchange: str | None) -> list[str]:
        """See `StoragePathUtility.exchange_folders`."""
        if exchange is None:
            return [str(kind) for kind in Kind]
        return [f"{kind}/exchange={quote(exchange, safe='')}" for kind in Kind]

    def series_folder(self, series: Series) -> str:
        """See `StoragePathUtility.series_folder`."""
        symbol, timeframe = _symbol_key(series.symbol), _timeframe_key(series.timeframe)
        return f"{series.kind}/exchange={series.exchange}/symbol={symbol}/timeframe={timeframe}"

    def part_path(self, partition: Partition) -> str:
        """See `StoragePathUtility.part_path`."""
        folder = self.series_folder(partition.series)
        month = f"{partition.month:02}" if partition.month else "0"
        return f"{folder}/year={partition.year}/month={month}/{_day_name('part', partition)}.{self._suffix}"

    def series_of(self, path: str) -> Series | None:
        """See `StoragePathUtility.series_of`."""
        kind, *keys = path.split("/")
        if len(keys) < 3:
            return None
        names = ("exchange=", "symbol=", "timeframe=")
        if not all(key.startswith(name) for key, name in zip(keys, names, strict=False)):
            return None
        values = [key.removeprefix(name) for key, name in zip(keys, names, strict=False)]
        return _series(kind, values[0], values[1], values[2])

    def partition_of(self, path: str) -> Partition | None:
        """See `StoragePathUtility.partition_of`."""
        series, keys = self.series_of(path), path.split("/")
        if series is None or len(keys) != 7:
            return None
        year, month = keys[4].removeprefix("year="), keys[5].removeprefix("month=")
        day = _day_of(keys[6].removesuffix(f".{self._suffix}"))
        if not (year.isdecimal() and month.isdecimal()):
            return None
        return self._checked(Partition(series, int(year), int(month), day), path)


class EntryPaths(StoragePathUtility):
    """One document per row: `raw_data/{exchange}/{symbol}/{kind}-{timeframe}/{YYYY}/{MM}/{DD}/{timestamp}.json`.

    That of a trade ends in its id, `{timestamp}-{id}.json`. A later document of the same row has a nonce in its name:
    `{timestamp}.{nonce}.json`; so has one of another trade whose id differs only in case, where the disk does not tell
    them apart. What stands before the first dot is the row's key. `_coverage.json` commits a partition:
    in the folder of its month, of its year, or of the series; `_coverage-05.json`, in the folder of its month, a day.
    """

    _ROOT: Final = "raw_data"
    _COMMIT_NAME: Final = "_coverage"
    _ENTRY_END: Final = ".json"

    def exchange_folders(self, exchange: str | None) -> list[str]:
        """See `StoragePathUtility.exchange_folders`."""
        return [self._ROOT if exchange is None else f"{self._ROOT}/{quote(exchange, safe='')}"]

    def series_folder(self, series: Series) -> str:
        """See `StoragePathUtility.series_folder`."""
        timeframe = _timeframe_key(series.timeframe)
        return f"{self._ROOT}/{series.exchange}/{_symbol_key(series.symbol)}/{series.kind}-{timeframe}"

    def partition_folder(self, partition: Partition) -> str:
        """Return the folder of what commits a partition."""
        folder = self.series_folder(partition.series)
        if partition.year:
            folder += f"/{partition.year:04}"
        if partition.month:
            folder += f"/{partition.month:02}"
        return folder

    def part_path(self, partition: Partition) -> str:
        """See `StoragePathUtility.part_path`."""
        name = _day_name(self._COMMIT_NAME, partition)
        return f"{self.partition_folder(partition)}/{name}{self._ENTRY_END}"

    def is_entry_folder(self, path: str) -> bool:
        """See `StoragePathUtility.is_entry_folder`: the folder of a day."""
        keys = path.split("/")
        return len(keys) == 7 and keys[0] == self._ROOT and all(key.isdecimal() for key in keys[4:])

    def entry_partition(self, path: str) -> Partition | None:
        """See `StoragePathUtility.entry_partition`."""
        folder, _, name = path.rpartition("/")
        if not (self.is_entry_folder(folder) and name.endswith(self._ENTRY_END)):
            return None
        series, time = self.series_of(path), self.entry_key(path).partition("-")[0]
        if series is None or not time.isdecimal():
            return None
        year, month, day = map(int, folder.split("/")[4:])
        try:
            return partition_at(series, datetime(year, month, day, tzinfo=UTC))
        except ValueError:  # no such day
            return None

    def entry_folder(self, series: Series, timestamp_ms: int) -> str:
        """Return the folder of the documents of the UTC day that holds *timestamp_ms*."""
        day = EPOCH + timedelta(milliseconds=timestamp_ms)
        return f"{self.series_folder(series)}/{day:%Y/%m/%d}"

    @staticmethod
    def row_key(timestamp_ms: int, trade_id: str | None) -> str:
        """Return what the names of all documents of a row begin with."""
        if trade_id is None:
            return str(timestamp_ms)
        return f"{timestamp_ms}-{quote(trade_id, safe='').replace('.', '%2E')}"

    @classmethod
    def entry_path(cls, folder: str, name: str) -> str:
        """Return the path of the document of that name.

        Raises:
            ValueError: The name leads out of the folder.
        """
        if "/" in name:
            raise ValueError(f"{name!r} is not the name of an entry")
        return f"{folder}/{name}{cls._ENTRY_END}"

    @classmethod
    def entry_name(cls, path: str) -> str:
        """Return the name of the document at *path*, without folder and ending."""
        return path.rsplit("/", 1)[1].removesuffix(cls._ENTRY_END)

    @classmethod
    def entry_key(cls, path: str) -> str:
        """Return what the names of all documents of one row have in common."""
        return cls.entry_name(path).partition(".")[0]

    @classmethod
    def renamed_entry(cls, path: str, nonce: str) -> str:
        """Return another path for a document of the same row."""
        return cls.entry_path(path.rsplit("/", 1)[0], f"{cls.entry_key(path)}.{nonce}")

    def series_of(self, path: str) -> Series | None:
        """See `StoragePathUtility.series_of`."""
        keys = path.split("/")
        if len(keys) < 4 or keys[0] != self._ROOT:
            return None
        kind, _, timeframe = keys[3].partition("-")
        return _series(kind, keys[1], keys[2], timeframe)

    def partition_of(self, path: str) -> Partition | None:
        """See `StoragePathUtility.partition_of`."""
        series, keys = self.series_of(path), path.split("/")
        if series is None or not all(key.isdecimal() for key in keys[4:-1]):
            return None
        year, month = [*map(int, keys[4:-1]), 0, 0][:2]
        day = _day_of(keys[-1].removesuffix(self._ENTRY_END))
        return self._checked(Partition(series, year, month, day), path)


def _day_name(name: str, partition: Partition) -> str:
    return f"{name}-{partition.day:02}" if partition.day else name


def _day_of(name: str) -> int:
    """Return the day that a name made by `_day_name` ends in; 0 for others."""
    day = name.rpartition("-")[2]
    return int(day) if day.isdecimal() and len(day) <= len(str(_DAYS)) else 0


def _symbol_key(symbol: str) -> str:
    # Alone, dots would climb out of their folder, and no encoder of addresses touches them.
    return quote(symbol, safe="") if symbol.strip(".") else symbol.replace(".", "%2E")


def _timeframe_key(timeframe: Timeframe | None) -> str:
    return str(timeframe).replace("M", "mo") if timeframe else _NO_TIMEFRAME


def _series(kind: str, exchange: str, symbol: str, timeframe: str) -> Series | None:
    """Return the series that these parts of a path name, or None where they name none."""
    try:
        grid = None if timeframe == _NO_TIMEFRAME else Timeframe.parse(timeframe.replace("mo", "M"))
        return Series(exchange, unquote(symbol), Kind(kind), grid)
    except ValueError:
        return None
