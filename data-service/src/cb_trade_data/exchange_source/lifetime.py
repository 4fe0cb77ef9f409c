"""When a series began and when it ended, found with few pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

FetchPage = Callable[[Series, TimeRange], Awaitable[Page]]


async def first_open(fetch: FetchPage, facts: ExchangeFacts, series: Series, now: datetime) -> datetime | None:
    """Return the open time of the first bar the exchange has; None where it has none."""
    raise NotImplementedError


async def last_open(fetch: FetchPage, facts: ExchangeFacts, series: Series, now: datetime) -> datetime | None:
    """Return the open time of the last closed bar the exchange has; None where it has none."""
    raise NotImplementedError
