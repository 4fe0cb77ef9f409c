"""What answers with trades and funding rates prove, and what they do not: of neighbours, of a refresh, of a burst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service_harness import Client, Reply, at, ms, running_service

from cb_trade_simulator import ExchangeSimulator
from cb_trade_simulator.faults import Bursting

HOURLY = "BTC/USD:USD"


async def funding(client: Client, exchange: str, symbol: str, start: str, end: str, **fields: Any) -> Reply:
    return await client.history(
        at(start), at(end), exchange=exchange, symbol=symbol, kind="funding_rate", timeframe=None, **fields
    )


async def test_rows_of_months_ago_say_nothing_of_the_schedule_of_today(tmp_path: Path):
    """Between them and today's there may be any number of others, which nobody asked for."""
    async with (
        ExchangeSimulator(venue="cryptocom", seed=3).serve(host="127.0.0.1", port=0) as simulator,
        running_service(tmp_path, {"cryptocom": simulator.base_url}) as service,
        service.client() as client,
    ):
        await funding(client, "cryptocom", HOURLY, "2024-01-01T00:00", "2024-01-01T01:00")
        truth = simulator.funding(HOURLY, at("2024-03-01"), at("2024-03-01T06:00"))["timestamp"].tolist()
        simulator.inject("missing@*")
        reply = await funding(client, "cryptocom", HOURLY, "2024-03-01T00:00", "2024-03-01T06:00")

    told = [row["timestamp"] for row in reply.events]
    (missing,) = set(truth) - set(told)
    (gap,) = reply.last["gaps"]
    assert gap["state"] == "empty"
    assert gap["start_time"] <= missing < gap["end_time"]


async def test_where_rows_of_months_ago_are_stored_the_first_payment_of_a_range_is_no_gap(client, simulator):
    await funding(client, "binance", "BTC/USDT:USDT", "2024-01-01T00:00", "2024-01-02T00:00")

    for start in ("2024-03-01T00:00", "2024-04-01T05:00"):
        reply = await funding(client, "binance", "BTC/USDT:USDT", start, start.replace("01T", "02T"))
        assert len(reply.events) == 3
        assert reply.last["gaps"] == []


async def test_a_refresh_that_brings_only_rows_that_contradict_each_other_is_told_as_a_gap(client, simulator):
    start, end = at("2024-03-05T10:00"), at("2024-03-05T10:05")
    first = await client.history(start, end, kind="trades", timeframe=None)
    simulator.inject("conflict@*", times=None)

    reply = await client.history(start, end, kind="trades", timeframe=None, refresh=True)

    assert {gap["state"] for gap in reply.last["gaps"]} == {"failed"}
    assert reply.events == first.events
    simulator.faults.clear()
    again = await client.history(start, end, kind="trades", timeframe=None)
    assert again.last["gaps"] == []


async def test_a_burst_in_one_millisecond_is_delivered_whole_and_each_call_for_it_is_counted(client, simulator):
    moment = at("2024-03-05T10:00:30")
    simulator.inject(Bursting("BTC/USDT", moment, 2_500))

    reply = await client.history(at("2024-03-05T10:00"), at("2024-03-05T10:01"), kind="trades", timeframe=None)

    assert sum(row["timestamp"] == ms(moment) for row in reply.events) >= 2_500
    assert reply.last["gaps"] == []
    assert reply.last["exchange_calls"] == simulator.calls.by_endpoint["aggTrades"] > 2


async def test_more_trades_of_one_millisecond_than_a_message_holds_are_a_gap(client, simulator):
    moment = at("2024-03-05T10:00:30")
    simulator.inject(Bursting("BTC/USDT", moment, 6_000))

    reply = await client.history(at("2024-03-05T10:00"), at("2024-03-05T10:01"), kind="trades", timeframe=None)

    (gap,) = reply.last["gaps"]
    assert gap["state"] == "failed"
    assert gap["start_time"] <= ms(moment) < gap["end_time"]
