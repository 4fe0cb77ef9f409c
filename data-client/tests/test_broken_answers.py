"""Answers that break the contract must fail: short or muddled data is worse than none."""

import pytest

from cb_trade_client import DataClient, ProtocolError

TOKEN = "good.token"


async def read_all(service, start, end):
    return [batch async for batch in DataClient(service.url, token=TOKEN).stream("x", "BTC/USDT", "1m", start, end)]


async def test_a_lost_chunk_in_the_middle_is_detected(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(300), lose_chunk=1)

    with pytest.raises(ProtocolError, match="chunk 2 arrived where chunk 1 was due") as caught:
        await read_all(service, start, end)

    assert caught.value.code == "missing_chunk"
    assert caught.value.details == {"expected": 1, "received": 2}


async def test_a_lost_last_chunk_is_detected(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(300), lose_chunk=2)

    with pytest.raises(ProtocolError, match="sent 300 rows in 3 chunks, but 200 rows in 2 chunks arrived"):
        await read_all(service, start, end)


def editing(message_type, **changes):
    """Return an edit that puts *changes* into the messages of one type; a value `...` removes the field."""

    def edit(message):
        if message["type"] == message_type:
            message |= changes
        return [{name: value for name, value in message.items() if value is not ...}]

    return edit


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (editing("historical_data_chunk", rows=99), "announced 99 rows but holds 100"),
        (editing("historical_data_chunk", rows=...), "rows should be a whole number but is missing"),
        (editing("historical_data_chunk", data=...), "data should be a list of objects but is missing"),
        (editing("historical_data_chunk", data=[1]), "data should be a list of objects"),
        (editing("historical_data_chunk", sequence="0"), "sequence should be a whole number"),
        (editing("historical_data_chunk", end_time="soon"), "end_time should be an instant"),
        (editing("historical_data_chunk", end_time=10**18), "end_time should be an instant"),
        (editing("historical_data_chunk", end_time=0), "beyond the range"),
        (editing("historical_data_chunk", request_id=...), "request_id should be text but is missing"),
        (editing("historical_data_start", end_time="2024-01-01T00:10:00Z"), "beyond the range"),
        (editing("historical_data_start", start_time="2024-01-01T00:10:00Z"), "out of time order"),
        (editing("historical_data_start", start_time="2024-01-01T00:10:00"), "start_time should be an instant"),
        (editing("historical_data_start", type="historical_data_complete"), "where historical_data_start was due"),
        (editing("historical_data_complete", gaps=None), "gaps should be a list of objects"),
        (editing("historical_data_complete", rows=-1), "rows should be a whole number"),
        (editing("historical_data_complete", elapsed_ms="fast"), "elapsed_ms should be a number of milliseconds"),
        (lambda message: [message, message], "where historical_data_chunk or historical_data_complete was due"),
        (lambda message: ["{"], "not JSON"),
        (lambda message: ["[]"], "not a JSON object"),
        (lambda message: [b"\xff\x00"], "not JSON"),
    ],
)
async def test_a_malformed_answer_is_a_protocol_error(run_service, minute_bars, start, end, edit, complaint):
    service = run_service(series=minute_bars(100), edit=edit)

    with pytest.raises(ProtocolError, match=complaint):
        await read_all(service, start, end)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows[1].pop("close"), "lacks the field 'close'"),
        (lambda rows: rows[1].update(close="high"), "wrong type"),
        (lambda rows: rows[1].update(timestamp=None), "without a timestamp"),
        (lambda rows: rows[1].update(timestamp=2**80), "wrong type"),
        (lambda rows: rows[1].update(timestamp=rows[0]["timestamp"]), "out of time order or repeats a bar"),
        (lambda rows: rows.reverse(), "out of time order"),
    ],
)
async def test_a_malformed_row_is_a_protocol_error(run_service, minute_bars, start, end, change, complaint):
    def edit(message):
        if message["type"] == "historical_data_chunk":
            change(message["data"])
        return [message]

    service = run_service(series=minute_bars(100), edit=edit)

    with pytest.raises(ProtocolError, match=complaint):
        await read_all(service, start, end)


async def test_a_message_over_the_limit_is_refused_as_too_large(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(1), edit=lambda message: [{**message, "padding": "x" * 5_000_000}])

    with pytest.raises(ProtocolError) as caught:
        await read_all(service, start, end)

    assert caught.value.code == "message_too_large"
