"""The part of a storage that somebody asks about."""

from __future__ import annotations

from dataclasses import dataclass

from cb_trade_data.models.series import Kind, Series, check_symbol
from cb_trade_data.models.timeframe import Timeframe
from cb_trade_data.storage.path_utility import StoragePathUtility


@dataclass(frozen=True)
class Scope:
    """Everything of an exchange, of one of its symbols, or of one timeframe or kind of that.

    Without an exchange, everything there is.

    Raises:
        ValueError: A part is malformed, or given without the one above it.
    """

    exchange: str | None = None
    symbol: str | None = None
    timeframe: Timeframe | None = None
    kind: Kind | None = None

    def __post_init__(self) -> None:
        is_of_one = self.timeframe is not None or self.kind is not None
        if (self.exchange is None and self.symbol is not None) or (self.symbol is None and is_of_one):
            raise ValueError("a timeframe or a kind goes with a symbol, and a symbol with an exchange")
        if self.timeframe is not None and self.kind not in (None, Kind.OHLCV):
            raise ValueError(f"{self.kind} and timeframe {self.timeframe} do not go together")
        if self.exchange is not None:
            Series(self.exchange, "any", Kind.TRADES, None)
        if self.symbol is not None:
            check_symbol(self.symbol)

    @property
    def is_everything(self) -> bool:
        """Whether the whole storage is meant, with what belongs to no exchange."""
        return self.exchange is None

    def folders(self, paths: StoragePathUtility) -> list[str]:
        """Return folders that hold all that is meant, and as little else as there is a folder for."""
        if self.exchange is None:
            return [""]
        if self.symbol is not None and (self.timeframe is not None or self.kind not in (None, Kind.OHLCV)):
            return [paths.series_folder(Series(self.exchange, self.symbol, self.kind or Kind.OHLCV, self.timeframe))]
        return paths.exchange_folders(self.exchange)

    def holds(self, series: Series | None) -> bool:
        """Tell whether what belongs to *series* is meant; None for what lies in the folders and belongs to none."""
        if self.symbol is None:
            return True
        return (
            series is not None
            and series.symbol == self.symbol
            and self.timeframe in (None, series.timeframe)
            and self.kind in (None, series.kind)
        )
