"""The facts of each series: met once, its first and its last bar looked up when that matters, all remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

import structlog

from cb_trade_data.errors import CbTradeError, ExchangeUnavailableError, StorageUnavailableError, UnknownSymbolError
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts

_log = structlog.get_logger(__name__)

# A market that is not traded may only be halted. It has ended once it was silent for longer than this.
_HALTED_AT_MOST: Final = timedelta(days=7)
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
            if facts.version is not None:  # It names what is stored already.
                return facts
            try:
                if not (await self._source.market(series)).is_active:
                    facts = await self._with_end(series, facts, await self._source.now(series.exchange))
            except ExchangeUnavailableError as error:
                _log.warning("series.end_unknown", series=str(series), error=str(error))
            return await self._remember(series, facts)

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
            known = [
                bar for bar in (known_bar, await self._stored(series, self._storage.first_timestamp)) if bar is not None
            ]
            if listed_at is None and (known or facts.listed_at is not None):
                raise ExchangeUnavailableError(series.exchange, "it says that it has no bar, and had some before")
            if listed_at is not None and (listed_at > min([now, *known]) or series.grid.floor(listed_at) != listed_at):
                raise ExchangeUnavailableError(
                    series.exchange, f"it says that its first bar opened at {listed_at.isoformat()}"
                )
            _log.info("series.listing", series=str(series), listed_at=listed_at and listed_at.isoformat())
            return await self._remember(series, facts.with_listing(listed_at, now))

    async def look_up_delisting(self, series: Series, now: datetime, *, force: bool = False) -> SeriesFacts:
        """Return the facts of *series* after asking whether it is still traded and, if not, for its last bar.

        Args:
            now: The exchange's present.
            force: Ask even if it is not due.

        Raises:
            ExchangeUnavailableError: It did not answer. The facts stay as they were.
            UnknownSymbolError, StorageUnavailableError: As for `facts`.
        """
        async with self._lock(series):
            facts = await self._known_or_confirmed(series)
            if not force and not facts.delisting_is_due(now):
                return facts
            try:
                is_active = (await self._source.market(series)).is_active
            except UnknownSymbolError:
                # Where it ended, if that was found out while it was still listed, is all there will ever be to know.
                return await self._remember(series, facts.with_delisting(facts.delisted_at, now))
            if not is_active:
                return await self._remember(series, await self._with_end(series, facts, now))
            if facts.delisted_at is None:
                return facts
            _log.info("series.relisted", series=str(series))
            return await self._remember(series, facts.with_delisting(None, now))

    async def why_unknown(self, series: Series) -> str:
        """Return why the exchange does not know the symbol of a known series any more.

        It says nothing about where the series ended: of what the exchange had besides what is stored, nobody knows.

        Raises:
            StorageUnavailableError, UnknownSymbolError: As for `facts`.
        """
        facts = await self.facts(series)
        with suppress(ExchangeUnavailableError):
            symbol = await self._source.symbol_of(series.exchange, facts.market_id)
            if symbol not in {None, series.symbol}:
                return f"{series.exchange} calls {series.symbol} {symbol} now"
        return f"{series.exchange} does not list {series.symbol} any more"

    async def note_older_bar(self, series: Series, bar: datetime, now: datetime) -> SeriesFacts:
        """Return the facts of *series* after a bar came that opens before the first one it was said to have."""
        async with self._lock(series):
            facts = await self._known_or_confirmed(series)
            if facts.listed_at is None or facts.listed_at <= bar:
                return facts
            _log.warning("series.listing_wrong", series=str(series), listed_at=facts.listed_at.isoformat())
            return await self._remember(series, facts.with_listing(None, now))

    async def recheck(
        self, series: Series, facts: SeriesFacts, wanted: TimeRange, now: datetime, *, force: bool
    ) -> SeriesFacts:
        """Return *facts* after looking again at those ends of the series on which an answer about *wanted* depends.

        Only where that is due or *force* is set; as they are if it cannot be found out now.
        """
        try:
            if facts.listed_at is not None and wanted.start < facts.listed_at:
                is_due = facts.listing_is_due(now) and now >= self._recheck_after.get(series, now)
                if force or is_due:
                    facts = await self.look_up_listing(series, now, force=force)
            if facts.delisted_at is not None and wanted.end > facts.delisted_at:
                is_due = facts.delisting_is_due(now) and now >= self._recheck_after.get(series, now)
                if force or is_due:
                    facts = await self.look_up_delisting(series, now, force=force)
        except (ExchangeUnavailableError, UnknownSymbolError, StorageUnavailableError) as error:
            # Down, or gone: what is stored is answered all the same, and not slowed down by asking each time.
            self._recheck_after[series] = now + _RECHECK_FAILED_AFTER
            _log.warning("series.ends_unknown", series=str(series), error=str(error))
        return facts

    async def _with_end(self, series: Series, facts: SeriesFacts, now: datetime) -> SeriesFacts:
        """Return *facts* after asking for the last bar of a market that is not traded any more."""
        last = await self._source.fetch_last_open(series)
        if last is not None and (last > now or series.grid.floor(last) != last):
            raise ExchangeUnavailableError(series.exchange, f"it says that its last bar opened at {last.isoformat()}")
        stored = await self._stored(series, self._storage.latest_timestamp)
        newest = max((bar for bar in (last, stored) if bar is not None), default=None)
        delisted_at = None if newest is None else series.grid.bar(newest).end
        if delisted_at is not None and delisted_at > now - _HALTED_AT_MOST:
            delisted_at = None
        _log.info("series.end", series=str(series), delisted_at=delisted_at and delisted_at.isoformat())
        return facts.with_delisting(delisted_at, now)

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

    async def _stored(self, series: Series, which: Callable[[Series], Awaitable[datetime | None]]) -> datetime | None:
        """Return the first or the last stored bar, or None where storage cannot tell."""
        try:
            return await which(series)
        except StorageUnavailableError as error:
            _log.warning("series.stored_bar_unknown", series=str(series), error=str(error))
            return None

    async def _remember(self, series: Series, facts: SeriesFacts) -> SeriesFacts:
        try:
            return await self._storage.commit_facts(series, facts)
        except CbTradeError:
            return facts  # Counted, logged and shown by the storage manager; the answer does not depend on it.

    def _lock(self, series: Series) -> asyncio.Lock:
        return self._locks.setdefault(series, asyncio.Lock())
