"""`SyncDataClient`: the same answers without asyncio, and beside a loop that runs."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from cb_trade_client import ConnectionLostError, RequestError, SyncDataClient

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1m")
WAIT_SECS = 5


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


def in_a_thread(work):
    """Return what *work* will have come to."""
    outcome = Future()

    def run():
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - told to whoever asks for the outcome
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # one that waits for ever is not to hold up the tests
    return outcome


def test_closing_ends_what_another_thread_waits_for(run_service):
    is_asked = threading.Event()

    def tell(message):
        is_asked.set()
        return [message]

    client = SyncDataClient(run_service(edit=tell).url, token=TOKEN)
    outcome = in_a_thread(lambda: client.wait_until(*SERIES, "2099-01-01T00:00:00Z"))
    assert is_asked.wait(WAIT_SECS)

    client.close()

    with pytest.raises(RuntimeError, match="the client is closed"):
        outcome.result(WAIT_SECS)


def test_closing_ends_a_stream_that_another_thread_reads(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)
    client = SyncDataClient(service.url, token=TOKEN)
    has_begun = threading.Event()

    def read():
        with client.stream(*SERIES, start, end) as stream:
            for _ in stream:
                has_begun.set()

    outcome = in_a_thread(read)
    assert has_begun.wait(WAIT_SECS)

    client.close()

    with pytest.raises(RuntimeError, match="the client is closed"):
        outcome.result(WAIT_SECS)
    assert service.connection_ended.wait(WAIT_SECS)


def test_a_stream_is_left_without_an_error_after_its_client_was_closed(run_service, minute_bars, start, end):
    service = run_service(series=minute_bars(250), hold_after_chunks=1)
    client = SyncDataClient(service.url, token=TOKEN)

    with client.stream(*SERIES, start, end):
        client.close()

    assert service.connection_ended.wait(WAIT_SECS)
