"""The SDK writes the requests of `docs/protocol-messages`, and reads the answers."""

from datetime import UTC, datetime

import orjson
import pyarrow as pa
import pytest
from golden_messages import answered, asked, rows_of

from cb_trade_client import (
    DataClient,
    LatestBar,
    PlanResult,
    RequestError,
    ServiceUnavailableError,
    TimeSpan,
)

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "5m")
RANGE = ("2023-12-31T23:50:00Z", "2024-01-01T00:10:00Z")
HISTORY_IN = {asked(name)["format"]: name for name in ("history_json", "history_json_columns", "history_arrow")}


def replaying(conversation):
    """Return an edit that puts a recorded answer in the place of the service's."""
    begun = set()

    def edit(message):
        if message["request_id"] in begun:
            return []
        begun.add(message["request_id"])
        return [with_request_id(each, message["request_id"]) for each in answered(conversation)]

    return edit


def with_request_id(message, request_id):
    if isinstance(message, bytes):
        return message
    facts = orjson.loads(message)
    return facts if facts["request_id"] is None else facts | {"request_id": request_id}


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def without_id(request):
    return {name: value for name, value in request.items() if name != "request_id"}


async def read(stream):
    """Return the rows of a stream in the format `json`, and the stream."""
    async with stream:
        batches = [batch async for batch in stream]
    table = pa.Table.from_batches(batches, stream.schema)
    return table.set_column(0, "timestamp", table.column("timestamp").cast(pa.int64())).to_pylist(), stream


@pytest.mark.parametrize("wire_format", HISTORY_IN)
async def test_history_is_asked_for_and_read_as_recorded_in_each_format(run_service, wire_format):
    conversation = HISTORY_IN[wire_format]
    service = run_service(edit=replaying(conversation))

    client = DataClient(service.url, token=TOKEN)
    rows, stream = await read(client.stream(*SERIES, *RANGE, format=wire_format, chunk_rows=3, verify=True))

    receipt = orjson.loads(answered(conversation)[-1])
    assert without_id(service.requests[0]) == without_id(asked(conversation))
    assert rows == rows_of("history_json")
    assert (stream.started.end, stream.started.estimated_rows) == (at("2024-01-01T00:10"), 4)
    assert (stream.completed.digest, stream.completed.chunks) == (receipt["digest"], 2)
    assert [(each.start, each.end, each.state) for each in stream.completed.coverage] == [
        (at("2023-12-31T23:50"), at("2024-01-01T00:10"), "held")
    ]


@pytest.mark.parametrize(
    ("conversation", "named", "asked_for"),
    [
        ("trades", ("BTC/USDT", "2023-12-31T23:59:00Z", "2024-01-01T00:01:00Z"), {"kind": "trades", "chunk_rows": 3}),
        (
            "trades_arrow",
            ("BTC/USDT", "2023-12-31T23:59:00Z", "2024-01-01T00:01:00Z"),
            {"kind": "trades", "chunk_rows": 3},
        ),
        ("funding_rates", ("BTC/USDT:USDT", "2023-12-31T16:00:00Z", "2024-01-01T12:00:00Z"), {"kind": "funding_rate"}),
    ],
)
async def test_kinds_without_bars_are_asked_for_and_read_as_recorded(run_service, conversation, named, asked_for):
    service = run_service(edit=replaying(conversation))
    symbol, start, end = named
    wire_format = asked(conversation)["format"]

    client = DataClient(service.url, token=TOKEN)
    rows, stream = await read(
        client.stream("binance", symbol, None, start, end, format=wire_format, verify=True, **asked_for)
    )

    assert without_id(service.requests[0]) == without_id(asked(conversation))
    assert [stream.started.estimated_rows, stream.started.estimated_bytes] == [None, None]
    assert stream.completed.rows == len(rows) > 0
    if asked_for["kind"] == "trades":
        assert rows == rows_of("trades")
    else:
        assert [row["mark_price"] for row in rows] == [None, 42324.9, 42615.5]


async def test_the_gaps_of_a_recorded_receipt_are_read(run_service):
    service = run_service(edit=replaying("gaps"))

    client = DataClient(service.url, token=TOKEN)
    rows, stream = await read(client.stream("binance", "BTC/USDT", "1h", *RANGE, on_gap="ignore"))

    empty, failed = stream.completed.gaps
    assert rows == []
    assert [each.state for each in stream.completed.coverage] == ["unlisted", "empty", "failed"]
    assert (empty.state, empty.asks, empty.asked_at) == ("empty", 2, at("2024-01-05T12:00"))
    assert (empty.code, failed.code, stream.completed.coverage[0].code) == ("DATA-003", "DATA-027", None)
    assert (failed.reason, failed.start) == ("binance is unavailable: HTTP 503", at("2017-08-17T05:00"))


async def test_an_exchange_that_was_chosen_is_read_as_recorded(run_service):
    service = run_service(edit=replaying("choice"))
    span = ("2024-01-01T00:05:00Z", "2024-01-01T00:10:00Z")

    client = DataClient(service.url, token=TOKEN)
    rows, stream = await read(client.stream(["kraken", "binance"], "BTC/USDT", "5m", *span, format="json"))

    assert service.requests[0]["exchange"] == asked("choice")["exchange"]
    assert (stream.started.exchange, rows) == ("binance", rows_of("choice"))


async def test_a_plan_is_asked_for_and_read_as_recorded(run_service):
    service = run_service(edit=replaying("plan"))

    async with DataClient(service.url, token=TOKEN) as client:
        plan = await client.plan(*SERIES, *RANGE)

    assert without_id(service.requests[0]) == without_id(asked("plan"))
    assert plan == PlanResult(3, (TimeSpan(at("2024-01-01T00:05"), at("2024-01-01T00:10")),), False, 1, "binance")


async def test_the_newest_bar_is_asked_for_and_read_as_recorded(run_service):
    service = run_service(edit=replaying("latest"))

    async with DataClient(service.url, token=TOKEN) as client:
        latest = await client.latest(*SERIES)

    assert without_id(service.requests[0]) == without_id(asked("latest"))
    assert latest == LatestBar(at("2024-01-01T00:05"), at("2024-01-01T00:15"), "binance")


@pytest.mark.parametrize(
    ("conversation", "expected", "facts"),
    [
        ("error", RequestError, ("unknown_symbol", False, None, {"exchange": "binance", "symbol": "BTCUSDT"})),
        (
            "error_to_retry",
            ServiceUnavailableError,
            ("exchange_unavailable", True, 30_000, {"exchange": "binance", "reason": "HTTP 429"}),
        ),
        ("error_without_request", RequestError, ("bad_message", False, None, {})),
    ],
)
async def test_a_recorded_error_becomes_the_exception_of_its_code(run_service, conversation, expected, facts):
    service = run_service(edit=replaying(conversation))

    async with DataClient(service.url, token=TOKEN) as client:
        with pytest.raises(expected) as caught:
            await client.latest(*SERIES)

    error = caught.value
    assert (error.code, error.retryable, error.retry_after_ms, error.details) == facts


async def test_a_recorded_cancel_ends_the_stream(run_service):
    service = run_service(edit=replaying("cancel"))

    with pytest.raises(ServiceUnavailableError) as caught:
        await read(DataClient(service.url, token=TOKEN).stream(*SERIES, *RANGE))

    assert caught.value.code == "request_cancelled"
