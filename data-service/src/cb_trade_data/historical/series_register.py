"""The facts of each series: met once, its listing date looked up once, both remembered in storage."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

import structlog

from cb_trade_data.errors import CbTradeError, ExchangeUnavailableError, StorageUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.models.series import Series
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts

_log = structlog.get_logger(__name__)

_RECHECK_FAILED_AFTER: Final = timedelta(minutes=10)


class SeriesRegister:
    """Asks the exchange about a series only what storage does not know yet, and only once for all who ask together."""

    def __init__(self, storage: IStorageManager, source: IDataSourceConnector) -> None:
        self._storage = storage
        self._source = source
        self._recheck_after: dict[Series, datetime] = {}  # of series whose last re-check failed
        self._locks: WeakValueDictionary[Series, asyncio.Lock] = WeakValueDictionary()

    async def facts(self, series: Series) -> SeriesFacts:
        """Return the facts of *series*; the first time ever, have the exchange confirm that it has the symbol.

        Raises:
            UnknownSymbolError: It has not.
            ExchangeUnavailableError: It could not be asked.
            StorageUnavailableError: It has not, but storage, which could not be read, may know the symbol from before.
        """
        if (facts := await self._storage.facts_if_possible(series)) is not None:
            return facts
        async with self._lock(series):
            facts = await self._known_or_confirmed(series)
            # A version names what is stored already.
            return facts if facts.version is not None else await self._remember(series, facts)

    async def look_up_listing(
        self, series: Series, now: datetime, *, known_bar: datetime | None = None, force: bool = False
    ) -> SeriesFacts:
        """Return the facts of *series* after asking for its first bar, if that is due.

        Args:
            now: The exchange's present.
            known_bar: Open time of some bar that is known to exist, stored or not; the first one cannot be later.
            force: Ask even if it is not due.

        Raises:
            ExchangeUnavailableError: It did not answer, or with what cannot be true. The facts stay as they were.
            UnknownSymbolError, StorageUnavailableError: As for `facts`.
        """
        async with self._lock(series):
            facts = await self._known_or_confirmed(series)
            if not force and not facts.listing_is_due(now):
                return facts
            listed_at = await self._source.fetch_first_open(series)
            known = [bar for bar in (known_bar, await self._first_stored(series)) if bar is not None]
            if listed_at is None and (known or facts.listed_at is not None):
                raise ExchangeUnavailableError(series.exchange, "it says that it has no bar, and had some before")
            if listed_at is not None and (listed_at > min([now, *known]) or series.grid.floor(listed_at) != listed_at):
                raise ExchangeUnavailableError(
                    series.exchange, f"it says that its first bar opened at {listed_at.isoformat()}"
                )
            _log.info("series.listing", series=str(series), listed_at=listed_at and listed_at.isoformat())
            return await self._remember(series, facts.with_listing(listed_at, now))

    async def recheck_listing(self, series: Series, facts: SeriesFacts, now: datetime, *, force: bool) -> SeriesFacts:
        """Return *facts* after asking again for the first bar, if that is due; as they are if it cannot be had now."""
        if not force and (not facts.listing_is_due(now) or now < self._recheck_after.get(series, now)):
            return facts
        try:
            return await self.look_up_listing(series, now, force=force)
        except (ExchangeUnavailableError, UnknownSymbolError, StorageUnavailableError) as error:
            # Down, or delisted since: what is stored is answered all the same, and not slowed down by asking each time.
            self._recheck_after[series] = now + _RECHECK_FAILED_AFTER
            _log.warning("series.listing_unknown", series=str(series), error=str(error))
            return facts

    async def _known_or_confirmed(self, series: Series) -> SeriesFacts:
        """Return the stored facts, or else new ones of a symbol that the exchange has."""
        unreadable: StorageUnavailableError | None = None
        try:
            if (facts := await self._storage.facts(series)) is not None:
                return facts
        except StorageUnavailableError as error:
            unreadable = error
        try:
            return SeriesFacts((await self._source.market(series)).id)
        except UnknownSymbolError as error:
            # An exchange forgets what it delists. A later try, with storage, may know it still: no final answer yet.
            if unreadable is not None:
                raise unreadable from error
            raise

    async def _first_stored(self, series: Series) -> datetime | None:
        try:
            return await self._storage.first_timestamp(series)
        except StorageUnavailableError as error:
            _log.warning("series.first_bar_unknown", series=str(series), error=str(error))
            return None

    async def _remember(self, series: Series, facts: SeriesFacts) -> SeriesFacts:
        try:
            return await self._storage.commit_facts(series, facts)
        except CbTradeError:
            return facts  # Counted, logged and shown by the storage manager; the answer does not depend on it.

    def _lock(self, series: Series) -> asyncio.Lock:
        return self._locks.setdefault(series, asyncio.Lock())
