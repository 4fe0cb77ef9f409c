"""Times at which a whole venue stood still: nothing was traded and no candle exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import numpy.typing as npt

    from cb_trade_simulator.markets.timeframes import Instants


@dataclass(frozen=True, slots=True)
class Outage:
    """One standstill: from *start* (inclusive) to *end* (exclusive), whole minutes, aware UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.second or self.end.second or self.start >= self.end:
            raise ValueError(f"an outage lasts whole minutes, at least one: {self.start} to {self.end}")


def hit_by(outages: Iterable[Outage], minutes: Instants) -> npt.NDArray[np.bool_]:
    """Return for each minute (its open time in milliseconds) whether it lies in an outage."""
    hit = np.zeros(len(minutes), np.bool_)
    for outage in outages:
        hit |= (to_milliseconds(outage.start) <= minutes) & (minutes < to_milliseconds(outage.end))
    return hit
