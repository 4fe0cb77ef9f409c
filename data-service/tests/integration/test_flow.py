"""Readers that stop, queues that fill, ranges that are long: nothing grows without bound."""

from __future__ import annotations

import asyncio
import errno
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
from service_harness import at, eventually, historical, running_service
from structlog.testing import capture_logs

from cb_trade_data.api.connection import ConnectionLimits
from cb_trade_data.config import StorageSettings
from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES
from cb_trade_data.historical.read_ahead import BARS_AHEAD_MAX


async def test_a_reader_that_stops_is_given_up_with_4408(simulator, tmp_path):
    year = at("2023-01-01"), at("2024-01-01")
    limits = ConnectionLimits(send_timeout_secs=0.5)
    async with running_service(tmp_path, simulator.base_url, limits) as service:
        async with service.client() as client:
            await client.history(*year, timeframe="5m")
        with capture_logs() as logs:
            async with service.client() as stalled, service.client() as other:
                stalled.connection.transport.pause_reading()
                for number in range(4):
                    await stalled.send(historical(*year, timeframe="5m", request_id=str(number)))
                # While one reader stalls, others are served.
                reply = await other.history(at("2023-01-01"), at("2023-01-02"), timeframe="5m")
                await eventually(lambda: any(entry["event"] == "connection.closing" for entry in logs))
                stalled.connection.transport.resume_reading()
                code = await stalled.close_code()

    assert reply.last["rows"] == 288
    assert code == 4408


async def test_requests_beyond_the_limit_wait_and_beyond_the_queue_are_refused(simulator, tmp_path):
    limits = ConnectionLimits(running_requests=2, open_requests=4)
    day = at("2024-01-01"), at("2024-01-02")
    async with running_service(tmp_path, simulator.base_url, limits) as service, service.client() as client:
        simulator.hold("klines")
        for number in range(5):
            await client.send(historical(*day, request_id=str(number)))
        answers = [await client.receive() for _ in range(3)]
        simulator.release("klines")
        ended = {(await client.rest()).last["request_id"] for _ in range(4)}

    starts = {answer["request_id"] for answer in answers if answer["type"] == "historical_data_start"}
    [refused] = [answer for answer in answers if answer["type"] == "error_response"]
    assert starts == {"0", "1"}
    assert (refused["request_id"], refused["code"], refused["retryable"]) == ("4", "too_many_requests", True)
    assert ended == {"0", "1", "2", "3"}


async def test_a_range_with_more_rows_than_a_request_may_have_is_refused(simulator, tmp_path):
    limits = ConnectionLimits(request_rows=1440)
    async with running_service(tmp_path, simulator.base_url, limits) as service, service.client() as client:
        refused = await client.ask(historical(at("2024-01-01"), at("2024-01-02T00:01")))
        unplanned = await client.ask(historical(at("2024-01-01"), at("2024-01-02T00:01")) | {"type": "plan_historical"})
        calls = simulator.calls.by_endpoint["klines"]
        reply = await client.history(at("2024-01-01"), at("2024-01-02"))

    assert (refused["code"], refused["retryable"]) == ("range_too_large", False)
    assert refused["details"] == unplanned["details"] == {"rows": 1441, "limit": 1440}
    assert unplanned["code"] == "range_too_large"
    assert calls == 0
    assert reply.last["rows"] == 1440


async def test_where_bars_are_derived_the_shorter_ones_count_for_how_many_a_request_may_have(simulator, tmp_path):
    limits = ConnectionLimits(request_rows=1440)
    of_quarters = {"timeframe": "45m", "derive": True}
    async with running_service(tmp_path, simulator.base_url, limits) as service, service.client() as client:
        refused = await client.ask(historical(at("2024-01-01"), at("2024-01-17")) | of_quarters)
        unplanned = await client.ask(
            historical(at("2024-01-01"), at("2024-01-17")) | of_quarters | {"type": "plan_historical"}
        )
        reply = await client.history(at("2024-01-01"), at("2024-01-16"), **of_quarters)

    assert refused["code"] == unplanned["code"] == "range_too_large"
    assert refused["details"] == unplanned["details"] == {"rows": 16 * 96, "limit": 1440}
    assert reply.last["rows"] == 15 * 32


