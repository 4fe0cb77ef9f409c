"""The inventory: which series are stored, and how far each of them reaches. Asks no exchange anything."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cb_trade_data.models.series import Series
from cb_trade_data.storage.in_order import in_order
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts

_SERIES_AT_ONCE: Final = 8


@dataclass(frozen=True)
class StoredSeries:
    """One series of which something is stored.

    Attributes:
        first: Time of the oldest stored row; None where only coverage is stored.
        last: Time of the newest one.
        facts: None where they were lost.
    """

    series: Series
    first: datetime | None
    last: datetime | None
    facts: SeriesFacts | None


@dataclass(frozen=True)
class InventoryPage:
    """Some of the stored series, sorted by their text.

    Attributes:
        next: What to go on after; None where these were the last.
    """

    series: tuple[StoredSeries, ...]
    next: str | None


async def take_inventory(
    storage: IStorageManager,
    exchange: str | None,
    symbol: str | None,
    *,
    after: str | None,
    limit: int,
    visible: Collection[str] | None = None,
) -> InventoryPage:
    """Return the stored series of an exchange and a symbol, of all for None. Only those of the page are looked into.

    Args:
        after: The `next` of the page before; it need not exist any more.
        visible: The exchanges whose series may be told of; None for all.
    """
    stored = await storage.list_series(exchange)
    found = [
        series
        for series in stored
        if symbol in {None, series.symbol}
        and (after is None or str(series) > after)
        and (visible is None or series.exchange in visible)
    ]
    page = found[:limit]

    async def look(series: Series) -> StoredSeries:
        return StoredSeries(
            series,
            await storage.first_timestamp(series, stored[series]),
            await storage.latest_timestamp(series, stored[series]),
            await storage.facts(series),
        )

    async with aclosing(in_order(look, page, _SERIES_AT_ONCE)) as looks:
        return InventoryPage(tuple([each async for each in looks]), str(page[-1]) if len(found) > limit else None)
