"""What an answer reads before its turn has come."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from cb_trade_data.models.partition import Partition, first_partition_of
from cb_trade_data.models.series import Series
from cb_trade_data.models.time_range import TimeRange
from cb_trade_data.storage.interfaces import IStorageManager
from cb_trade_data.storage.series_facts import SeriesFacts
from cb_trade_data.storage.stored_partition import StoredPartition

#: Two months of minutes, 4 MB: they are decoded while one is sent. Of larger partitions, none.
BARS_AHEAD_MAX: Final = 2 * 31 * 1_440


@dataclass(frozen=True)
class _Reading:
    part: TimeRange
    rest: TimeRange | None  # what comes after it
    task: asyncio.Task[StoredPartition]


class ReadAhead:
    """Reads the next partitions of an answer beside what is sent, which they never hold up."""

    def __init__(self, series: Series, storage: IStorageManager) -> None:
        self._series = series
        self._storage = storage
        self._readings: deque[_Reading] = deque()
        self._one_at_a_time = asyncio.Lock()

    def begin(self, rest: TimeRange, facts: SeriesFacts) -> None:
        """Have the first partitions of *rest* read, as many as there may be; those before listing are not worth it."""
        last = self._readings[-1] if self._readings else None
        following = rest if last is None else last.rest
        room = BARS_AHEAD_MAX - sum(self._series.grid.bars_in(each.part) for each in self._readings)
        while following is not None and facts.absence_at(following.start) is None:
            partition, part, after = first_partition_of(self._series, following)
            room -= self._series.grid.bars_in(part)
            if room < 0:
                return
            task = asyncio.create_task(self._read(partition, part))
            self._readings.append(_Reading(part, after, task))
            following = after

    async def _read(self, partition: Partition, part: TimeRange) -> StoredPartition:
        # Two at once would take the memory for decoding twice: see `bench stream --only memory`.
        async with self._one_at_a_time:
            return await self._storage.read_if_possible(partition, part)

    async def take(self, partition: Partition, part: TimeRange) -> StoredPartition:
        """Return the newest of what is stored of *part*, whose turn has come: read ahead, or now."""
        while self._readings and self._readings[0].part != part:  # it was passed over since
            _give_up(self._readings.popleft())
        known = None
        if self._readings:
            known = await self._readings[0].task
            self._readings.popleft()  # not before: who is cancelled while waiting gives it up
        # It may be minutes since it was read: a client takes its time.
        return await self._storage.read_if_possible(partition, part, known=known)

    def give_up(self) -> None:
        """End what is under way; nobody wants to know how it went."""
        while self._readings:
            _give_up(self._readings.popleft())


def _give_up(reading: _Reading) -> None:
    reading.task.cancel()
    reading.task.add_done_callback(lambda task: task.cancelled() or task.exception())
