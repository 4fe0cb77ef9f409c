"""The fetcher: one flight per partition at a time, however many ask for it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Final

from cb_trade_data.exchange_source.interfaces import IDataSourceConnector
from cb_trade_data.historical.findings import Finding
from cb_trade_data.historical.flight import Flight
from cb_trade_data.historical.reach import Reach
from cb_trade_data.historical.series_register import SeriesRegister
from cb_trade_data.models.partition import Partition
from cb_trade_data.storage.interfaces import IStorageManager

_LANDING_SECS: Final = 5.0


class HistoricalFetcher:
    """Owns the flights. The only one who knows both storage and exchanges while rows are on their way.

    Attributes:
        findings: By exchange, how many rows of its answers showed each defect since the start.
    """

    def __init__(self, storage: IStorageManager, source: IDataSourceConnector, register: SeriesRegister) -> None:
        self._storage = storage
        self._source = source
        self._register = register
        self.findings: defaultdict[str, Counter[Finding]] = defaultdict(Counter)
        self._flights: dict[Partition, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def flight(self, partition: Partition, reach: Reach) -> Flight:
        """Return the flight of *partition*: the one in the air, or a new one. Join it before the next await."""
        flight = self._flights.get(partition)
        if flight is None or flight.landed:
            flight = Flight(
                partition,
                reach,
                self._storage,
                self._source,
                self._register,
                self.findings[partition.series.exchange],
            )
            self._flights[partition] = flight
            task = asyncio.create_task(self._fly(partition, flight), name=f"flight {partition}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        flight.learn(reach)
        return flight

    async def close(self) -> None:
        """End all flights. Those whose waiters have left are storing what came in, and get the time for it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LANDING_SECS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fly(self, partition: Partition, flight: Flight) -> None:
        try:
            await flight.run()
        finally:
            if self._flights.get(partition) is flight:
                del self._flights[partition]