async def test_memory_does_not_grow_with_the_range_beyond_what_may_be_kept(simulator, tmp_path):
    """The peak of Arrow memory while three years stream is that of a few months, cold and warm."""
    pool = pa.default_memory_pool()
    years = at("2021-01-01"), at("2024-01-01")
    month_bytes = 31 * 288 * 6 * 8  # bars a day, columns, bytes
    storage = StorageSettings(root=tmp_path, cache_max_bytes=2 * month_bytes)

    async with running_service(storage, simulator.base_url) as service, service.client() as client:

        async def peak_bytes() -> int:
            peak = 0
            await client.send(historical(*years, timeframe="5m"))
            while (await client.receive())["type"] != "historical_data_complete":
                peak = max(peak, pool.bytes_allocated())
            return peak

        before = pool.bytes_allocated()
        cold = await peak_bytes() - before
        warm = await peak_bytes() - before

    # Of 36 months: what may be kept, the one that is sent or stored, and the next one, copied while put together.
    assert 0 < cold < 18 * month_bytes
    # And what is read ahead, the last of it copied.
    assert warm < 18 * month_bytes + BARS_AHEAD_MAX * 6 * 8


async def test_a_disk_that_refuses_costs_the_client_nothing_and_shows_in_health(
    client, service, simulator, monkeypatch
):
    day = at("2024-01-01"), at("2024-01-02")
    await client.history(*day)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        reply = await client.history(at("2024-02-01"), at("2024-02-02"))
        unready = await _get(f"{service.http_url}/health/ready")
    # Another partition first: the flight that could not store may still be at its last try.
    await client.history(at("2024-03-01"), at("2024-03-02"))
    again = await client.history(at("2024-02-01"), at("2024-02-02"))
    ready = await _get(f"{service.http_url}/health/ready")

    truth = simulator.candles("BTC/USDT", "1m", at("2024-02-01"), at("2024-02-02"))
    np.testing.assert_array_equal(reply.rows, truth)
    np.testing.assert_array_equal(again.rows, truth)
    assert unready[0] == 503
    assert "No space left" in unready[1]["components"]["storage"]["problem"]
    assert ready[0] == 200


async def test_objects_that_cannot_be_read_cost_the_client_nothing_and_stay_as_they_are(
    client, service, simulator, tmp_path, monkeypatch
):
    """Their permissions are wrong, say: rows come from the exchange, and from storage again once that is put right."""
    days = at("2024-01-01"), at("2024-01-03")
    await client.history(*days)
    stored = {file: file.read_bytes() for file in tmp_path.rglob("*.parquet")}
    opened = Path.open

    def denied(path, *arguments, **options):
        if path.suffix == ".parquet" or path.name == "_series.json":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        reply = await client.history(*days)
        unready = await _get(f"{service.http_url}/health/ready")
    simulator.calls.reset()
    again = await client.history(*days)

    truth = simulator.candles("BTC/USDT", "1m", *days)
    np.testing.assert_array_equal(reply.rows, truth)
    np.testing.assert_array_equal(again.rows, truth)
    assert reply.last["rows_from_exchange"] == again.last["rows_from_storage"] == len(truth)
    assert simulator.calls.total == 0
    assert unready[0] == 503
    assert "Permission denied" in unready[1]["components"]["storage"]["problem"]
    assert {file: file.read_bytes() for file in stored} == stored


async def test_one_partition_that_cannot_be_read_degrades_the_service_until_it_can(client, service, tmp_path):
    """Not only until another one is read; and as the others can be, the service is not taken out of use."""
    day, other = (at("2024-01-01"), at("2024-01-02")), (at("2024-02-01"), at("2024-02-02"))
    await client.history(*day)
    [file] = tmp_path.rglob("part.parquet")
    aside = file.rename(tmp_path / "aside")
    file.mkdir()
    await client.history(*day)
    await client.history(*other)
    await client.history(*other)
    status, degraded = await _get(f"{service.http_url}/health/ready")
    file.rmdir()
    aside.rename(file)
    await client.history(at("2024-01-01"), at("2024-01-03"))
    ready = await _get(f"{service.http_url}/health/ready")

    assert (status, degraded["status"]) == (200, "degraded")
    assert "Is a directory" in degraded["components"]["storage"]["problem"]
    assert degraded["storage"]["problems"]
    assert degraded["storage"]["failed_reads"] > 0
    storage = ready[1]["components"]["storage"]
    assert (ready[1]["status"], storage["status"], storage["problem"]) == ("ok", "ok", None)
    assert ready[1]["storage"]["problems"] == []
    # What once went wrong stays on record.
    assert "Is a directory" in storage["last_error"]
    assert storage["last_error_age_secs"] >= 0
    assert ready[1]["storage"]["failed_reads"] >= degraded["storage"]["failed_reads"]


