"""`DataClient.stream`: batches as they arrive, and what is left behind when reading stops early."""

import asyncio
import threading
from contextlib import aclosing
from datetime import timedelta
from time import perf_counter

import pyarrow as pa
import pytest

from cb_trade_client import ConnectionLostError, DataClient, ServiceUnavailableError
from cb_trade_client.connection import CLOSE_TIMEOUT_SECS
from cb_trade_client.requests import FORMATS

TOKEN = "good.token"
ENDED_WITHIN_SECS = 5


def minutes_stream(service, start, end, retries=0, **options):
    client = DataClient(service.url, token=TOKEN, retries=retries)
    return client.stream("binance", "BTC/USDT", "1m", start, end, **options)


async def collect(stream, batches):
    """Append what arrives to *batches*, so that it survives an error."""
    async for batch in stream:
        batches.append(batch)


async def test_batches_arrive_as_the_service_cut_them(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), chunk_rows=100)

    sizes = [batch.num_rows async for batch in minutes_stream(service, start, end)]

    assert sizes == [100, 100, 50]


async def test_chunk_rows_bounds_the_batches(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(25))

    sizes = [batch.num_rows async for batch in minutes_stream(service, start, end, chunk_rows=10)]

    assert sizes == [10, 10, 5]


async def test_the_clipped_range_and_the_estimate_are_known_before_the_first_batch(
    run_service, minute_bars, start, end
):
    service = run_service(series=minute_bars(250))

    async with minutes_stream(service, start, end) as history:
        assert history.started.estimated_rows == 250
        assert (history.started.start, history.started.end) == (start, start + timedelta(minutes=250))
        assert history.started.timeframe == "1m"


async def test_the_receipt_is_known_after_the_last_batch(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), chunk_rows=100)

    async with minutes_stream(service, start, end) as history:
        async for _ in history:
            pass

    receipt = history.completed
    assert (receipt.rows, receipt.chunks) == (250, 3)
    assert (receipt.rows_from_storage, receipt.rows_from_exchange, receipt.exchange_calls) == (0, 250, 1)
    assert [segment.state for segment in receipt.coverage] == ["held"]
    assert receipt.coverage[0].end == start + timedelta(minutes=250)
    assert receipt.gaps == ()
    assert receipt.digest is None
    assert receipt.elapsed_ms == 12


async def test_facts_that_are_not_known_yet_are_refused_not_guessed(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(1))
    stream = minutes_stream(service, start, end)

    with pytest.raises(RuntimeError, match="has not started"):
        _ = stream.started
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = stream.completed


async def test_times_in_the_start_message_may_be_iso_text(run_service, minute_bars, start, end):
    def spell_out(message):
        if message["type"] == "historical_data_start":
            message |= {"start_time": "2024-01-01T00:00:00Z", "end_time": "2024-01-01T02:01:00+02:00"}
        return [message]

    service = run_service(series=minute_bars(1), edit=spell_out)

    async with minutes_stream(service, start, end) as history:
        assert (history.started.start, history.started.end) == (start, start + timedelta(minutes=1))
        assert [batch.num_rows async for batch in history] == [1]


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_unknown_fields_and_unknown_message_types_are_ignored(run_service, minute_bars, start, end, wire_format):
    def from_the_future(message):
        if isinstance(message.get("data"), list):
            message["data"] = [{**row, "trades": 12} for row in message["data"]]
        elif "data" in message:
            message["data"] |= {"trades": [12]}
        return [
            {"type": "historical_data_hint", "request_id": message["request_id"], "rows": "lots"},
            {"type": "server_notice", "text": "maintenance at noon"},
            {**message, "mood": "fine", "nested": {"deep": [1, 2]}},
        ]

    service = run_service(series=minute_bars(250), edit=from_the_future)

    stream = minutes_stream(service, start, end, format=wire_format)

    assert sum([batch.num_rows async for batch in stream]) == 250


async def test_answers_to_another_request_are_not_mixed_in(run_service, minute_bars, start, end):
    def to_another_too(message):
        other = {**message, "request_id": "other"}
        return [other | {"bytes": 8}, b"12345678", message] if "bytes" in message else [other, message]

    service = run_service(series=minute_bars(250), edit=to_another_too)

    assert sum([batch.num_rows async for batch in minutes_stream(service, start, end)]) == 250


async def test_leaving_the_block_early_ends_the_request(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)

    async with minutes_stream(service, start, end) as history:
        async for _ in history:
            break

    assert service.connection_ended.wait(ENDED_WITHIN_SECS)


