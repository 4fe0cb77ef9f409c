"""What has arrived for one request and was not yet looked at."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from cb_trade_client.fields import Message
from cb_trade_client.landing import Landing


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message that answers a request.

    Attributes:
        binary: The binary message that belongs to it; None where there is none.
        size_bytes: How much both were on the wire.
    """

    message: Message
    binary: memoryview | None
    size_bytes: int


class Inbox:
    """Holds arrivals in order until they are taken, and after the last one the error that ended them."""

    def __init__(self, landing: Landing, on_taken: Callable[[int], None]) -> None:
        """*on_taken* is told the size of each arrival that leaves, in bytes."""
        self.landing = landing
        self._on_taken = on_taken
        self._arrivals: deque[Arrival] = deque()
        self._end: Exception | None = None
        self._news = asyncio.Event()

    def put(self, arrival: Arrival) -> None:
        """Add an arrival."""
        self._arrivals.append(arrival)
        self._news.set()

    def clear(self) -> None:
        """Let go of what was not taken."""
        while self._arrivals:
            self._on_taken(self._arrivals.popleft().size_bytes)

    def end(self, error: Exception) -> None:
        """Let nothing follow but *error*; the first one counts."""
        self._end = self._end or error
        self._news.set()

    async def take(self) -> Arrival:
        """Return the oldest arrival, waiting for it.

        Raises:
            Exception: All were taken and none can follow: what `end` was told, a `CbTradeError` but for our own faults.
        """
        while not self._arrivals:
            if self._end is not None:
                raise self._end
            self._news.clear()
            await self._news.wait()
        arrival = self._arrivals.popleft()
        self._on_taken(arrival.size_bytes)
        return arrival
