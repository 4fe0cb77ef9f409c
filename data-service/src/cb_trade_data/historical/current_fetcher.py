"""How far a series has come: what a strategy polls."""

from __future__ import annotations

from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.historical.interfaces import CurrentState
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.historical.views.newest_bar import newest_whole_bar
from cb_trade_data.models.series import Series
from cb_trade_data.storage.interfaces import IStorageManager


class CurrentDataFetcher:
    """Reads the newest stored bar and the exchange's clock; asks the exchange for no bars."""

    def __init__(self, storage: IStorageManager, source: IDataSourceConnector, register: SeriesRegister) -> None:
        self._storage = storage
        self._source = source
        self._register = register

    async def current(self, series: Series) -> CurrentState:
        """See `IHistoricalDataManager.current`."""
        await self._register.facts(series.source)
        margin = self._source.facts(series.exchange).settle_margin_of(series)
        closed_until = series.grid.closed_until(await self._source.now(series.exchange), margin)
        if series.derived_from is None:
            return CurrentState(await self._storage.latest_timestamp(series), closed_until)
        return CurrentState(await newest_whole_bar(self._storage, series), closed_until)
