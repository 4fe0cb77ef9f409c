"""An exchange in memory: small, honest, and held to the same contract as the real client."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import pyarrow as pa

from cb_trade_data.errors import UnknownSymbolError
from cb_trade_data.exchange_source.facts import Bounds, ExchangeFacts, Pace
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.models.instants import to_ms, utc_now
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.models.timeframe import Timeframe

SYMBOL = "BTC/USDT"


def rows_at(opens: Iterable[datetime]) -> pa.Table:
    """Return one possible bar per open time; its numbers follow from the time, so that mix-ups show."""
    times = [to_ms(open_time) for open_time in opens]
    prices = [100.0 + time // 60_000 % 1_000 for time in times]
    columns = [times, prices, [p + 2 for p in prices], [p - 2 for p in prices], [p + 1 for p in prices], prices]
    return pa.table(
        [pa.array(values).cast(field.type) for values, field in zip(columns, OHLCV_SCHEMA, strict=True)],
        schema=OHLCV_SCHEMA,
    )


class Anchoring(StrEnum):
    """Which bars an exchange sends when there are more than it sends at once."""

    START = "those that follow the window's start, up to its end"
    START_WITHOUT_END = "those that follow the window's start, even beyond its end"
    NEWEST_OF_WINDOW = "the newest ones of the window, newest first"
    NEWEST_ONLY = "its newest ones, whatever the window; what lies before the start is left out"


_BOUNDS = {
    Anchoring.START: Bounds("start", "end"),
    Anchoring.START_WITHOUT_END: None,
    Anchoring.NEWEST_OF_WINDOW: Bounds("start", "end"),
    Anchoring.NEWEST_ONLY: Bounds("since", None),
}


class FakeExchange(IExchangeAPIClient):
    """Has a bar wherever one of *opens* lies, unless that has not come yet.

    Attributes:
        markets: What it lists; may be changed.
        windows: The pages that were asked for.
        probes: How often it was asked for its first bar.
        sends_at_most: How many bars it really sends at once, whatever its facts say.
        spoil: What becomes of the open times of an answer before it is cut to its length.
        shuffle: What becomes of their order afterwards.
    """

    def __init__(
        self,
        opens: Iterable[datetime],
        page_limit_bars: int = 1000,
        anchoring: Anchoring = Anchoring.START_WITHOUT_END,
        *,
        timeframes: Sequence[str] = ("1m",),
        jumps_to_first: bool = True,
        is_proven: bool = True,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.facts = ExchangeFacts(
            "fake",
            tuple(timeframes),
            page_limit_bars,
            bounds=_BOUNDS[anchoring] if is_proven else None,
            is_proven=is_proven,
            history_bars=page_limit_bars if anchoring is Anchoring.NEWEST_ONLY else None,
            jumps_to_first=jumps_to_first,
            pace=Pace(100_000, timedelta(seconds=1), burst=100_000),
            concurrent_calls=4,
        )
        self.opens = sorted(opens)
        self.markets = {SYMBOL: Market("BTCUSDT")}
        self.windows: list[TimeRange] = []
        self.probes = 0
        self.sends_at_most = page_limit_bars
        self.spoil: Callable[[list[datetime]], list[datetime]] = list
        self.shuffle: Callable[[list[datetime]], list[datetime]] = list
        self._anchoring = anchoring
        self._now = now

    async def market(self, symbol: str) -> Market:
        if symbol not in self.markets:
            raise UnknownSymbolError(self.facts.id, symbol)
        return self.markets[symbol]

    async def symbol_of(self, market_id: str) -> str | None:
        return next((symbol for symbol, market in self.markets.items() if market.id == market_id), None)

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        await self.market(series.symbol)
        self.windows.append(window)
        limit = min(series.grid.bars_in(window), self.sends_at_most)
        opens = self._opens(series.grid)
        match self._anchoring:
            case Anchoring.START:
                sent = self.spoil([open_time for open_time in opens if open_time in window])[:limit]
            case Anchoring.START_WITHOUT_END:
                sent = self.spoil([open_time for open_time in opens if open_time >= window.start])[:limit]
            case Anchoring.NEWEST_OF_WINDOW:
                sent = self.spoil([open_time for open_time in opens if open_time in window])[-limit:][::-1]
            case Anchoring.NEWEST_ONLY:
                most = self.facts.page_limit_bars
                sent = self.spoil([open_time for open_time in opens[-most:] if open_time >= window.start])[-most:]
        return Page(rows_at(self.shuffle(sent)))

    async def fetch_first_open(self, series: Series) -> datetime | None:
        self.probes += 1
        return next(iter(self._opens(series.grid)), None)

    async def fetch_time(self) -> datetime | None:
        return self._now() - timedelta(seconds=1)

    async def close(self) -> None:
        pass

    def _opens(self, grid: Timeframe) -> list[datetime]:
        """Return the open times of its bars; the last of them may be open."""
        return sorted({grid.floor(open_time) for open_time in self.opens[: bisect_right(self.opens, self._now())]})
