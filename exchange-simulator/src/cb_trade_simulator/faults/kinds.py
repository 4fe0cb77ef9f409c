"""What can happen to one call. Each is a small object that stands between the venue's answer and the client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from cb_trade_simulator.venues.row_shape import NO_ROWS
from cb_trade_simulator.venues.venue import Answer, Ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cb_trade_simulator.venues.row_shape import RowShape
    from cb_trade_simulator.venues.venue import Question, Venue


@dataclass(frozen=True, slots=True)
class Asked:
    """The call that meets a fault."""

    venue: Venue
    question: Question
    now_ms: int

    @property
    def row_shape(self) -> RowShape:
        return self.venue.row_shapes.get(self.venue.endpoint(self.question) or "", NO_ROWS)


class Fault(Protocol):
    """One kind of misbehaviour."""

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], asked: Asked, /) -> Answer:
        """Return what the client gets; call *venue_answer* only if the venue's own answer is wanted."""
        ...


@dataclass(frozen=True)
class StatusFault:
    """An HTTP status instead of an answer: 429 with `Retry-After`, 418, 503, …"""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, _venue_answer: Callable[[], Awaitable[Answer]], _asked: Asked, /) -> Answer:
        return Answer(self.body.encode(), self.status, dict(self.headers))


@dataclass(frozen=True)
class TooManyFault:
    """What the venue itself says to a client that asks too much, with `Retry-After` if that is given.

    A venue that says so with another status than 429 says it with an empty 429 here, if *plainly* so.
    """

    retry_after_secs: int | None = None
    plainly: bool = True

    async def answer(self, _venue_answer: Callable[[], Awaitable[Answer]], asked: Asked, /) -> Answer:
        own = asked.venue.refuse_too_many(asked.question, asked.now_ms, self.retry_after_secs)
        if own.status == 429 or not self.plainly:
            return own
        headers = {} if self.retry_after_secs is None else {"Retry-After": str(self.retry_after_secs)}
        return Answer(b"", 429, headers)


@dataclass(frozen=True)
class BodyFault:
    """HTTP 200 with a body of one's own: a page of HTML, JSON cut in the middle, nothing."""

    body: str
    content_type: str = "text/html"

    async def answer(self, _venue_answer: Callable[[], Awaitable[Answer]], _asked: Asked, /) -> Answer:
        return Answer(self.body.encode(), content_type=self.content_type)


@dataclass(frozen=True)
class HalfBodyFault:
    """HTTP 200 and the first half of the honest body, as if that were all: JSON that does not end."""

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], _asked: Asked, /) -> Answer:
        honest = await venue_answer()
        return replace(honest, body=honest.body[: len(honest.body) // 2])


@dataclass(frozen=True)
class EndingFault:
    """The honest answer on a connection that is cut, reset or hangs."""

    ending: Ending

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], _asked: Asked, /) -> Answer:
        return replace(await venue_answer(), ending=self.ending)


@dataclass(frozen=True)
class HangFault:
    """The honest answer, so many seconds late."""

    secs: float

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], _asked: Asked, /) -> Answer:
        await asyncio.sleep(self.secs)
        return await venue_answer()


@dataclass(frozen=True)
class RowsFault:
    """The venue's answer with its parsed JSON changed by *change*: whatever a test can think of."""

    change: Callable[[Any], Any]

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], _asked: Asked, /) -> Answer:
        honest = await venue_answer()
        return replace(honest, body=orjson.dumps(self.change(orjson.loads(honest.body))))


@dataclass(frozen=True)
class SpoiltRowsFault:
    """The venue's answer with its list of rows spoilt by *spoil*, wherever that list is.

    Refusals stay as they are, and so do answers of which nobody has said where their rows are.

    Args:
        spoil: Gets the rows in the order of the wire and their shape, and changes the list in place.
    """

    spoil: Callable[[list[Any], RowShape], None]

    async def answer(self, venue_answer: Callable[[], Awaitable[Answer]], asked: Asked, /) -> Answer:
        honest = await venue_answer()
        if honest.status != 200:
            return honest
        document = orjson.loads(honest.body)
        rows = asked.row_shape.find(document)
        if not rows:
            return honest
        self.spoil(rows, asked.row_shape)
        return replace(honest, body=orjson.dumps(document))
