"""What every simulated exchange offers to the server that carries its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cb_trade_simulator.limits import Allowance
    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.outages import Outage
    from cb_trade_simulator.markets.timeframes import Timeframe
    from cb_trade_simulator.venues.row_shape import RowShape


@dataclass(frozen=True, slots=True)
class Question:
    """One HTTP GET, as a venue sees it."""

    host: str
    path: str  # with its leading slash
    query: Mapping[str, str]


class Ending(Enum):
    """How the connection fares while an answer goes out."""

    WHOLE = "whole"  # as it should
    CUT = "cut"  # closed after half of the body that the headers promise
    RESET = "reset"  # reset before a byte of the answer
    HANG = "hang"  # nothing is ever sent


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    ending: Ending = Ending.WHOLE


class Venue(Protocol):
    """One exchange: its routes, its rules for parameters, its errors and the format of its rows.

    Endpoints bear the same names on every venue where they mean the same: `klines` for candles, `fundingRate` for the
    funding of the past, `trades` for trades, `exchangeInfo` for the list of markets, `time` for the clock.
    """

    outages: ClassVar[tuple[Outage, ...]]
    """When nothing trades."""
    markets: ClassVar[tuple[Market, ...]]
    """What is traded unless the simulator is given other markets."""
    timeframes: ClassVar[Mapping[str, Timeframe]]
    """The candle lengths on offer, by unified name; a day by other clocks than UTC's is `1d@UTC+8`."""
    fills_quiet_minutes: ClassVar[bool]
    """Whether a minute without trades has a flat candle, or none."""
    allowances: ClassVar[Mapping[str, Allowance]]
    """How much may be asked, by the name of what is counted together."""
    row_shapes: ClassVar[Mapping[str, RowShape]]
    """Where the rows are in an answer, by endpoint."""
    funding_jitter_ms: ClassVar[int]
    """How long after the full hour a perpetual's funding may be booked."""

    def __init__(self, histories: Iterable[History]) -> None: ...

    def endpoint(self, question: Question) -> str | None:
        """Return the name under which the call is counted; None if the venue has no such address."""
        ...

    def cost(self, question: Question) -> tuple[str, int]:
        """Return which allowance the call draws on and how much of it; one not in `allowances` is unlimited."""
        ...

    def refuse_too_many(self, question: Question, now_ms: int, retry_after_secs: int | None, /) -> Answer:
        """Return what a client hears that has used up its allowance, with `Retry-After` if that is given."""
        ...

    def answer(self, question: Question, now_ms: int) -> Answer:
        """Return the venue's answer at its time *now_ms*, refusals included. May take a second: run it in a thread."""
        ...
