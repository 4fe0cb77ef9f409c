"""How late the event loop comes to what is due: the one figure that tells that something holds everybody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from cb_trade_data.api.tally import Distribution

_EVERY_SECS: Final = 0.25


@asynccontextmanager
async def measuring_loop_lag(lag_secs: Distribution) -> AsyncIterator[None]:
    """Add to *lag_secs*, four times a second, how late a timer was, for as long as the context lasts."""

    async def measure() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY_SECS
            await asyncio.sleep(_EVERY_SECS)
            lag_secs.add(max(0.0, loop.time() - due))

    measuring = asyncio.create_task(measure())
    try:
        yield
    finally:
        measuring.cancel()
