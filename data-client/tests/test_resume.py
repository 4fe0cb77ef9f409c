"""Streams that go on after their connection is lost: nothing skipped, nothing twice, and nothing claimed unseen."""

import asyncio
import random
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from cb_trade_client import AuthenticationError, ConnectionLostError, DataClient, ProtocolError, ServiceUnavailableError
from cb_trade_client.digest import AnswerDigest

TOKEN = "good.token"
MINUTE_MS = 60_000


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr("cb_trade_client.retrying._WAIT_MAX_SECS", 0)


def with_digest(service):
    """Let the service tell the digest of what each answer should hold."""

    def edit(message):
        if message.get("type") == "historical_data_complete":
            first = service.requests[-1]["start_time"]
            rows = [row for row in service.series if row["timestamp"] >= to_ms(first)]
            digest = AnswerDigest("ohlcv", "1m")
            if rows:
                digest.add(service.batch_of(rows))
            message["digest"] = digest.text()
        return [message]

    service.edit = edit


def histories(service):
    return [request for request in service.requests if request.get("type") == "request_historical"]


def asked_minutes(service, start):
    """Return the range of each history request, in minutes from *start*."""
    first_ms = int(start.timestamp()) * 1000
    names = ("start_time", "end_time")
    return [tuple((to_ms(each[name]) - first_ms) // MINUTE_MS for name in names) for each in histories(service)]


def to_ms(text):
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def held(start, minutes):
    first = int(start.timestamp()) * 1000
    return [{"start_time": first, "end_time": first + minutes * MINUTE_MS, "state": "held", "bars": minutes}]


async def test_a_stream_goes_on_where_its_connection_was_lost(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(450), drop_after_chunks=2, segments=held(start, 450))

    async with DataClient(service.url, token=TOKEN) as client:
        history = await client.history("binance", "BTC/USDT", "1m", start, end)

    assert history.to_arrow().column("open").to_pylist() == [100.0 + number for number in range(450)]
    asked = [request["start_time"] for request in service.requests if request.get("type") == "request_historical"]
    assert asked == ["2024-01-01T00:00:00Z", "2024-01-01T03:20:00Z", "2024-01-01T06:40:00Z"]
    assert {request.get("end_time") for request in service.requests[1:3]} == {"2024-01-01T07:30:00Z"}


async def test_the_merged_receipt_tells_only_what_somebody_knows(run_service, minute_bars, start, end):
    first = int(start.timestamp()) * 1000
    failed = {"start_time": first, "end_time": first + 10 * MINUTE_MS, "state": "failed", "reason": "down", "bars": 10}
    rest = {"start_time": first + 10 * MINUTE_MS, "end_time": first + 200 * MINUTE_MS, "state": "held", "bars": 190}
    service = run_service(series=minute_bars(250), drop_after_chunks=2, segments=[failed, rest])

    client = DataClient(service.url, token=TOKEN)
    receipt = (await client.history("binance", "BTC/USDT", "1m", start, end, on_gap="ignore")).receipt

    assert (receipt.rows, receipt.chunks, receipt.resumes) == (250, 3, 1)
    assert [(gap.state, gap.reason) for gap in receipt.gaps] == [("failed", "down")]
    assert [segment.state for segment in receipt.coverage] == ["failed", "held", "held"]
    assert receipt.coverage[-1].end == start + timedelta(minutes=250)
    assert (receipt.rows_from_storage, receipt.rows_from_exchange, receipt.exchange_calls) == (None, None, None)
    assert (receipt.elapsed_ms, receipt.digest) == (None, None)


async def test_when_only_the_receipt_was_lost_no_row_is_asked_for_again(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(200), segments=held(start, 200), drop_receipts=1)

    history = await DataClient(service.url, token=TOKEN).history("binance", "BTC/USDT", "1m", start, end)

    assert len(history) == 200
    assert [segment.state for segment in history.coverage] == ["held"]
    assert asked_minutes(service, start) == [(0, 1440)]


async def test_verify_compares_rows_whose_receipt_was_lost_by_asking_for_them_again(
    run_service, minute_bars, start, end
):
    service = run_service(series=minute_bars(250), segments=held(start, 250), drop_after_chunks=2, drop_receipts=2)
    with_digest(service)

    client = DataClient(service.url, token=TOKEN)
    history = await client.history("binance", "BTC/USDT", "1m", start, end, verify=True)

    assert history.to_arrow().column("open").to_pylist() == [100.0 + number for number in range(250)]
    # The last part only, and again where the receipt of that was lost, too.
    assert asked_minutes(service, start) == [(0, 1440), (200, 250), (200, 250), (200, 250)]
    assert history.digest is not None


async def test_verify_asks_the_exchange_for_nothing_again(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(200), segments=held(start, 200), drop_receipts=1)
    with_digest(service)

    client = DataClient(service.url, token=TOKEN)
    await client.history("binance", "BTC/USDT", "1m", start, end, verify=True, refresh=True)

    assert [request.get("refresh") for request in histories(service)] == [True, None]


async def test_verify_compares_the_rows_before_a_rest_that_has_none(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(200), segments=held(start, 200), drop_receipts=1)
    with_digest(service)
    tell_digest = service.edit

    def end_later(message):
        if message.get("type") == "historical_data_start" and len(histories(service)) < 3:
            message["end_time"] = to_ms("2024-01-01T05:00:00Z")
        return tell_digest(message)

    service.edit = end_later

    client = DataClient(service.url, token=TOKEN)
    history = await client.history("binance", "BTC/USDT", "1m", start, end, verify=True)

    assert len(history) == 200
    assert asked_minutes(service, start) == [(0, 1440), (200, 300), (0, 200)]


async def test_rows_whose_receipt_was_lost_are_not_believed_where_the_service_has_others(
    run_service, minute_bars, start, end
):
    service = run_service(series=minute_bars(200), segments=held(start, 200), drop_receipts=1)
    with_digest(service)
    tell_digest = service.edit

    def change_a_row(message):
        if message.get("type") == "historical_data_start" and len(histories(service)) == 2:
            service.series[17]["close"] += 1
        return tell_digest(message)

    service.edit = change_a_row

    with pytest.raises(ProtocolError) as caught:
        await DataClient(service.url, token=TOKEN).history("binance", "BTC/USDT", "1m", start, end, verify=True)

    assert caught.value.code == "digest_mismatch"


async def test_a_service_that_begins_again_from_the_start_is_not_believed(run_service, minute_bars, start, end):
    def begin_again(message):
        if message["type"] == "historical_data_start":
            message["start_time"] = "2024-01-01T00:00:00Z"
        return [message]

    service = run_service(series=minute_bars(250), drop_after_chunks=2, edit=begin_again)

    with pytest.raises(ProtocolError, match="asked to go on from 2024-01-01T03:20:00Z"):
        await DataClient(service.url, token=TOKEN).history("x", "BTC/USDT", "1m", start, end)


async def test_a_restart_is_a_lost_connection(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), close_after_chunks=(1, 1012, ""), segments=held(start, 250))

    assert len(await DataClient(service.url, token=TOKEN).history("x", "BTC/USDT", "1m", start, end)) == 250


async def test_an_expired_token_is_replaced_where_there_is_somebody_to_ask(run_service, minute_bars, start, end):
    tokens = iter([TOKEN] * 10)
    service = run_service(
        series=minute_bars(250), close_after_chunks=(1, 4401, "token_expired"), segments=held(start, 250)
    )

    async def token():
        return next(tokens)

    async with DataClient(service.url, token=token) as client:
        assert len(await client.history("x", "BTC/USDT", "1m", start, end)) == 250

    with pytest.raises(AuthenticationError):
        await DataClient(service.url, token=TOKEN).history("x", "BTC/USDT", "1m", start, end)


async def test_drops_without_progress_are_bounded(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), drop_after_chunks=0)

    with pytest.raises(ConnectionLostError) as caught:
        await DataClient(service.url, token=TOKEN, retries=3).history("x", "BTC/USDT", "1m", start, end)

    assert caught.value.resume_from is None
    assert len(service.request_paths) == 1 + 3