async def test_breaking_out_of_a_bare_loop_ends_the_request(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)

    async for _ in minutes_stream(service, start, end):
        break

    assert await asyncio.to_thread(service.connection_ended.wait, ENDED_WITHIN_SECS)


async def test_an_exception_in_the_block_ends_the_request_and_comes_out(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)

    async def stumble():
        async with minutes_stream(service, start, end) as history:
            async for batch in history:
                _ = batch.num_rows / 0

    with pytest.raises(ZeroDivisionError):
        await stumble()

    assert service.connection_ended.wait(ENDED_WITHIN_SECS)


async def test_cancelling_the_reading_task_ends_the_request(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)
    is_reading = asyncio.Event()

    async def read():
        async for _ in minutes_stream(service, start, end):
            is_reading.set()

    task = asyncio.create_task(read())
    await is_reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert service.connection_ended.wait(ENDED_WITHIN_SECS)


async def test_closing_the_client_ends_its_streams(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)

    async with DataClient(service.url, token=TOKEN) as client:
        stream = client.stream("binance", "BTC/USDT", "1m", start, end)
        async with aclosing(aiter(stream)) as batches:
            await anext(batches)
            await client.aclose()
            with pytest.raises(RuntimeError, match="closed"):
                await anext(batches)

    assert service.connection_ended.wait(ENDED_WITHIN_SECS)


async def test_leaving_a_service_that_keeps_sending_does_not_wait_for_a_timeout(run_service, minute_bars, start, end):
    # What was not read fills every buffer on the way, and the service's close frame lies behind it.
    is_flooding = threading.Event()

    def inflate(message):
        if message.get("sequence") == 8:
            is_flooding.set()
        return [{**message, "padding": "x" * 900_000}]

    service = run_service(series=minute_bars(400), chunk_rows=10, edit=inflate)
    async with minutes_stream(service, start, end) as history:
        batches = aiter(history)
        await anext(batches)
        assert await asyncio.to_thread(is_flooding.wait, ENDED_WITHIN_SECS)
        begun = perf_counter()
        await history.aclose()

    assert perf_counter() - begun < CLOSE_TIMEOUT_SECS / 2


async def test_a_stream_is_read_once(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250))
    stream = minutes_stream(service, start, end)
    async for _ in stream:
        break

    with pytest.raises(RuntimeError, match="read once"):
        async for _ in stream:
            pass
    with pytest.raises(RuntimeError, match="read once"):
        await stream.__aenter__()


async def test_a_stream_cannot_be_read_after_its_block(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250))
    async with minutes_stream(service, start, end) as stream:
        pass

    with pytest.raises(RuntimeError, match="closed"):
        async for _ in stream:
            pass


async def test_a_drop_mid_stream_tells_where_to_resume(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), chunk_rows=100, drop_after_chunks=2)
    batches = []

    with pytest.raises(ConnectionLostError) as caught:
        await collect(minutes_stream(service, start, end), batches)

    assert sum(batch.num_rows for batch in batches) == 200
    assert caught.value.resume_from == start + timedelta(minutes=200)
    assert caught.value.retryable


async def test_asking_again_from_the_resume_point_neither_repeats_nor_skips(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), chunk_rows=100, drop_after_chunks=2)
    batches = []
    with pytest.raises(ConnectionLostError) as caught:
        await collect(minutes_stream(service, start, end), batches)
    service.drop_after_chunks = None

    await collect(minutes_stream(service, caught.value.resume_from, end), batches)

    opens = pa.Table.from_batches(batches).column("open").to_pylist()
    assert opens == [100.0 + number for number in range(250)]


async def test_a_drop_before_the_first_chunk_has_nothing_to_resume_from(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), drop_after_chunks=0)

    with pytest.raises(ConnectionLostError) as caught:
        async for _ in minutes_stream(service, start, end):
            pass

    assert caught.value.resume_from is None


async def test_an_error_after_good_chunks_tells_where_to_resume(run_service, minute_bars, start, end):
    error = {"code": "storage_unavailable", "message": "disk is gone", "retryable": True, "retry_after_ms": 1500}
    service = run_service(series=minute_bars(250), chunk_rows=100, error=error, error_after_chunks=1)

    with pytest.raises(ServiceUnavailableError) as caught:
        async for _ in minutes_stream(service, start, end):
            pass

    assert caught.value.resume_from == start + timedelta(minutes=100)
    assert caught.value.retry_after_ms == 1500
