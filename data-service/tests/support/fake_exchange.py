"""An exchange in memory: small, honest, and held to the same contract as the real client."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pyarrow as pa

from cb_trade_data.errors import UnknownSymbolError
from cb_trade_data.exchange_source.facts import ExchangeFacts
from cb_trade_data.exchange_source.interfaces import IExchangeAPIClient, Market, Page
from cb_trade_data.models.instants import to_ms, utc_now
from cb_trade_data.models.market import OHLCV_SCHEMA
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange

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


class FakeExchange(IExchangeAPIClient):
    """Has 1m bars at the *opens* it is given and answers like Binance: from the start of the window, ascending."""

    def __init__(self, opens: Iterable[datetime], page_limit_bars: int = 1000) -> None:
        self.facts = ExchangeFacts("fake", ("1m",), page_limit_bars, jumps_to_first=True, concurrent_calls=4)
        self.opens = sorted(opens)
        self.windows: list[TimeRange] = []
        self.probes = 0

    async def market(self, symbol: str) -> Market:
        if symbol != SYMBOL:
            raise UnknownSymbolError(self.facts.id, symbol)
        return Market("BTCUSDT")

    async def symbol_of(self, market_id: str) -> str | None:
        return SYMBOL if market_id == "BTCUSDT" else None

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        self.windows.append(window)
        limit = series.grid.bars_in(window)
        rows = rows_at([open_time for open_time in self.opens if open_time >= window.start][:limit])
        return Page(rows)

    async def fetch_first_open(self, series: Series) -> datetime | None:
        self.probes += 1
        return self.opens[0] if self.opens else None

    async def fetch_time(self) -> datetime | None:
        return utc_now() - timedelta(seconds=1)

    async def close(self) -> None:
        pass
