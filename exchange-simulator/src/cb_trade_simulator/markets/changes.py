"""What befalls a market while it is watched: it ends, begins anew, is corrected, or is slow to publish."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cb_trade_simulator.clock import MINUTE_MS

if TYPE_CHECKING:
    from cb_trade_simulator.markets.candle import Rows


@dataclass(frozen=True, slots=True)
class Life:
    """One market of the name, traded from *begin_ms* (inclusive) to *end_ms* (exclusive; None: still)."""

    begin_ms: int
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Restatement:
    """From *at_ms* on, the candles that open in [start, end) have other values than those told before."""

    start_ms: int
    end_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Burst:
    """A minute has at least so many trades, and all of them at one instant of it."""

    at_ms: int
    trades: int


@dataclass(slots=True)
class Changes:
    """All that has been decreed for one market.

    Attributes:
        lives: The markets that have borne the name, in order.
        vanishes: Whether the venue does not know the name any more after the end of the last one.
        restatements: Corrections, in the order in which they were decreed.
        quiet_delay_ms: How long after its close a minute without trades is published.
        bursts: Which minutes (by open time) have all their trades at once.
        recorded_funding: The funding that is told instead of a made one, oldest first; None for the made one.
    """

    lives: tuple[Life, ...]
    vanishes: bool = False
    restatements: list[Restatement] = field(default_factory=list)
    quiet_delay_ms: int = 0
    bursts: dict[int, Burst] = field(default_factory=dict)
    recorded_funding: Rows | None = None

    @property
    def ended_ms(self) -> int | None:
        """When the last market of the name ended; None if it still trades."""
        return self.lives[-1].end_ms

    def touches(self, start_ms: int, end_ms: int, now_ms: int) -> bool:
        """Return whether minutes in [start, end) have been restated by now."""
        return any(r.at_ms <= now_ms and r.start_ms < end_ms and start_ms < r.end_ms for r in self.restatements)

    def burst(self, minutes: Rows) -> Rows:
        """Return *minutes* with as many trades as a burst brings."""
        hit = np.isin(minutes["timestamp"], list(self.bursts))
        if not hit.any():
            return minutes
        minutes = minutes.copy()
        minutes["trades"][hit] = np.maximum(
            minutes["trades"][hit], [self.bursts[at].trades for at in minutes["timestamp"][hit].tolist()]
        )
        minutes["volume"] = np.maximum(minutes["volume"], minutes["trades"])  # no trade is smaller than one step
        minutes["quote_volume"][hit] = minutes["volume"][hit] * minutes["close"][hit]
        minutes.flags.writeable = False
        return minutes

    def published(self, minutes: Rows, now_ms: int) -> Rows:
        """Return those of *minutes* that the venue shows at *now_ms*."""
        if not self.quiet_delay_ms:
            return minutes
        late = minutes["timestamp"] + MINUTE_MS + self.quiet_delay_ms > now_ms
        shown: Rows = minutes[~(late & (minutes["trades"] == 0))]
        return shown

    def restated(self, minutes: Rows, now_ms: int) -> Rows:
        """Return *minutes* with the values that the venue stands by at *now_ms*."""
        for restatement in self.restatements:
            if restatement.at_ms <= now_ms:
                minutes = _restated(minutes, restatement)
        return minutes


def _restated(minutes: Rows, restatement: Restatement) -> Rows:
    """Return *minutes* with a higher high and more volume where the restatement says so and there was a trade."""
    hit = (minutes["timestamp"] >= restatement.start_ms) & (minutes["timestamp"] < restatement.end_ms)
    hit &= minutes["trades"] > 0
    if not hit.any():
        return minutes
    restated = minutes.copy()
    restated["high"][hit] += 1
    restated["volume"][hit] += 1
    restated["quote_volume"][hit] += restated["close"][hit]
    return restated
