"""`DataClient.history`: the whole answer as one table."""

import json
from datetime import timedelta

import pyarrow as pa
import pytest

from cb_trade_client import DataClient, RequestError, gaps_of
from cb_trade_client.requests import FORMATS
from cb_trade_client.schemas import OHLCV

TOKEN = "good.token"


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_the_table_holds_every_row_in_time_order_with_its_values(
    run_service, minute_bars, start, end, wire_format
):
    rows = minute_bars(250)
    service = run_service(series=rows)

    async with DataClient(service.url, token=TOKEN) as client:
        history = await client.history("binance", "BTC/USDT", "1m", start, end, format=wire_format)

    table = history.to_arrow()
    assert service.requests[0]["format"] == wire_format

    assert table.schema.equals(OHLCV)
    assert len(history) == 250
    assert table.column("timestamp").cast(pa.int64()).to_pylist() == [row["timestamp"] for row in rows]
    for name in ("open", "high", "low", "close", "volume"):
        assert table.column(name).to_pylist() == [row[name] for row in rows]


async def test_no_rows_make_an_empty_table_of_the_same_schema(run_service, start, end):
    service = run_service(series=[])

    history = await DataClient(service.url, token=TOKEN).history("binance", "BTC/USDT", "1m", start, end)

    table = history.to_arrow()
    assert len(history) == table.num_rows == 0
    assert table.schema.equals(OHLCV)
    assert gaps_of(table) == ()


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_a_null_price_stays_null(run_service, minute_bars, start, end, wire_format):
    rows = minute_bars(3)
    rows[1]["volume"] = None
    service = run_service(series=rows, breaks_contract=True)

    client = DataClient(service.url, token=TOKEN)
    history = await client.history("binance", "BTC/USDT", "1m", start, end, format=wire_format)

    assert history.to_arrow().column("volume").to_pylist() == [0.0, None, 0.2]


async def test_gaps_travel_in_the_tables_metadata(run_service, minute_bars, start, end):
    first_ms = int(start.timestamp()) * 1000
    gap = {
        "start_time": first_ms,
        "end_time": first_ms + 120_000,
        "state": "failed",
        "reason": "timed out",
        "code": "DATA-027",
    }
    service = run_service(series=minute_bars(5), gaps=[gap])

    client = DataClient(service.url, token=TOKEN)
    history = await client.history("binance", "BTC/USDT", "1m", start, end, on_gap="ignore")

    table = history.to_arrow()
    (found,) = history.gaps
    assert gaps_of(table) == (found,)
    assert (found.start, found.end) == (start, start + timedelta(minutes=2))
    assert found.code == "DATA-027"
    assert (found.state, found.reason) == ("failed", "timed out")
    assert json.loads(table.schema.metadata[b"cb_trade.gaps"]) == [gap]


async def test_the_request_says_what_was_asked_in_the_contracts_words(run_service, start, end):
    service = run_service()

    await DataClient(service.url, token=TOKEN).history(
        "binance", "BTC/USDT", "5m", "2024-01-01T01:00:00+01:00", end, chunk_rows=10, refresh=True
    )

    (request,) = service.requests
    assert 1 <= len(request.pop("request_id")) <= 64
    assert request == {
        "type": "request_historical",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "kind": "ohlcv",
        "timeframe": "5m",
        "start_time": "2024-01-01T00:00:00Z",
        "end_time": "2024-01-02T00:00:00Z",
        "format": "arrow",
        "chunk_rows": 10,
        "refresh": True,
    }


async def test_optional_fields_are_not_sent_unless_asked_for(run_service, start, end):
    service = run_service()

    await DataClient(service.url, token=TOKEN).history("binance", "BTC/USDT", "5m", start, end)

    assert not {"chunk_rows", "refresh"} & service.requests[0].keys()


async def test_the_token_travels_in_a_header_and_never_in_the_url(run_service, start, end):
    service = run_service()

    await DataClient(service.url, token=f"{TOKEN}\n").history("binance", "BTC/USDT", "1m", start, end)

    assert service.request_headers[0]["Authorization"] == f"Bearer {TOKEN}"
    assert service.request_paths == ["/ws/data"]


async def test_the_token_is_never_logged_even_at_debug_level(run_service, start, end, caplog):
    service = run_service()

    with caplog.at_level("DEBUG"):
        await DataClient(service.url, token=TOKEN).history("binance", "BTC/USDT", "1m", start, end)

    # The service of this test logs in the same process, what it receives.
    assert not [record for record in caplog.records if record.name.startswith("cb_trade") and TOKEN in record.message]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"start": "2024-01-01"}, "invalid_value"),
        ({"start": "2024-01-01T00:00:00"}, "invalid_value"),
        ({"start": "yesterday"}, "invalid_value"),
        ({"end": None}, "invalid_value"),
        ({"end": "2023-01-01T00:00:00Z"}, "empty_range"),
        ({"end": "2024-01-01T00:00:00Z"}, "empty_range"),
        ({"chunk_rows": 0}, "invalid_value"),
        ({"format": "parquet"}, "invalid_value"),
        ({"kind": "trades"}, "invalid_value"),
        ({"kind": "liquidations"}, "unsupported_kind"),
    ],
)
async def test_what_cannot_be_asked_is_refused_before_any_call(run_service, start, end, change, code):
    service = run_service()
    arguments = {"start": start, "end": end} | change

    with pytest.raises(RequestError) as caught:
        await DataClient(service.url, token=TOKEN).history("binance", "BTC/USDT", "1m", **arguments)

    assert caught.value.code == code
    assert service.request_paths == []


async def test_a_naive_datetime_is_refused_with_the_cure(start, end):
    naive = start.replace(tzinfo=None)

    with pytest.raises(RequestError, match=r"start .* has no time zone; give one, for example 2024-01-01T00:00:00Z"):
        DataClient(token=TOKEN).stream("binance", "BTC/USDT", "1m", naive, end)
