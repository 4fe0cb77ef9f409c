from __future__ import annotations

import asyncio

from virtual_time import VirtualTimeLoop, in_virtual_time

from cb_trade_data.api.loop_lag import measuring_loop_lag
from cb_trade_data.api.tally import Distribution


def hold_up(secs: float) -> None:
    """Do what takes so long that nobody else gets a turn."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.let_pass(secs)


@in_virtual_time
async def test_what_holds_the_event_loop_up_shows_as_a_lag():
    lag_secs = Distribution((0.1, 1.0))

    async with measuring_loop_lag(lag_secs):
        await asyncio.sleep(1.01)
        assert lag_secs.counts == [4, 0, 0]
        hold_up(2.0)
        await asyncio.sleep(0.3)

    assert lag_secs.counts == [5, 0, 1]
    assert 1.5 < lag_secs.sum < 2


@in_virtual_time
async def test_measuring_ends_with_its_context():
    lag_secs = Distribution((0.1,))

    async with measuring_loop_lag(lag_secs):
        await asyncio.sleep(0.3)
    await asyncio.sleep(10)

    assert sum(lag_secs.counts) == 1
