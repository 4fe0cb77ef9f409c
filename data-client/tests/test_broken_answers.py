"""Answers that break the contract must fail: short or muddled data is worse than none."""

import pyarrow as pa
import pytest

from cb_trade_client import DataClient, ProtocolError
from cb_trade_client.schemas import OHLCV

TOKEN = "good.token"
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")


async def read_all(service, start, end, **options):
    stream = DataClient(service.url, token=TOKEN).stream("x", "BTC/USDT", "1m", start, end, **options)
    return [batch async for batch in stream]


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
        (editing("historical_data_chunk", bytes=...), "chunk 0 came without its bytes|no chunk announces"),
        (editing("historical_data_chunk", bytes=7), "announced 7 bytes, but 5"),
        (editing("historical_data_chunk", bytes="many"), "bytes should be a whole number"),
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
        (
            lambda message: [message] * (1 + (message["type"] == "historical_data_start")),
            "or historical_data_complete was due",
        ),
        (
            lambda message: [message] * (1 + ("bytes" in message)),
            "text message arrived where the bytes of a chunk were due",
        ),
        (lambda message: ["{"], "not JSON"),
        (lambda message: ["[]"], "not a JSON object"),
        (lambda message: [b"\xff\x00"], "a binary message that no chunk announces"),
    ],
)
async def test_a_malformed_answer_is_a_protocol_error(run_service, minute_bars, start, end, edit, complaint):
    service = run_service(series=minute_bars(100), edit=edit)

    with pytest.raises(ProtocolError, match=complaint):
        await read_all(service, start, end)


@pytest.mark.parametrize(
    ("wire_format", "data", "complaint"),
    [
        ("json", ..., "data should be a list of objects but is missing"),
        ("json", [1], "data should be a list of objects"),
        ("json_columns", ..., "data should be an object but is missing"),
        ("json_columns", {"timestamp": []}, "lacks the column 'open'"),
        ("json_columns", dict.fromkeys(COLUMNS, "much"), "lacks the column 'timestamp'"),
        ("json_columns", {name: ["much"] for name in COLUMNS}, "wrong type"),
        ("json_columns", {name: [1] for name in COLUMNS} | {"close": [1, 2]}, "wrong type"),
    ],
)
async def test_malformed_data_is_a_protocol_error(run_service, minute_bars, start, end, wire_format, data, complaint):
    service = run_service(series=minute_bars(100), edit=editing("historical_data_chunk", data=data))

    with pytest.raises(ProtocolError, match=complaint):
        await read_all(service, start, end, format=wire_format)


def other_columns(binary):
    """The same rows, but the first column goes by another name."""
    batch = pa.ipc.open_stream(binary).read_next_batch()
    renamed = batch.rename_columns(["time", *COLUMNS[1:]])
    return [renamed.schema.serialize().to_pybytes() + renamed.serialize().to_pybytes()]


@pytest.mark.parametrize(
    ("edit_binary", "complaint"),
    [
        (lambda binary: [bytes(len(binary))], "holds no Arrow rows"),
        (lambda binary: [binary[:300] + bytes(len(binary) - 300)], "holds no Arrow rows"),
        (lambda binary: [binary[:-8]], "announced .* bytes, but .* arrived"),
        (lambda binary: [], "where the bytes of a chunk were due"),
        (lambda binary: [binary, binary], "a binary message that no chunk announces"),
    ],
)
async def test_malformed_arrow_is_a_protocol_error(run_service, minute_bars, start, end, edit_binary, complaint):
    service = run_service(series=minute_bars(100), edit_binary=edit_binary)

    with pytest.raises(ProtocolError, match=complaint):
        await read_all(service, start, end)


async def test_columns_that_were_not_asked_for_are_a_protocol_error(run_service, minute_bars, start, end):
    def announce(message):
        return [message | ({"bytes": len(sent[0])} if "bytes" in message else {})]

    sent = []
    service = run_service(series=minute_bars(100), edit_binary=lambda binary: sent)
    sent += other_columns(b"".join(service.data_of(service.series, OHLCV, "arrow", is_first=True)[1:]))
    service.edit = announce

    with pytest.raises(ProtocolError, match="which are not those asked for"):
        await read_all(service, start, end)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda rows: rows[1].pop("close"), "lacks the field 'close'"),
        (lambda rows: rows[1].update(close="high"), "wrong type"),
        (lambda rows: rows[1].update(timestamp=None), "without a timestamp"),
        (lambda rows: rows[1].update(timestamp=2**80), "wrong type"),
        (lambda rows: rows[1].update(timestamp=rows[0]["timestamp"]), "out of time order or repeats a time"),
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
        await read_all(service, start, end, format="json")


async def test_a_message_over_the_limit_is_refused_as_too_large(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(1), edit=lambda message: [{**message, "padding": "x" * 5_000_000}])

    with pytest.raises(ProtocolError) as caught:
        await read_all(service, start, end)

    assert caught.value.code == "message_too_large"
