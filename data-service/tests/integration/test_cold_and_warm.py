"""The main job: fetched once, exact, and never fetched again."""

from __future__ import annotations

import numpy as np
import pytest
from service_harness import at, historical, running_service

START, END = at("2024-02-27T12:00"), at("2024-03-04T06:00")
# February ends with 3,600 missing bars, March begins with 4,680: pages of 1,000 never span two partitions.
PAGES = 4 + 5


def truth(simulator, start=START, end=END, symbol="BTC/USDT", timeframe="1m"):
    return simulator.candles(symbol, timeframe, start, end)


async def test_a_cold_answer_equals_the_exchange_value_for_value_with_the_fewest_calls(client, simulator):
    reply = await client.history(START, END)

    np.testing.assert_array_equal(reply.rows, truth(simulator))
    assert simulator.calls.by_endpoint == {"exchangeInfo": 1, "time": 1, "klines": PAGES}
    assert reply.last["exchange_calls"] == PAGES
    assert (reply.last["rows_from_exchange"], reply.last["rows_from_storage"]) == (len(reply.rows), 0)
    assert reply.last["gaps"] == []
    assert [segment["state"] for segment in reply.last["coverage"]] == ["held"]


async def test_the_second_answer_is_the_same_and_touches_the_exchange_in_no_way(client, simulator):
    first = await client.history(START, END)
    simulator.calls.reset()

    second = await client.history(START, END)

    np.testing.assert_array_equal(second.rows, first.rows)
    assert simulator.calls.total == 0
    assert second.last["exchange_calls"] == second.last["rows_from_exchange"] == 0
    assert second.last["rows_from_storage"] == len(first.rows)


async def test_after_a_restart_the_answer_comes_from_storage_alone(simulator, tmp_path):
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        first = await client.history(START, END)
    simulator.calls.reset()

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        second = await client.history(START, END)

    np.testing.assert_array_equal(second.rows, first.rows)
    assert simulator.calls.total == 0


async def test_what_is_stored_is_answered_while_the_exchange_is_gone(simulator, tmp_path):
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        first = await client.history(START, END)

    async with running_service(tmp_path, "http://127.0.0.1:1/h") as service, service.client() as client:
        second = await client.history(START, END)

    np.testing.assert_array_equal(second.rows, first.rows)


@pytest.mark.parametrize(
    ("stored", "pages"),
    [
        pytest.param([(START, at("2024-02-28T00:00"))], 3 + 5, id="the tail is missing"),
        pytest.param([(at("2024-03-01T00:00"), END)], 4, id="the head is missing"),
        pytest.param([(START, at("2024-02-28")), (at("2024-02-28T10:00"), END)], 1, id="the middle is missing"),
        pytest.param(
            [
                (START, at("2024-02-28")),
                (at("2024-02-28T05:00"), at("2024-02-28T12:00")),
                (at("2024-02-28T16:00"), END),
            ],
            1,
            id="two holes that one page can span",
        ),
        pytest.param([(START, END)], 0, id="nothing is missing"),
    ],
)
@pytest.mark.parametrize("restart", [False, True], ids=["same process", "after a restart"])
async def test_only_what_is_missing_is_fetched(simulator, tmp_path, stored, pages, restart):
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        for start, end in stored:
            await client.history(start, end)
        if not restart:
            simulator.calls.reset()
            reply = await client.history(START, END)
    if restart:
        async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
            simulator.calls.reset()
            reply = await client.history(START, END)

    np.testing.assert_array_equal(reply.rows, truth(simulator))
    assert simulator.calls.by_endpoint["klines"] == reply.last["exchange_calls"] == pages
    missing = len(reply.rows) - sum(len(truth(simulator, start, end)) for start, end in stored)
    assert reply.last["rows_from_exchange"] == missing


@pytest.mark.parametrize(
    ("timeframe", "start", "end", "pages"),
    [
        ("5m", "2023-12-20", "2024-01-10", 4 + 3),
        ("1h", "2023-11-01", "2024-02-01", 2 + 1),
        ("1d", "2021-03-01", "2024-01-01", 2),
        ("1w", "2022-12-01", "2024-02-01", 1),
        ("1M", "2022-12-01", "2024-02-01", 1),
    ],
)
async def test_every_kind_of_partition_is_exact(client, simulator, timeframe, start, end, pages):
    cold = await client.history(at(start), at(end), timeframe=timeframe)
    calls = simulator.calls.by_endpoint["klines"]
    warm = await client.history(at(start), at(end), timeframe=timeframe)

    np.testing.assert_array_equal(cold.rows, truth(simulator, at(start), at(end), timeframe=timeframe))
    np.testing.assert_array_equal(warm.rows, cold.rows)
    assert calls == pages
    assert simulator.calls.by_endpoint["klines"] == pages


