"""A service that lost its lock on a partition, because it was stopped for too long or its disk failed for a while."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from answers import tables
from fake_exchange import SYMBOL, FakeExchange, rows_at
from fake_service import minute, service_over
from service_harness import eventually
from structlog.testing import capture_logs

from cb_trade_data.exchange_source.interfaces import Page
from cb_trade_data.models.market import timestamps_ms
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.coverage import Segment, State
from cb_trade_data.storage.implementations.local_file_storage import LocalFileStorage
from cb_trade_data.storage.layouts.parquet import ParquetLayout
from cb_trade_data.storage.manager import StorageManagerImpl
from cb_trade_data.storage.stored_partition import Change

MINUTES = [minute(number) for number in range(60)]
PAGE_BARS = 10


class GatedExchange(FakeExchange):
    """Answers no page before its gate is open, except the first ones."""

    def __init__(self, ungated: int) -> None:
        super().__init__(MINUTES, PAGE_BARS)
        self.gate = asyncio.Event()
        self._ungated = ungated

    async def fetch_ohlcv(self, series: Series, window: TimeRange) -> Page:
        page = await super().fetch_ohlcv(series, window)
        if len(self.windows) > self._ungated:
            await self.gate.wait()
        return page


@pytest.mark.parametrize("refresh", [False, True])
async def test_who_lost_its_lock_stores_what_came_in_and_lets_the_new_holder_fetch(tmp_path: Path, refresh):
    exchange = GatedExchange(ungated=2)
    neighbour = LocalFileStorage(tmp_path, ParquetLayout())
    async with service_over(exchange, tmp_path, lease_secs=0.3) as manager:
        series = manager.series("fake", SYMBOL, "ohlcv", "1m")
        partition = partition_at(series, MINUTES[0])
        answer = await manager.open(series, TimeRange(MINUTES[0], minute(60)), refresh=refresh)
        asking = asyncio.create_task(_all_rows(answer))
        await eventually(lambda: len(exchange.windows) > 2)

        # The lock is too old, and the neighbour takes it: it stores the second half.
        (lock,) = (tmp_path / ".locks").rglob("*.flight.*")
        with capture_logs() as logs:
            os.utime(lock, (0, 0))
            taken = await neighbour.try_lock(partition)
            assert taken is not None
            held = Segment(TimeRange(minute(30), minute(60)), State.HELD)
            base = await neighbour.read_partition(partition)
            await StorageManagerImpl(neighbour).commit(base, [Change(rows_at(MINUTES[30:]), (held,))])
            theirs = _stored_bytes(tmp_path)
            await eventually(lambda: any(line["event"] == "lock.lost" for line in logs))
            exchange.gate.set()
            await eventually(lambda: any(line["event"] == "flight.lock_lost" for line in logs))
        calls = len(exchange.windows)
        await eventually(lambda: _stored_bytes(tmp_path) != theirs)
        await taken.release()
        times = await asking

    assert times == timestamps_ms(rows_at(MINUTES)).tolist()
    rows = await neighbour.read_partition(partition)
    np.testing.assert_array_equal(timestamps_ms(rows.rows), times)
    if not refresh:
        assert all(window.end <= minute(30) for window in exchange.windows[calls:])


def _stored_bytes(root: Path) -> bytes:
    return next(root.rglob("part.parquet")).read_bytes()


async def _all_rows(answer) -> list[int]:
    times: list[int] = []
    async with aclosing(tables(answer)) as batches:
        async for rows in batches:
            times += timestamps_ms(rows).tolist()
    return times
