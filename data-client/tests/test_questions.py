"""The small questions: `latest` and `plan`."""

from datetime import timedelta

import pytest

from cb_trade_client import DataClient, LatestBar, PlanResult, ProtocolError, TimeSpan

TOKEN = "good.token"


async def test_latest_tells_the_newest_stored_bar_and_how_far_bars_have_closed(run_service, minute_bars, start):
    service = run_service(series=minute_bars(10))

    async with DataClient(service.url, token=TOKEN) as client:
        answer = await client.latest("binance", "BTC/USDT", "1m")

    assert answer == LatestBar(timestamp=start + timedelta(minutes=9), closed_until=start + timedelta(days=1))
    request = service.requests[0]
    del request["request_id"]
    assert request == {
        "type": "request_current_timestamp",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "1m",
    }


async def test_latest_has_no_timestamp_when_nothing_is_stored(run_service):
    service = run_service(series=[])

    answer = await DataClient(service.url, token=TOKEN).latest("binance", "BTC/USDT", "1m")

    assert answer.timestamp is None


async def test_plan_tells_what_would_be_read_and_fetched(run_service, start, end):
    service = run_service()

    answer = await DataClient(service.url, token=TOKEN).plan("binance", "BTC/USDT", "1m", start, end)

    assert answer == PlanResult(rows_in_storage=7, missing=(TimeSpan(start, end),), exchange_calls=2)
    request = service.requests[0]
    del request["request_id"]
    assert request == {
        "type": "plan_historical",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "kind": "ohlcv",
        "timeframe": "1m",
        "start_time": "2024-01-01T00:00:00Z",
        "end_time": "2024-01-02T00:00:00Z",
    }


async def test_a_question_ends_its_connection(run_service):
    service = run_service()

    await DataClient(service.url, token=TOKEN).latest("binance", "BTC/USDT", "1m")

    assert service.connection_ended.wait(5)


async def test_an_answer_without_closed_until_is_a_protocol_error(run_service):
    service = run_service(edit=lambda message: [{**message, "closed_until": None}])

    with pytest.raises(ProtocolError, match="closed_until"):
        await DataClient(service.url, token=TOKEN).latest("binance", "BTC/USDT", "1m")
