"""Ways an exchange can misbehave. Each is a small object that stands between the venue's answer and the client."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from cb_trade_simulator.venues.venue import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


class Fault(Protocol):
    """One kind of misbehaviour."""

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], /) -> Answer:
        """Return what the client gets; call *venue_answer* only if the venue's own answer is wanted."""
        ...


@dataclass(frozen=True)
class StatusFault:
    """An HTTP status instead of an answer: 429 with `Retry-After`, 418, 503, …"""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, _venue_answer: Callable[[], Awaitable[Answer]], /) -> Answer:
        return Answer(self.body.encode(), self.status, dict(self.headers))


@dataclass(frozen=True)
class BodyFault:
    """HTTP 200 with a body of one's own: a page of HTML, JSON cut in the middle, nothing."""

    body: str
    content_type: str = "text/html"

    async def answer(self, _venue_answer: Callable[[], Awaitable[Answer]], /) -> Answer:
        return Answer(self.body.encode(), content_type=self.content_type)


@dataclass(frozen=True)
class RowsFault:
    """The venue's answer with its parsed JSON changed by *change*: null prices, duplicates, rows off the grid, …"""

    change: Callable[[Any], Any]

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], /) -> Answer:
        honest = await venue_answer()
        return replace(honest, body=orjson.dumps(self.change(orjson.loads(honest.body))))


class Faults:
    """Which calls go wrong next, and how."""

    def __init__(self) -> None:
        self._pending: defaultdict[str, list[_Pending]] = defaultdict(list)

    def inject(self, fault: Fault, endpoint: str, times: int | None) -> None:
        """Let the next *times* calls of *endpoint* meet *fault* (None: all from now on), after those queued before."""
        if times is None or times > 0:
            self._pending[endpoint].append(_Pending(fault, times))

    def clear(self) -> None:
        """Forget everything that has not happened yet."""
        self._pending.clear()

    def take(self, endpoint: str) -> Fault | None:
        """Return the fault that the next call of *endpoint* meets, if any, and count it as met."""
        queue = self._pending[endpoint]
        if not queue:
            return None
        pending = queue[0]
        if pending.times is not None:
            pending.times -= 1
            if pending.times == 0:
                queue.pop(0)
        return pending.fault


@dataclass(slots=True)
class _Pending:
    fault: Fault
    times: int | None
