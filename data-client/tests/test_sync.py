"""`SyncDataClient`: the same answers without asyncio, and beside a loop that runs."""

import asyncio
import threading

import pytest

from cb_trade_client import ConnectionLostError, RequestError, SyncDataClient

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1m")


def test_each_verb_waits_for_its_answer(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), exchanges=[], stored_series=[])

    with SyncDataClient(service.url, token=TOKEN) as client:
        assert len(client.history(*SERIES, start, end)) == 250
        assert client.latest(*SERIES).closed_until == end
        assert client.wait_until(*SERIES, end).closed_until == end
        assert client.plan(*SERIES, start, end).exchange_calls == 2
        assert client.coverage(*SERIES).segments == ()
        assert (client.exchanges(), client.series()) == ((), ())


def test_a_stream_is_read_with_a_plain_loop(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), chunk_rows=100)

    with SyncDataClient(service.url, token=TOKEN) as client, client.stream(*SERIES, start, end) as stream:
        assert stream.started.estimated_rows == 250
        assert [batch.num_rows for batch in stream] == [100, 100, 50]
        assert stream.completed.rows == 250
        assert stream.schema.names[0] == "timestamp"


def test_leaving_a_loop_early_ends_the_request(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)

    with SyncDataClient(service.url, token=TOKEN) as client:
        with client.stream(*SERIES, start, end) as stream:
            for _ in stream:
                break

        assert service.connection_ended.wait(5)


async def test_it_works_where_a_loop_is_running_already(run_service, minute_bars, start, end):
    # As in a notebook. The service has threads of its own, so that blocking this loop is fine here.
    assert asyncio.get_running_loop().is_running()
    service = run_service(series=minute_bars(250))

    with SyncDataClient(service.url, token=TOKEN) as client:
        assert len(client.history(*SERIES, start, end)) == 250


def test_errors_come_out_as_they_are(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), drop_after_chunks=0)

    with SyncDataClient(service.url, token=TOKEN, retries=0) as client:
        with pytest.raises(ConnectionLostError):
            client.history(*SERIES, start, end)
        with pytest.raises(RequestError):
            client.history(*SERIES, end, start)


def test_a_closed_client_says_so_and_leaves_no_thread(run_service):
    before = threading.active_count()
    client = SyncDataClient(run_service().url, token=TOKEN)

    client.close()
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.latest(*SERIES)
    assert threading.active_count() <= before + 1  # that of the service
