"""Which aggregate trades a client of Binance wants.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Compressed-Aggregate-Trades-List
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cb_trade_simulator.clock import HOUR_MS, MS_NS
from cb_trade_simulator.venues.binance.parameters import bad_combination, span_too_long, start_after_end

if TYPE_CHECKING:
    from cb_trade_simulator.markets.candle import Rows
    from cb_trade_simulator.markets.tape import Tape
    from cb_trade_simulator.venues.binance.parameters import Parameters


@dataclass(frozen=True, slots=True)
class AggregatesWanted:
    """So many trades of [start, end), from an id on: the oldest if the client says where to begin, else the newest."""

    symbol: str
    limit: int
    start_ms: int
    end_ms: int
    from_id: int
    from_the_oldest: bool

    def rows(self, tape: Tape) -> Rows:
        """Return them, oldest first."""
        start_ns, end_ns = self.start_ms * MS_NS, self.end_ms * MS_NS
        if self.from_the_oldest:
            return tape.oldest(self.limit, start_ns, end_ns, self.from_id)
        return tape.newest(self.limit, end_ns, start_ns)


def aggregates_wanted(
    parameters: Parameters, now_ms: int, since_ms: int = 0, most_ms: int | None = None
) -> AggregatesWanted:
    """Read a query: `fromId`, `startTime` and `endTime` are all inclusive, and the id comes without the times.

    Args:
        parameters: The query.
        now_ms: Nothing later exists.
        since_ms: Nothing earlier is kept.
        most_ms: How far apart the two times may be, if anyone cares.
    """
    symbol = parameters.symbol()
    from_id = parameters.number("fromId")
    start_ms, end_ms = parameters.instant("startTime"), parameters.instant("endTime")
    limit = parameters.limit(default=500, most=1000)
    parameters.refuse_unread()
    if from_id is not None and (start_ms is not None or end_ms is not None):
        raise bad_combination()
    if start_ms is not None and end_ms is not None:
        if start_ms > end_ms:
            raise start_after_end()
        if most_ms is not None and end_ms - start_ms > most_ms:
            raise span_too_long(most_ms // HOUR_MS)
    return AggregatesWanted(
        symbol=symbol,
        limit=limit,
        start_ms=max(start_ms or 0, since_ms),
        end_ms=now_ms + 1 if end_ms is None else min(end_ms, now_ms) + 1,
        from_id=from_id or 0,
        from_the_oldest=start_ms is not None or from_id is not None,
    )
