"""How often a flight stores what came in while nobody waits for that alone; in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from unittest.mock import AsyncMock, Mock

import pytest
from fake_exchange import rows_at
from unit_builders import series, utc
from virtual_time import in_virtual_time, now_secs

from cb_trade_data.errors import StorageUnavailableError
from cb_trade_data.exchange_source.facts import Bounds, ExchangeFacts
from cb_trade_data.exchange_source.interfaces import IDataSourceConnector, Page
from cb_trade_data.historical.flight import Flight
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.partition import partition_at
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.interfaces import IStorageManager, PartitionLock
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import Change, StoredPartition

MINUTES = series("BTC/USDT", "1m", "fake")
NOW = utc("2024-06-01")
START = utc("2024-02-01")
PAGE_BARS = 10
EXCHANGE = ExchangeFacts("fake", ("1m",), PAGE_BARS, bounds=Bounds("start", "end"))


class SlowStorage:
    """Holds nothing at first, and takes its time for each commit.

    Attributes:
        commits: When each began and ended, in seconds.
    """

    def __init__(self, commit_secs: float, *, is_full: bool) -> None:
        self._commit_secs = commit_secs
        self._is_full = is_full
        self.commits: list[tuple[float, float]] = []
        self.manager = Mock(IStorageManager)
        self.manager.read_if_possible = AsyncMock(side_effect=StoredPartition.empty)
        self.manager.version = AsyncMock(return_value=None)
        self.manager.facts = AsyncMock(return_value=None)
        self.manager.try_lock = AsyncMock(return_value=Mock(PartitionLock, is_lost=False))
        self.manager.commit = self._commit

    async def _commit(self, base: StoredPartition, changes: list[Change]) -> StoredPartition:
        begun = now_secs()
        await asyncio.sleep(self._commit_secs)
        self.commits.append((begun, now_secs()))
        if self._is_full:
            raise StorageUnavailableError("", "No space left on device")
        return base.with_changes(changes)

    def pauses_secs(self, until_secs: float) -> list[float]:
        """Return how long each commit that began before *until_secs* came after the one before."""
        ends, begins = [0.0, *(end for _, end in self.commits)], [begin for begin, _ in self.commits]
        return [begin - end for end, begin in zip(ends, begins, strict=False) if begin < until_secs]


def exchange_of_a_page_each_second() -> IDataSourceConnector:
    async def fetch_page(
        of: Series, next_window: Callable[[], TimeRange | None], urgency: Callable[[], int]
    ) -> Page | None:
        await asyncio.sleep(1)
        window = next_window()
        if window is None:
            return None
        bars = (window.end - window.start) // timedelta(minutes=1)
        return Page(rows_at(window.start + timedelta(minutes=number) for number in range(bars)))

    source = Mock(IDataSourceConnector)
    source.facts.return_value = EXCHANGE
    source.known_now.return_value = NOW
    source.now = AsyncMock(return_value=NOW)
    source.fetch_page = fetch_page
    return source


async def fly(storage: SlowStorage, pages: int) -> float:
    """Have *pages* fetched for one who waits for all of them; return how long that took, in seconds."""
    source = exchange_of_a_page_each_second()
    reach = Reach(SeriesFacts("BTCUSDT", START - timedelta(days=365), NOW))
    flight = Flight(partition_at(MINUTES, START), reach, storage.manager, source, Mock(SeriesRegister), Counter())
    wanted = TimeRange(START, START + timedelta(minutes=pages * PAGE_BARS))
    with flight.joined(wanted, refresh=False, now=NOW) as want:
        flying = asyncio.create_task(flight.run())
        rows = [rows async for _, rows in flight.follow(want)]
        await flying
    assert sum(table.num_rows for table in rows) == pages * PAGE_BARS
    return now_secs()


@pytest.mark.parametrize(
    ("commit_secs", "pause_secs"),
    [(1 / 64, 2), (1 / 8, 2), (1, 9), (3, 27), (20, 60)],  # binary numbers without rest, as the timers of the loop
    ids=["at once", "quick", "slow", "slower", "slowest"],
)
@pytest.mark.parametrize("is_full", [False, True], ids=["stored", "cannot be stored"])
def test_between_checkpoints_passes_nine_times_what_one_took_but_two_seconds_at_least_and_a_minute_at_most(
    commit_secs, pause_secs, is_full
):
    @in_virtual_time
    async def run() -> None:
        storage = SlowStorage(commit_secs, is_full=is_full)
        await fly(storage, 200)  # a page each second

        first, *others = storage.pauses_secs(until_secs=200)
        assert first == 2
        assert len(others) >= 2
        assert set(others) == {pause_secs}

    run()


@in_virtual_time
async def test_a_day_that_takes_long_to_write_takes_a_tenth_of_the_time():
    storage = SlowStorage(3, is_full=False)

    took_secs = await fly(storage, 500)

    assert sum(end - begin for begin, end in storage.commits) < 0.11 * took_secs
