"""What a receipt says of a stretch is what was known when its rows went out, whatever was learned later."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from answers import tables
from fake_exchange import SYMBOL, FakeExchange
from fake_service import FIRST, minute, service_over

from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State


class GatedExchange(FakeExchange):
    """Spoils one bar until it counts as failed, and holds the page that begins at *held*."""

    def __init__(self, spoiled: int, held: int) -> None:
        super().__init__(map(minute, range(60)), page_limit_bars=7)
        self._spoiled = [minute(spoiled)] * 5
        self._held = minute(held)
        self.is_holding, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        if window.start == self._held:
            self.is_holding.set()
            await self.may_go_on.wait()
        page = await super().fetch_ohlcv(series, window)
        if self._spoiled and self._spoiled[0] in window:
            bad = pc.equal(page.rows["timestamp"], pa.scalar(self._spoiled.pop(), page.rows["timestamp"].type))
            high = pc.if_else(bad, -1.0, page.rows["high"])
            page = Page(page.rows.set_column(2, page.rows.schema.field(2), high))
        return page


async def test_a_bar_that_somebody_else_repairs_meanwhile_stays_a_gap_of_the_answer_that_lacks_it(tmp_path):
    exchange = GatedExchange(spoiled=3, held=10)
    async with service_over(exchange, tmp_path) as manager:
        series = manager.series("fake", SYMBOL, "ohlcv", "1m")
        slow = await manager.open(series, TimeRange(minute(0), minute(20)), refresh=False)
        batches = tables(slow)
        rows = [await anext(batches), await anext(batches)]
        await exchange.is_holding.wait()

        repair = await manager.open(series, TimeRange(minute(3), minute(4)), refresh=False)
        repaired = [batch async for batch in tables(repair)]
        exchange.may_go_on.set()
        rows += [batch async for batch in batches]

    assert sum(batch.num_rows for batch in repaired) == 1
    assert sum(batch.num_rows for batch in rows) == 19
    assert [(gap.range, gap.state) for gap in slow.receipt.gaps] == [
        (TimeRange(FIRST + timedelta(minutes=3), FIRST + timedelta(minutes=4)), State.FAILED)
    ]
