"""A refresh of which pages fail: what it could not ask about again is told, in whatever order they failed."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from answers import tables
from fake_exchange import Anchoring, FakeExchange
from history_rig import SERIES, HistoryRig
from unit_builders import minute, minutes

from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import State

PAGE_BARS = 20
LATER = minute(0) + timedelta(days=30)
#: Enough turns of the loop for a page to be taken in.
TURNS = 100


class SpoiltExchange(FakeExchange):
    """Sends no numbers in some pages, each once the one that is to fail before it has.

    Attributes:
        failing: The starts of these pages, in the order in which they fail.
        waiting: Pages that come when `is_waited_for` is set.
    """

    def __init__(self, opens: list[datetime]) -> None:
        super().__init__(opens, PAGE_BARS, Anchoring.START)
        self.failing: list[datetime] = []
        self.waiting: list[datetime] = []
        self.is_waited_for = asyncio.Event()
        self._have_failed: dict[datetime, asyncio.Event] = {}

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        page = await super().fetch_ohlcv(series, window)
        if window.start in self.waiting:
            await self.is_waited_for.wait()
        if window.start not in self.failing:
            return page
        place = self.failing.index(window.start)
        if place > 0:
            await self._has_failed(self.failing[place - 1]).wait()
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self._has_failed(window.start).set()
        numbers = pa.chunked_array([pa.array([math.nan] * page.rows.num_rows)])
        return Page(page.rows.set_column(2, page.rows.schema.field(2), numbers))

    def _has_failed(self, start: datetime) -> asyncio.Event:
        return self._have_failed.setdefault(start, asyncio.Event())


@pytest.mark.parametrize("failing", [[20, 60], [60, 20]], ids=["in order", "the later one first"])
async def test_what_a_refresh_could_not_ask_about_again_is_told_in_whatever_order_pages_fail(tmp_path, failing):
    exchange = SpoiltExchange([minute(number) for number in range(80)])
    rig = HistoryRig(tmp_path, LATER).connect(exchange)
    await rig.answer(minutes(0, 80))
    exchange.failing, exchange.waiting = [minute(number) for number in failing], [minute(40)]

    answer = await rig.manager.open(SERIES, minutes(20, 80), refresh=True)
    async with aclosing(tables(answer)) as batches:
        rows = 0
        async for batch in batches:
            rows += batch.num_rows
            exchange.is_waited_for.set()

    assert rows == 60
    assert [(gap.range, gap.state) for gap in answer.receipt.gaps] == [
        (minutes(20, 40), State.FAILED),
        (minutes(60, 80), State.FAILED),
    ]