async def test_a_write_that_fails_once_loses_nothing_once_one_succeeds(client, service, simulator, monkeypatch):
    """The first waiter's commit fails, the second one's succeeds: both ranges are stored, and neither is cut short."""
    days = [(at(f"2024-01-0{number}"), at(f"2024-01-0{number + 1}")) for number in (1, 2, 3)]
    replace, failures = Path.replace, iter([True])

    def failing_once(self, target):
        if str(target).endswith("part.parquet") and next(failures, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    await client.history(*days[0])  # so that the market is known to be listed, and pages go side by side
    monkeypatch.setattr(Path, "replace", failing_once)
    simulator.hold("klines", after=3)
    async with service.client() as second:
        await second.send(historical(*days[2]))
        await simulator.wait_for_calls("klines", 4)
        first = asyncio.create_task(client.history(*days[1]))
        await simulator.wait_for_calls("klines", 6)
        simulator.release("klines")
        replies = [await first, await second.rest()]
    simulator.calls.reset()
    again = await client.history(days[0][0], days[2][1])

    for reply, day in zip(replies, days[1:], strict=True):
        np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *day))
    np.testing.assert_array_equal(again.rows, simulator.candles("BTC/USDT", "1m", days[0][0], days[2][1]))
    assert next(failures, None) is None


async def test_health_tells_each_component_and_asks_no_exchange(service, simulator):
    names = [facts.id for facts in EXCHANGES]
    well = {"status": "ok", "problem": None, "last_error": None, "last_error_age_secs": None}
    live = await _get(f"{service.http_url}/health/live")
    ready = await _get(f"{service.http_url}/health/ready")

    assert live == (200, {"status": "ok"})
    assert ready == (
        200,
        {
            "status": "ok",
            "components": {
                "storage": well,
                "auth_keys": well,
                "exchanges": dict.fromkeys(names, well | {"status": "unused"}),
            },
            "storage": {
                "failed_reads": 0,
                "failed_writes": 0,
                "failed_checks": 0,
                "restated_rows": 0,
                "damaged_objects": 0,
                "problems": [],
            },
            "exchanges": {
                facts.id: {
                    "breaker": "closed",
                    "markets_held_up": 0,
                    "calls_per_sec": round(facts.pace.calls_per_sec, 3),
                    "full_calls_per_sec": round(facts.pace.calls_per_sec, 3),
                    "waiting": 0,
                    "under_way": 0,
                    "paused_secs": 0.0,
                }
                for facts in EXCHANGES
            },
        },
    )
    assert simulator.calls.total == 0


async def test_a_service_that_stops_closes_with_1012(simulator, tmp_path):
    async with AsyncExitStack() as stack:
        async with running_service(tmp_path, simulator.base_url) as service:
            client = await stack.enter_async_context(service.client())
        code = await client.close_code()

    assert code == 1012


async def _get(url: str) -> tuple[int, dict]:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def test_a_client_that_never_reads_cannot_pile_up_requests(simulator, tmp_path):
    limits = ConnectionLimits(running_requests=4, open_requests=8)
    async with running_service(tmp_path, simulator.base_url, limits) as service, service.client() as client:
        await client.history(at("2024-01-01"), at("2024-01-02"))
        client.connection.transport.pause_reading()
        tasks_before = len(asyncio.all_tasks())
        with capture_logs() as logs:
            for number in range(300):
                message = historical(at("2024-01-01"), at("2024-01-02"), request_id=str(number))
                await asyncio.wait_for(client.send(message), 1) if number < 20 else await _offer(client, message)
            refused = [entry for entry in logs if entry.get("code") == "too_many_requests"]

        assert refused
        assert len(asyncio.all_tasks()) - tasks_before <= 2 * limits.open_requests


async def _offer(client, message) -> None:
    """Send unless the service has stopped reading, too."""
    try:
        await asyncio.wait_for(client.send(message), 0.01)
    except TimeoutError:
        return
