"""`cb-trade compare` at a real service, which has fetched bars and trades from a simulated exchange."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from programs import CB_TRADE, Ended, run_program
from service_harness import at

from cb_trade_simulator.faults.events import Restating

QUIET = "ADA/BTC"
START, END = at("2024-03-04"), at("2024-03-04T02:00")
CORRECTED = (START, START + timedelta(minutes=9))


@pytest.fixture
def compare(service, tmp_path) -> Callable[..., Awaitable[Ended]]:
    """Run `cb-trade compare` of two hours of minutes."""
    times = ["--start", START.isoformat(), "--end", END.isoformat()]

    async def run(*options: str) -> Ended:
        return await run_program(
            service, CB_TRADE, "compare", "binance", QUIET, "1m", *times, *options, folder=tmp_path
        )

    return run


async def test_it_tells_what_to_fetch_then_that_nothing_differs_then_which_minutes_were_corrected(
    compare, client, simulator
):
    before = await compare()
    await client.history(START, END, symbol=QUIET, kind="trades", timeframe=None)
    await client.history(START, END, symbol=QUIET)
    same = await compare()
    made = simulator.candles(QUIET, "1m", *CORRECTED)
    simulator.inject(Restating(QUIET, *CORRECTED, at("2024-03-06")))
    await client.history(START, END, symbol=QUIET, refresh=True)
    told = simulator.candles(QUIET, "1m", *CORRECTED)
    after = await compare("--json")

    assert before.exit_code == 0
    assert "fetch the trades first: cb-trade fetch binance ADA/BTC trades" in before.stderr
    assert (same.exit_code, same.stderr) == (0, "")
    assert "120 bars compared, none differs" in same.stdout
    report = json.loads(after.stdout)
    corrected = (made != told).sum()
    assert after.exit_code == 1
    assert corrected > 0
    assert (report["bars_compared"], report["bars_that_differ"]) == (120, corrected)
    assert {tuple(each["columns"]) for each in report["differences"]} == {("high", "volume")}
