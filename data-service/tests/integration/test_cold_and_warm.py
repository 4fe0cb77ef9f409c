"""The main job: fetched once, exact, and never fetched again."""

from __future__ import annotations

import numpy as np
import pytest
from service_harness import at, running_service


async def test_a_cold_answer_equals_the_exchange_value_for_value_with_the_fewest_calls(client, simulator):
    start, end = at("2024-02-28T12:00"), at("2024-03-02T06:00")

    reply = await client.history(start, end)

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", start, end))
    february, march = 36 * 60, 30 * 60
    pages = -(-february // 1000) + -(-march // 1000)
    assert reply.last["exchange_calls"] == pages
    assert simulator.calls.by_endpoint == {"exchangeInfo": 1, "time": 1, "klines": pages}
    assert reply.last["rows_from_exchange"] == reply.last["rows"] == february + march
    assert reply.last["gaps"] == []
    assert [segment["state"] for segment in reply.last["coverage"]] == ["held"]
