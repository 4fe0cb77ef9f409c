"""Faults as one writes them by hand: `429:0.1`, `429=7`, `hang:0.01`, `null@klines`, `delist=SOL/USDT,2023-01-01`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cb_trade_simulator.errors import BadFaultError
from cb_trade_simulator.faults import rows
from cb_trade_simulator.faults.events import Bursting, Delisting, LateQuietMinutes, MarketEvent, Relisting, Restating
from cb_trade_simulator.faults.kinds import (
    BodyFault,
    EndingFault,
    Fault,
    HalfBodyFault,
    HangFault,
    SpoiltRowsFault,
    StatusFault,
    TooManyFault,
)
from cb_trade_simulator.venues.venue import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

CANDLES = "klines"
HTML = "<html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"

KINDS: dict[str, Callable[[], Fault]] = {
    "too-many": lambda: TooManyFault(plainly=False),
    "hang": lambda: EndingFault(Ending.HANG),
    "reset": lambda: EndingFault(Ending.RESET),
    "truncated": lambda: EndingFault(Ending.CUT),
    "cut-json": HalfBodyFault,
    "html": lambda: BodyFault(HTML),
    "empty": lambda: SpoiltRowsFault(rows.drop),
    "duplicate": lambda: SpoiltRowsFault(rows.duplicate),
    "conflict": lambda: SpoiltRowsFault(rows.conflict),
    "stray": lambda: SpoiltRowsFault(rows.stray),
    "missing": lambda: SpoiltRowsFault(rows.leave_out),
    "null": lambda: SpoiltRowsFault(rows.null_prices),
    "unsorted": lambda: SpoiltRowsFault(rows.unsort),
    "off-grid": lambda: SpoiltRowsFault(rows.shift_off_grid),
    "unit": lambda: SpoiltRowsFault(rows.change_unit),
}
"""The faults that take no value. Beside them: any status from 400 on, `429=SECS`, `418=SECS`, `hang=SECS`."""

CALL_SPELLING = re.compile(
    r"(?P<kind>[a-z0-9-]+)(=(?P<value>[0-9.]+))?(:(?P<chance>[0-9.]+))?(@(?P<endpoint>[\w*-]+))?"
)


@dataclass(frozen=True)
class Injection:
    """A fault of calls, and which of them meet it."""

    fault: Fault
    endpoint: str = CANDLES
    probability: float = 1.0


def parse(text: str) -> Injection | MarketEvent:
    """Return what *text* spells: `KIND[=VALUE][:PROBABILITY][@ENDPOINT]`, or an event of a market.

    Events are `late=MINUTES`, `burst=SYMBOL,AT,TRADES`, `delist=SYMBOL,AT[,vanishes]`, `relist=SYMBOL,END,BEGIN` and
    `restate=SYMBOL,START,END,AT`, with times in ISO 8601 (UTC unless they say otherwise).

    Raises:
        BadFaultError: It spells nothing.
    """
    name, _, values = text.partition("=")
    try:
        if name in EVENTS:
            return EVENTS[name](values.split(","))
        return _injection(text)
    except ValueError as problem:
        raise BadFaultError(text, str(problem)) from problem


def _injection(text: str) -> Injection:
    match = CALL_SPELLING.fullmatch(text)
    if match is None:
        raise ValueError("write KIND[=VALUE][:PROBABILITY][@ENDPOINT]")
    chance = float(match["chance"] or 1)
    if chance > 1:
        raise ValueError("a probability is at most 1")
    return Injection(_fault(match["kind"], match["value"]), match["endpoint"] or CANDLES, chance)


def _fault(kind: str, value: str | None) -> Fault:
    if re.fullmatch("[45][0-9]{2}", kind):
        return _status(int(kind), value)
    if kind == "hang" and value:
        return HangFault(float(value))
    if kind not in KINDS:
        known = ", ".join((*KINDS, *EVENTS))
        raise ValueError(f"there is: a status such as 429 or 503, {known}")
    if value:
        raise ValueError(f"{kind} takes no value")
    return KINDS[kind]()


def _status(status: int, retry_after: str | None) -> Fault:
    if status == 429:
        return TooManyFault(int(retry_after) if retry_after else None)
    return StatusFault(status, headers={"Retry-After": str(int(retry_after))} if retry_after else {})


def _late(values: list[str]) -> MarketEvent:
    (minutes,) = values
    return LateQuietMinutes(int(minutes))


def _delist(values: list[str]) -> MarketEvent:
    symbol, at, *rest = values
    if rest not in ([], ["vanishes"]):
        raise ValueError("write delist=SYMBOL,AT or delist=SYMBOL,AT,vanishes")
    return Delisting(symbol, _moment(at), vanishes=bool(rest))


def _relist(values: list[str]) -> MarketEvent:
    symbol, end, begin = values
    return Relisting(symbol, _moment(end), _moment(begin))


def _restate(values: list[str]) -> MarketEvent:
    symbol, start, end, at = values
    return Restating(symbol, _moment(start), _moment(end), _moment(at))


def _burst(values: list[str]) -> MarketEvent:
    symbol, at, trades = values
    return Bursting(symbol, _moment(at), int(trades))


EVENTS: dict[str, Callable[[list[str]], MarketEvent]] = {
    "late": _late,
    "delist": _delist,
    "relist": _relist,
    "restate": _restate,
    "burst": _burst,
}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
