"""A local exchange that speaks real exchanges' wire formats.

```python
async with ExchangeSimulator(venue="binance", seed=1).serve() as simulator:
    ...  # point the unmodified CCXT class at simulator.base_url
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cb_trade_simulator.clock import Clock, ManualClock, RunningClock, SystemClock
from cb_trade_simulator.errors import (
    BadFaultError,
    BrokenVenueError,
    SimulatorError,
    UnknownSymbolError,
    UnknownTimeframeError,
    UnknownVenueError,
)

if TYPE_CHECKING:
    from cb_trade_simulator.simulator import ExchangeSimulator

__all__ = [
    "BadFaultError",
    "BrokenVenueError",
    "Clock",
    "ExchangeSimulator",
    "ManualClock",
    "RunningClock",
    "SimulatorError",
    "SystemClock",
    "UnknownSymbolError",
    "UnknownTimeframeError",
    "UnknownVenueError",
]


def __getattr__(name: str) -> object:
    # `cb-trade --help` imports this package for its command; aiohttp and numpy wait until someone runs it.
    if name == "ExchangeSimulator":
        from cb_trade_simulator.simulator import ExchangeSimulator

        return ExchangeSimulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
