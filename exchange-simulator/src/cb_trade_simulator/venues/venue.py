"""What every simulated exchange offers to the server that carries its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.outages import Outage


@dataclass(frozen=True, slots=True)
class Question:
    """One HTTP GET, as a venue sees it."""

    host: str
    path: str  # with its leading slash
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class Venue(Protocol):
    """One exchange: its routes, its rules for parameters, its errors and the format of its rows."""

    outages: ClassVar[tuple[Outage, ...]]

    def __init__(self, histories: Iterable[History]) -> None: ...

    def endpoint(self, question: Question) -> str | None:
        """Return the name under which the call is counted; None if the venue has no such address."""
        ...

    def answer(self, question: Question, now_ms: int) -> Answer:
        """Return the venue's answer at its time *now_ms*, refusals included. May take a second: run it in a thread."""
        ...
