"""What was asked of the exchange: counted, remembered and, if a test wishes, awaited or held back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CALLS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it arrived."""

    path: str
    query: Mapping[str, str]
    arrived_secs: float  # by time.monotonic


class Calls:
    """The calls that have arrived since the start or the last reset, answered or not."""

    def __init__(self) -> None:
        self._by_endpoint: Counter[str] = Counter()
        self._records: defaultdict[str, deque[Call]] = defaultdict(_bounded)
        self._waiters: list[_Waiter] = []

    @property
    def total(self) -> int:
        """How many calls have arrived."""
        return self._by_endpoint.total()

    @property
    def by_endpoint(self) -> Counter[str]:
        """How many calls have arrived at each endpoint; 0 for one never called. A copy."""
        return self._by_endpoint.copy()

    def queries(self, endpoint: str) -> list[dict[str, str]]:
        """Return the parameters of the endpoint's calls, oldest first; of the last 10,000 if there were more."""
        return [dict(call.query) for call in self._records[endpoint]]

    def paths(self, endpoint: str) -> list[str]:
        """Return the addresses of the endpoint's calls, oldest first; of the last 10,000 if there were more."""
        return [call.path for call in self._records[endpoint]]

    def times(self, endpoint: str) -> list[float]:
        """Return when the endpoint's calls arrived, in `time.monotonic` seconds, ascending; of the last 10,000."""
        return [call.arrived_secs for call in self._records[endpoint]]

    def reset(self) -> None:
        """Forget all calls. Whoever waits for a number of calls goes on waiting for it."""
        self._by_endpoint.clear()
        self._records.clear()

    def arrive(self, endpoint: str, query: Mapping[str, str], path: str = "") -> int:
        """Count a call and return its number at its endpoint, from 1."""
        self._by_endpoint[endpoint] += 1
        self._records[endpoint].append(Call(path, dict(query), time.monotonic()))
        number = self._by_endpoint[endpoint]
        for waiter in self._waiters:
            if waiter.endpoint == endpoint and waiter.number <= number and not waiter.arrived.done():
                waiter.arrived.set_result(None)
        return number

    async def wait_for(self, endpoint: str, number: int) -> None:
        """Return once that many calls have arrived at *endpoint*, at once if they already have."""
        if self._by_endpoint[endpoint] >= number:
            return
        waiter = _Waiter(endpoint, number, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter.arrived
        finally:
            self._waiters.remove(waiter)


class Gates:
    """Holds calls back at closed gates, one gate per endpoint."""

    def __init__(self) -> None:
        self._gates: dict[str, _Gate] = {}

    def close(self, endpoint: str, after: int) -> None:
        """Hold the calls of *endpoint* whose number is above *after*. Closing a closed gate moves the limit."""
        if endpoint in self._gates:
            self._gates[endpoint].after = after
        else:
            self._gates[endpoint] = _Gate(after, asyncio.Event())

    def open(self, endpoint: str) -> None:
        """Let all calls of *endpoint* go on; nothing if none are held."""
        if gate := self._gates.pop(endpoint, None):
            gate.opened.set()

    def open_all(self) -> None:
        """Let all calls go on."""
        for endpoint in list(self._gates):
            self.open(endpoint)

    async def passed(self, endpoint: str, number: int) -> None:
        """Return when the call with this number may go on."""
        gate = self._gates.get(endpoint)
        if gate and number > gate.after:
            await gate.opened.wait()


@dataclass(slots=True, eq=False)
class _Waiter:
    endpoint: str
    number: int
    arrived: asyncio.Future[None]


@dataclass(slots=True)
class _Gate:
    after: int
    opened: asyncio.Event


def _bounded() -> deque[Call]:
    return deque(maxlen=CALLS_REMEMBERED)