async def test_a_service_that_is_not_there_at_first_is_told_at_once(run_service, start, end):
    with pytest.raises(ServiceUnavailableError):
        await DataClient("ws://127.0.0.1:1/ws/data", token=TOKEN).history("x", "BTC/USDT", "1m", start, end)


@asynccontextmanager
async def cutting_proxy(url, cuts, seed):
    """Yield the address of a proxy to *url* that ends a connection after a random number of bytes, *cuts* times."""
    target = urlsplit(url)
    rng = random.Random(seed)
    done = [0]
    connections = set()

    async def forward(reader, writer):
        connections.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        # Long enough for the handshake, so that most cuts hit rows; but some of those, too.
        left = [rng.randrange(100, 8_000) if done[0] < cuts else None]

        async def pump(source, sink):
            while piece := await source.read(8192):
                if left[0] is not None and sink is writer:
                    piece = piece[: left[0]]
                    left[0] -= len(piece)
                sink.write(piece)
                await sink.drain()
                if left[0] == 0:
                    done[0] += 1
                    break

        tasks = [asyncio.create_task(pump(reader, far_writer)), asyncio.create_task(pump(far_reader, writer))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.transport.abort()
            far_writer.transport.abort()

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{target.path}", done
        await asyncio.gather(*connections)


@pytest.mark.parametrize(("wire_format", "cuts"), [("arrow", 200), ("json_columns", 40)])
async def test_cuts_anywhere_change_no_byte(run_service, minute_bars, start, wire_format, cuts):
    bars = 20_000
    end = start + timedelta(minutes=bars)
    service = run_service(series=minute_bars(bars), chunk_rows=10, segments=held(start, bars))
    with_digest(service)
    options = {"verify": True, "format": wire_format}
    async with DataClient(service.url, token=TOKEN) as client:
        undisturbed = await client.history("binance", "BTC/USDT", "1m", start, end, **options)

    async with (
        cutting_proxy(service.url, cuts, seed=7) as (url, done),
        DataClient(url, token=TOKEN, retries=100) as client,
    ):
        disturbed = await client.history("binance", "BTC/USDT", "1m", start, end, **options)

    assert done[0] == cuts
    assert bytes_of(disturbed) == bytes_of(undisturbed)
    assert disturbed.digest == undisturbed.digest
    assert disturbed.receipt.rows == bars


def bytes_of(history):
    sink = pa.BufferOutputStream()
    table = history.to_arrow().combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("asked", ["any", ["kraken", "coinbase"], ("kraken", "coinbase")], ids=str)
async def test_an_answer_goes_on_with_the_exchange_that_began_it(run_service, minute_bars, start, end, asked):
    """Whatever the service would choose by then."""
    service = run_service(series=minute_bars(450), drop_after_chunks=2, segments=held(start, 450), chosen="coinbase")

    async with DataClient(service.url, token=TOKEN) as client:
        stream = client.stream(asked, "BTC/USDT", "1m", start, end)
        async with stream:
            async for _ in stream:
                service.chosen = "kraken"

    assert (stream.started.exchange, stream.completed.rows) == ("coinbase", 450)
    sent = asked if isinstance(asked, str) else list(asked)
    assert [each["exchange"] for each in service.requests] == [sent, "coinbase", "coinbase", "coinbase"]


async def test_rows_of_another_exchange_are_never_taken_for_the_rest(run_service, minute_bars, start, end):
    def change_exchange(message):
        if message.get("type") == "historical_data_start" and len(histories(service)) > 1:
            message["exchange"] = "kraken"
        return [message]

    service = run_service(series=minute_bars(450), drop_after_chunks=2, edit=change_exchange)

    with pytest.raises(ProtocolError, match="asked to go on with binance, the service answers for kraken"):
        await DataClient(service.url, token=TOKEN).history("binance", "BTC/USDT", "1m", start, end)
