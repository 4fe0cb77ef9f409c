"""Ways an exchange can misbehave, from a status code to a market that ends."""

from __future__ import annotations

from cb_trade_simulator.faults.events import Bursting, Delisting, LateQuietMinutes, MarketEvent, Relisting, Restating
from cb_trade_simulator.faults.kinds import (
    BodyFault,
    EndingFault,
    Fault,
    HangFault,
    RowsFault,
    StatusFault,
    TooManyFault,
)
from cb_trade_simulator.faults.pending import Faults
from cb_trade_simulator.faults.spelling import Injection, parse

__all__ = [
    "BodyFault",
    "Bursting",
    "Delisting",
    "EndingFault",
    "Fault",
    "Faults",
    "HangFault",
    "Injection",
    "LateQuietMinutes",
    "MarketEvent",
    "Relisting",
    "Restating",
    "RowsFault",
    "StatusFault",
    "TooManyFault",
    "parse",
]
