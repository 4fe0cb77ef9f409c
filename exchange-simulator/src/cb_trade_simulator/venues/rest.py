"""What the REST interfaces of exchanges have in common: addresses, refusals, and markets by their own names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import orjson

from cb_trade_simulator.markets.catalogue import SPOT
from cb_trade_simulator.venues.venue import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cb_trade_simulator.limits import Allowance
    from cb_trade_simulator.markets.history import History
    from cb_trade_simulator.markets.market import Market
    from cb_trade_simulator.markets.outages import Outage
    from cb_trade_simulator.markets.timeframes import Timeframe
    from cb_trade_simulator.venues.row_shape import RowShape
    from cb_trade_simulator.venues.venue import Question


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its handler sees it: the query, what the address names (`{id}`), and the exchange's time."""

    query: Mapping[str, str]
    named: Mapping[str, str]
    now_ms: int


class Refused(Exception):
    """The venue answers with this status and this document instead."""

    def __init__(self, document: object, status: int = 400) -> None:
        super().__init__(document, status)
        self.answer = Answer(orjson.dumps(document), status)


@dataclass(frozen=True, slots=True)
class Route:
    """One address.

    Attributes:
        endpoint: Its name in the counts.
        path: With names in braces for the parts that vary: `/products/{id}/candles`.
        handler: The name of the method that answers a `Call` with the body, or with an `Answer` if it has headers.
        allowance: What its calls draw on.
        weight: How much of it.
        pattern: The path as a regular expression.
    """

    endpoint: str
    path: str
    handler: str
    allowance: str = "calls"
    weight: int = 1

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


class RestVenue:
    """An exchange made of routes. A venue inherits this and supplies its facts, `market_id` and its handlers."""

    outages: ClassVar[tuple[Outage, ...]] = ()
    markets: ClassVar[tuple[Market, ...]] = SPOT
    timeframes: ClassVar[Mapping[str, Timeframe]]
    fills_quiet_minutes: ClassVar[bool] = True
    funding_jitter_ms: ClassVar[int] = 0
    allowances: ClassVar[Mapping[str, Allowance]]
    row_shapes: ClassVar[Mapping[str, RowShape]]
    hosts: ClassVar[frozenset[str]]
    routes: ClassVar[tuple[Route, ...]]
    not_found: ClassVar[Answer] = Answer(b"<html><body><h2>404 Not found</h2></body></html>", 404, {}, "text/html")

    def __init__(self, histories: Iterable[History]) -> None:
        self.histories = {self.market_id(history.market): history for history in histories}

    @staticmethod
    def market_id(market: Market) -> str:
        """Return the venue's own name of a market, unique among all its markets."""
        raise NotImplementedError

    def too_many(self, now_ms: int) -> Refused:
        """Return the refusal of a client that has used up its allowance."""
        raise NotImplementedError

    def endpoint(self, question: Question) -> str | None:
        found = self._find(question)
        return found[0].endpoint if found else None

    def cost(self, question: Question) -> tuple[str, int]:
        found = self._find(question)
        return (found[0].allowance, found[0].weight) if found else ("", 0)

    def refuse_too_many(self, _question: Question, now_ms: int, retry_after_secs: int | None) -> Answer:
        refusal = self.too_many(now_ms).answer
        if retry_after_secs is None or refusal.status == 200:
            return refusal
        return Answer(refusal.body, refusal.status, {"Retry-After": str(retry_after_secs)})

    def answer(self, question: Question, now_ms: int) -> Answer:
        found = self._find(question)
        if found is None:
            return self.not_found
        route, named = found
        handler: Callable[[Call], bytes | Answer] = getattr(self, route.handler)
        try:
            told = handler(Call(question.query, named, now_ms))
            return told if isinstance(told, Answer) else Answer(told)
        except Refused as refusal:
            return refusal.answer

    def known(self, now_ms: int) -> Iterable[tuple[str, History]]:
        """Yield the names and histories of the markets that the venue knows at *now_ms*."""
        return ((name, history) for name, history in self.histories.items() if history.is_known(now_ms))

    def history(self, market_id: str, now_ms: int, unknown: Refused) -> History:
        """Return the history of a market that the venue knows at *now_ms*. Raises *unknown* for another."""
        history = self.histories.get(market_id)
        if history is None or not history.is_known(now_ms):
            raise unknown
        return history

    def _find(self, question: Question) -> tuple[Route, Mapping[str, str]] | None:
        if question.host not in self.hosts:
            return None
        for route in self.routes:
            if match := route.pattern.fullmatch(question.path):
                return route, match.groupdict()
        return None


LATEST_MS = 253_402_300_799_999  # the end of year 9999: whatever lies beyond is as far away


def whole_number(text: str | None, refusal: Refused, at_most: int = LATEST_MS, *, signed: bool = False) -> int | None:
    """Return a number out of a query, at most *at_most* and at least zero; None if it was not sent.

    Raises *refusal* for anything that is not a whole number; a negative one passes (as zero) only if it may be
    *signed*: CCXT asks some venues from one candle before the wanted one, which may lie before 1970.
    """
    if text is None:
        return None
    if not re.fullmatch("-?[0-9]{1,24}" if signed else "[0-9]{1,24}", text, re.ASCII):
        raise refusal
    return max(0, min(int(text), at_most))
