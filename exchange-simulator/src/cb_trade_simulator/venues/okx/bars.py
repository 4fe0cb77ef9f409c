"""OKX's candle lengths: from six hours on they follow Hong Kong's clocks, unless their `utc` forms are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cb_trade_simulator.markets.timeframes import TIMEFRAMES, CalendarMonths, InZone

if TYPE_CHECKING:
    from cb_trade_simulator.markets.timeframes import Timeframe

HONG_KONG_HOURS = 8
SHORT = {"1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h", "4H": "4h"}
LONG = {"6H": "6h", "12H": "12h", "1D": "1d", "1W": "1w", "1M": "1M", "3M": "3M"}


def in_hong_kong(name: str) -> str:
    """Return the name of a timeframe by Hong Kong's clocks: `1d@UTC+8`."""
    return f"{name}@UTC+{HONG_KONG_HOURS}"


_UTC: dict[str, Timeframe] = {**TIMEFRAMES, "3M": CalendarMonths(3)}

OKX_TIMEFRAMES: dict[str, Timeframe] = {
    **{name: _UTC[name] for name in (*SHORT.values(), *LONG.values())},
    **{in_hong_kong(name): InZone(_UTC[name], HONG_KONG_HOURS) for name in LONG.values()},
}

BARS = {
    **SHORT,
    **{f"{bar}utc": name for bar, name in LONG.items()},
    **{bar: in_hong_kong(name) for bar, name in LONG.items()},
}
"""The unified name of each `bar` on the wire."""
