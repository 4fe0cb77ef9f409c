"""Kinds without bars, from the exchange to the client: every row, none twice, fewest calls, why some are missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from service_harness import Reply, at, fewest_calls, ms, running_service

PAGE_ROWS = 1_000
PERPETUAL = "BTC/USDT:USDT"
START, END = at("2024-03-05T22:30"), at("2024-03-06T00:40")  # over midnight, where one partition ends


def true_trades(simulator, start=START, end=END, symbol="BTC/USDT") -> list[dict[str, Any]]:
    return [
        {
            "timestamp": int(trade["timestamp"]),
            "id": str(trade["id"]),
            "side": "sell" if trade["buyer_is_maker"] else "buy",
            "price": float(trade["price"]),
            "amount": float(trade["amount"]),
        }
        for trade in simulator.trades(symbol, start, end)
    ]


def true_funding(simulator, start, end, symbol=PERPETUAL) -> list[dict[str, Any]]:
    return [
        {"timestamp": int(each["timestamp"]), "rate": float(each["rate"]), "mark_price": float(each["mark_price"])}
        for each in simulator.funding(symbol, start, end)
    ]


async def trades(client, start=START, end=END, **fields: Any) -> Reply:
    return await client.history(start, end, **{"kind": "trades", "timeframe": None, **fields})


async def funding(client, start, end, **fields: Any) -> Reply:
    return await client.history(
        start, end, **{"kind": "funding_rate", "timeframe": None, "symbol": PERPETUAL, **fields}
    )


async def test_trades_are_those_of_the_exchange_with_the_fewest_calls_and_are_never_asked_for_again(client, simulator):
    midnight = at("2024-03-06")
    times = simulator.trades("BTC/USDT", START, END)["timestamp"]
    days = [times[times < ms(midnight)], times[times >= ms(midnight)]]

    first = await trades(client)

    assert first.events == true_trades(simulator)
    assert first.last["gaps"] == []
    assert {segment["state"] for segment in first.last["coverage"]} == {"held"}
    assert (
        first.last["exchange_calls"]
        == sum(fewest_calls(each, PAGE_ROWS) for each in days)
        == simulator.calls.by_endpoint["aggTrades"]
    )
    assert np.count_nonzero(np.diff(times) == 0) > 0  # several happened at once

    simulator.calls.reset()
    second = await trades(client, format="arrow")
    assert second.events == first.events
    assert second.last["digest"] == first.last["digest"]
    assert simulator.calls.total == 0


@pytest.mark.parametrize("wire_format", ["json", "json_columns", "arrow"])
async def test_a_client_that_resumes_at_the_end_of_any_chunk_misses_no_trade_and_gets_none_twice(
    client, simulator, wire_format
):
    reply = await trades(client, format=wire_format, chunk_rows=500)

    ends = [chunk["end_time"] for chunk in reply.chunks]
    middle = len(reply.chunks) // 2
    rest = await client.history(START, END, kind="trades", timeframe=None, start_time=ends[middle], format=wire_format)

    had = sum(chunk["rows"] for chunk in reply.chunks[: middle + 1])
    assert reply.events[had:] == rest.events
    assert all(chunk["rows"] <= 600 for chunk in reply.chunks)


async def test_only_what_is_missing_of_trades_is_asked_for(client, simulator):
    await trades(client, at("2024-03-05T22:45"), at("2024-03-05T23:00"))
    simulator.calls.reset()

    reply = await trades(client, at("2024-03-05T22:30"), at("2024-03-05T23:10"))

    assert reply.events == true_trades(simulator, at("2024-03-05T22:30"), at("2024-03-05T23:10"))
    had = len(true_trades(simulator, at("2024-03-05T22:45"), at("2024-03-05T23:00")))
    assert reply.last["rows_from_storage"] == had
    assert reply.last["rows_from_exchange"] == reply.last["rows"] - had


async def test_trades_of_perpetuals_are_asked_for_by_the_hour_and_for_a_year_back(client, simulator):
    end = simulator.clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=2)
    start = end - timedelta(hours=2)

    reply = await trades(client, start, end, symbol=PERPETUAL)
    early = await trades(client, symbol=PERPETUAL)

    assert reply.events == true_trades(simulator, start, end, PERPETUAL)
    assert reply.last["gaps"] == []
    assert [(gap["state"], gap["reason"]) for gap in early.last["gaps"]] == [
        ("unavailable", "binance serves trades of the last 365 days only")
    ]
    assert early.last["exchange_calls"] == 0


async def test_before_the_listing_there_are_no_trades_and_the_answer_says_so(client, simulator):
    reply = await trades(client, at("2020-08-10"), at("2020-08-11T07:00"), symbol="SOL/USDT")

    assert reply.events == true_trades(simulator, at("2020-08-10"), at("2020-08-11T07:00"), "SOL/USDT")
    assert reply.last["coverage"][0] == {
        "start_time": ms(at("2020-08-10")),
        "end_time": ms(at("2020-08-11T06:00")),
        "state": "unlisted",
    }
    assert reply.last["gaps"] == []


async def test_funding_rates_of_years_are_those_of_the_exchange_with_the_fewest_calls(client, simulator):
    start, end = at("2021-01-01"), at("2024-03-01")
    expected = true_funding(simulator, start, end)

    first = await funding(client, start, end)

    assert first.events == expected
    assert first.last["gaps"] == []
    assert (
        first.last["exchange_calls"]
        == -(-len(expected) // (PAGE_ROWS - 1))
        == simulator.calls.by_endpoint["fundingRate"]
    )
    simulator.calls.reset()
    second = await funding(client, start, end, format="arrow")
    assert second.events == expected
    assert second.last["digest"] == first.last["digest"]
    assert simulator.calls.total == 0


async def test_a_restarted_service_has_trades_and_funding_in_storage(simulator, tmp_path):
    start, end = at("2024-01-01"), at("2024-02-01")
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        first = [await trades(client), await funding(client, start, end)]
    simulator.calls.reset()

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        second = [await trades(client), await funding(client, start, end)]

    assert [each.events for each in second] == [each.events for each in first]
    assert [each.last["digest"] for each in second] == [each.last["digest"] for each in first]
    assert simulator.calls.total == 0


async def test_what_may_still_come_is_left_out(client, simulator):
    now = simulator.clock.now()

    reply = await trades(client, now - timedelta(minutes=3), now + timedelta(minutes=5))

    assert reply.last["type"] == "historical_data_complete"
    assert reply.start["end_time"] <= ms(simulator.clock.now() - timedelta(seconds=10))
    assert reply.events == true_trades(simulator, now - timedelta(minutes=3), at_ms(reply.start["end_time"]))


def at_ms(time_ms: int):
    return at("1970-01-01") + timedelta(milliseconds=time_ms)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "funding_rate", "symbol": "BTC/USDT"}, "unsupported_kind"),
        ({"kind": "funding_rate", "exchange": "kraken", "symbol": "BTC/USDT"}, "unsupported_kind"),
        ({"kind": "trades", "timeframe": "1m"}, "invalid_value"),
        ({"kind": "trades", "symbol": "NO/SUCH"}, "unknown_symbol"),
    ],
)
async def test_what_cannot_be_had_is_refused_with_a_code(client, fields, code):
    reply = await trades(client, **fields)

    assert reply.last["type"] == "error_response"
    assert reply.last["code"] == code
    assert reply.chunks == []


async def test_order_books_of_the_past_are_unavailable(client, simulator):
    reply = await trades(client, kind="order_book")

    assert (reply.last["rows"], reply.last["exchange_calls"]) == (0, 0)
    assert [(gap["state"], gap["reason"]) for gap in reply.last["gaps"]] == [
        ("unavailable", "binance has no order books of the past")
    ]


async def test_a_plan_of_trades_says_what_is_missing_and_asks_nobody(client, simulator):
    await trades(client, at("2024-03-05T22:30"), at("2024-03-05T23:00"))
    simulator.calls.reset()

    plan = await client.ask(
        {
            "type": "plan_historical",
            "exchange": "binance",
            "symbol": "BTC/USDT",
            "kind": "trades",
            "start_time": ms(START),
            "end_time": ms(END),
        }
    )

    assert plan["missing"] == [
        {"start_time": ms(at("2024-03-05T23:00")), "end_time": ms(at("2024-03-06"))},
        {"start_time": ms(at("2024-03-06")), "end_time": ms(END)},
    ]
    assert plan["exchange_calls"] == 2  # at least: nobody knows how many trades there were
    assert plan["rows_in_storage"] == len(true_trades(simulator, START, at("2024-03-05T23:00")))
    assert simulator.calls.total == 0
