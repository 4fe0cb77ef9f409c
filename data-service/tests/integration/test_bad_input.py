"""Bad input gets a clear error with its code, and the connection lives on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from service_harness import at, historical, ms, token

DAY = at("2024-01-01"), at("2024-01-02")


def without(field: str) -> dict:
    message = historical(*DAY)
    del message[field]
    return message


BAD = [
    pytest.param("{", "bad_json", id="cut JSON"),
    pytest.param("", "bad_json", id="nothing"),
    pytest.param("NaN", "bad_json", id="NaN is no JSON"),
    pytest.param("[" * 60_000, "bad_json", id="JSON nested without end"),
    pytest.param("[1, 2]", "bad_message", id="no object"),
    pytest.param(b"\x00\x01", "bad_message", id="binary"),
    pytest.param({}, "missing_field", id="no type"),
    pytest.param({"type": "request_everything"}, "unknown_type", id="unknown type"),
    pytest.param({"type": ["request_historical"]}, "unknown_type", id="type of another type"),
    *[
        pytest.param(without(field), "missing_field", id=f"no {field}")
        for field in ("exchange", "symbol", "start_time", "end_time")
    ],
    pytest.param({"type": "cancel_request"}, "missing_field", id="cancel without id"),
    pytest.param(historical(*DAY, fills="none"), "unknown_field", id="unknown field"),
    pytest.param(historical(*DAY, exchange="kraken2"), "unknown_exchange", id="unknown exchange"),
    pytest.param(historical(*DAY, symbol="NO/SUCH"), "unknown_symbol", id="unknown symbol"),
    pytest.param(historical(*DAY, symbol="../../etc"), "unknown_symbol", id="symbol that climbs"),
    pytest.param(historical(*DAY, symbol="X" * 1000), "invalid_value", id="symbol too long"),
    pytest.param(historical(*DAY, symbol="€" * 30), "invalid_value", id="symbol too long in bytes"),
    pytest.param(historical(*DAY, symbol="BTC/USDT\u200b"), "invalid_value", id="symbol with what cannot be seen"),
    pytest.param(historical(*DAY, timeframe="7m"), "unknown_timeframe", id="unknown timeframe"),
    pytest.param(historical(*DAY, kind="funding_rate", timeframe=None), "unsupported_kind", id="kind not served"),
    pytest.param(
        historical(*DAY, kind="trades", timeframe="1m"), "invalid_value", id="timeframe of a kind without bars"
    ),
    pytest.param(historical(*DAY, kind="gossip"), "invalid_value", id="no such kind"),
    pytest.param(historical(*DAY, format="xml"), "invalid_value", id="no such format"),
    pytest.param(historical(*DAY, chunk_rows=0), "invalid_value", id="no rows per chunk"),
    pytest.param(historical(*DAY, chunk_rows=True), "invalid_value", id="true is no number"),
    pytest.param(historical(*DAY, refresh="yes"), "invalid_value", id="yes is no truth value"),
    pytest.param(historical(*DAY, request_id=""), "invalid_value", id="empty request id"),
    pytest.param(historical(*DAY, request_id="x" * 65), "invalid_value", id="long request id"),
    pytest.param(historical(*DAY, start_time="2024-01-01T00:00:00"), "invalid_value", id="time without zone"),
    pytest.param(historical(*DAY, start_time="yesterday"), "invalid_value", id="no time"),
    pytest.param(historical(*DAY, start_time=1e12), "invalid_value", id="fraction of a millisecond"),
    pytest.param(historical(*DAY, start_time=10**30), "invalid_value", id="year beyond the calendar"),
    pytest.param(historical(*DAY, start_time="0001-01-01T00:00:00Z"), "invalid_value", id="year 1"),
    pytest.param(historical(*DAY, end_time=ms(DAY[0])), "empty_range", id="end at start"),
    pytest.param(historical(DAY[1], DAY[0]), "empty_range", id="end before start"),
    pytest.param(historical(at("2199-01-01"), at("2199-01-02")), "range_in_future", id="start in the future"),
    pytest.param("x" * (64 * 1024 + 1), "message_too_large", id="over 64 KiB"),
    pytest.param("é" * (33 * 1024), "message_too_large", id="over 64 KiB of UTF-8 in fewer characters"),
]


async def test_each_error_has_its_code_and_the_connection_lives_on(client):
    for case in BAD:
        message, code = case.values
        error = await client.ask(message)
        good = await client.history(at("2024-01-01"), at("2024-01-01T00:10"))

        assert (error["type"], error["code"], error["retryable"]) == ("error_response", code, False), case.id
        assert error["message"], case.id
        assert good.last["rows"] == 10, case.id


async def test_an_error_names_its_request_and_the_field(client):
    error = await client.ask(historical(*DAY, request_id="r7", fills="none"))

    assert error["request_id"] == "r7"
    assert error["details"]["field"] == "fills"


async def test_an_exchange_that_cannot_be_asked_about_a_new_symbol_is_unavailable(client, simulator):
    from cb_trade_simulator.faults import StatusFault

    simulator.inject(StatusFault(503), endpoint="exchangeInfo", times=None)

    error = await client.ask(historical(*DAY))

    assert (error["code"], error["retryable"]) == ("exchange_unavailable", True)


async def test_a_request_id_in_use_is_refused_without_an_id(client, simulator):
    simulator.hold("klines")
    await client.send(historical(*DAY, request_id="r1"))
    await client.receive()

    error = await client.ask(historical(*DAY, request_id="r1"))
    simulator.release("klines")
    reply = await client.rest()

    assert (error["code"], error["request_id"]) == ("duplicate_request_id", None)
    assert (reply.last["request_id"], reply.last["rows"]) == ("r1", 1440)


@pytest.mark.parametrize("message", [{"type": "nonsense"}, {"type": "request_historical"}, historical(*DAY, fills=1)])
async def test_an_error_about_another_message_is_no_last_word_of_an_open_request(client, simulator, message):
    simulator.hold("klines")
    await client.send(historical(*DAY, request_id="r1"))
    await client.receive()

    error = await client.ask({**message, "request_id": "r1"})
    simulator.release("klines")
    reply = await client.rest()

    assert (error["type"], error["request_id"]) == ("error_response", None)
    assert (reply.last["type"], reply.last["request_id"]) == ("historical_data_complete", "r1")


async def test_an_id_may_be_used_again_when_its_request_has_ended(client):
    for _ in range(2):
        assert (await client.history(*DAY, request_id="r1")).last["rows"] == 1440


async def test_a_message_over_one_mebibyte_closes_with_1009(client):
    await client.send("x" * (1024 * 1024 + 1))

    assert await client.close_code() == 1009


async def test_a_refresh_needs_its_scope(service):
    async with service.client(token(scopes=["data:read"])) as client:
        error = await client.ask(historical(*DAY, refresh=True))

    assert error["code"] == "forbidden"


async def test_an_end_in_the_year_9999_is_clipped_not_refused(client):
    start = datetime.now(UTC) - timedelta(days=30)

    reply = await client.history(start, at("2024-01-01"), timeframe="1d", end_time="9999-12-31T23:59:59Z")

    assert reply.last["rows"] in {29, 30}


async def test_json_with_a_lone_surrogate_is_refused(client):
    error = await client.ask('{"type": "\\ud800"}')

    assert error["code"] in {"bad_json", "unknown_type"}
    json.dumps(error)