async def test_edges_off_the_grid_hold_the_bars_that_open_between_them(client, simulator):
    start, end = at("2024-01-01T00:02:30"), at("2024-01-01T00:15:01")

    reply = await client.history(start, end, timeframe="5m")

    assert [row["timestamp"] for row in reply.chunks[0]["data"]] == list(
        simulator.candles("BTC/USDT", "5m", start, end)["timestamp"]
    )
    assert reply.last["rows"] == 3


async def test_a_range_between_two_opens_holds_nothing_and_costs_nothing(client, simulator):
    reply = await client.history(at("2024-01-01T00:01"), at("2024-01-01T00:04"), timeframe="5m")

    assert (reply.last["rows"], reply.last["chunks"], reply.chunks) == (0, 0, [])
    assert simulator.calls.by_endpoint["klines"] == 0


async def test_chunks_are_numbered_bounded_and_tell_where_to_resume(client):
    reply = await client.history(START, END, chunk_rows=700)

    assert [chunk["sequence"] for chunk in reply.chunks] == list(range(reply.last["chunks"]))
    assert max(chunk["rows"] for chunk in reply.chunks) <= 700
    for chunk in reply.chunks:
        assert chunk["rows"] == len(chunk["data"])
        assert chunk["start_time"] == chunk["data"][0]["timestamp"]
        assert chunk["end_time"] == chunk["data"][-1]["timestamp"] + 60_000


async def test_the_start_message_repeats_the_question_and_estimates_the_rows(client):
    reply = await client.history(START, END, request_id="r1", symbol="ETH/USDT")

    assert reply.start == {
        "type": "historical_data_start",
        "request_id": "r1",
        "exchange": "binance",
        "symbol": "ETH/USDT",
        "kind": "ohlcv",
        "timeframe": "1m",
        "start_time": int(START.timestamp() * 1000),
        "end_time": int(END.timestamp() * 1000),
        "format": "json",
        "estimated_rows": reply.last["rows"],
        "estimated_bytes": reply.start["estimated_bytes"],
    }
    assert {message["request_id"] for message in [*reply.chunks, reply.last]} == {"r1"}


async def test_the_original_field_names_mean_the_same(client, simulator):
    message = historical(at("2024-01-01"), at("2024-01-02"))
    message["exchange_name"], message["coin_symbol"] = message.pop("exchange"), message.pop("symbol")

    await client.send(message)

    assert (await client.rest()).last["rows"] == 1440


async def test_a_plan_calls_nothing_and_comes_true(client, simulator):
    await client.history(at("2024-02-28T00:00"), at("2024-02-28T12:00"))
    simulator.calls.reset()

    plan = await client.ask({**historical(START, END), "type": "plan_historical"})
    assert simulator.calls.total == 0
    reply = await client.history(START, END)

    assert plan["exchange_calls"] == reply.last["exchange_calls"] == simulator.calls.by_endpoint["klines"]
    assert plan["rows_in_storage"] == reply.last["rows_from_storage"] == 720
    assert [(part["start_time"], part["end_time"]) for part in plan["missing"]] == [
        tuple(int(at(text).timestamp() * 1000) for text in pair)
        for pair in [
            ("2024-02-27T12:00", "2024-02-28T00:00"),
            ("2024-02-28T12:00", "2024-03-01T00:00"),
            ("2024-03-01T00:00", "2024-03-04T06:00"),
        ]
    ]


async def test_a_refresh_asks_again_and_keeps_what_is_new(client, simulator):
    day = at("2024-01-01"), at("2024-01-02")
    await client.history(*day)
    simulator.calls.reset()

    reply = await client.history(*day, refresh=True)

    assert simulator.calls.by_endpoint["klines"] == 2
    assert reply.last["rows_from_exchange"] == 1440
    np.testing.assert_array_equal(reply.rows, truth(simulator, *day))
