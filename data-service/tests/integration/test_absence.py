"""Why what is missing is missing: each absence is told apart, and only the right ones are asked about again."""

from __future__ import annotations

import numpy as np
import pytest
from service_harness import at, ms, running_service

from cb_trade_data.models.timeframe import Timeframe
from cb_trade_simulator import ExchangeSimulator, ManualClock
from cb_trade_simulator.faults import BodyFault, RowsFault, StatusFault

DAY = at("2024-01-01"), at("2024-01-02")


def states(reply) -> list[str]:
    return [segment["state"] for segment in reply.last["coverage"]]


async def test_before_listing_is_unlisted_and_costs_one_page_and_one_probe(client, simulator):
    start, end = at("2019-01-01"), at("2020-08-12")
    listed = simulator.listed_at("SOL/USDT")

    cold = await client.history(start, end, symbol="SOL/USDT")
    calls = simulator.calls.by_endpoint["klines"]
    simulator.calls.reset()
    warm = await client.history(start, end, symbol="SOL/USDT")

    np.testing.assert_array_equal(cold.rows, simulator.candles("SOL/USDT", "1m", start, end))
    np.testing.assert_array_equal(warm.rows, cold.rows)
    assert calls == 1 + 1 + 2  # the empty page, the probe, and the two pages that exist
    assert simulator.calls.total == 0
    for reply in (cold, warm):
        assert reply.last["coverage"] == [
            {"start_time": ms(start), "end_time": ms(listed), "state": "unlisted"},
            {"start_time": ms(listed), "end_time": ms(end), "state": "held"},
        ]
        assert reply.last["gaps"] == []


@pytest.mark.parametrize(
    ("symbol", "timeframe", "start", "first_bar", "end"),
    [
        ("BTC/USDT", "1d", "2017-06-01", "2017-08-17", "2018-06-01"),
        ("BTC/USDT", "1w", "2017-06-05", "2017-08-14", "2018-06-04"),
        ("BTC/USDT", "1M", "2017-05-15", "2017-08-01", "2018-06-01"),
        ("BTC/USDT", "1h", "2017-08-10", "2017-08-17T04:00", "2017-08-20"),
        ("SOL/USDT", "1m", "2020-08-11T00:00", "2020-08-11T06:00", "2020-08-11T12:00"),
    ],
)
async def test_a_page_across_the_listing_tells_what_lies_before_it_as_empty_pages_do(
    simulator, tmp_path, symbol, timeframe, start, first_bar, end
):
    async def ask(client, since: str) -> None:
        first_asked = Timeframe.parse(timeframe).ceil(at(since))
        reply = await client.history(at(since), at(end), symbol=symbol, timeframe=timeframe)
        np.testing.assert_array_equal(reply.rows, simulator.candles(symbol, timeframe, at(since), at(end)))
        assert reply.last["coverage"] == [
            {"start_time": ms(first_asked), "end_time": ms(at(first_bar)), "state": "unlisted"},
            {"start_time": ms(at(first_bar)), "end_time": ms(at(end)), "state": "held"},
        ]
        assert reply.last["gaps"] == []
        assert reply.last["exchange_calls"] == min(simulator.calls.total, 1)

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        await ask(client, start)
        assert simulator.calls.by_endpoint["klines"] == 1 + 1  # the page, and the probe
        simulator.calls.reset()
        await ask(client, start)
        await ask(client, "2015-01-01")
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        await ask(client, start)

    assert simulator.calls.total == 0


async def test_a_listing_that_cannot_be_looked_up_after_a_page_across_it_costs_no_row(client, simulator):
    start, end, listed = at("2017-06-01"), at("2018-06-01"), at("2017-08-17")
    simulator.inject(RowsFault(lambda rows: rows), endpoint="klines", times=1)
    simulator.inject(StatusFault(503), endpoint="klines", times=5)
    first = await client.history(start, end, timeframe="1d")
    second = await client.history_when_back(start, end, timeframe="1d")

    for reply in (first, second):
        np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1d", start, end))
    assert [(gap["start_time"], gap["end_time"], gap["state"]) for gap in first.last["gaps"]] == [
        (ms(start), ms(listed), "failed")
    ]
    assert states(second) == ["unlisted", "held"]
    assert second.last["rows_from_exchange"] == 0


async def test_asking_for_everything_since_1970_costs_no_more_than_what_exists(client, simulator):
    reply = await client.history(at("1970-01-01"), at("2018-01-01"), timeframe="1h")

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1h", at("2017-01-01"), at("2018-01-01")))
    assert states(reply) == ["unlisted", "held"]
    assert reply.last["exchange_calls"] == 1 + 4  # the empty page of 1970, then what 2017 has


async def test_an_outage_inside_an_answered_page_is_genuine(client, simulator):
    start, end = at("2020-06-28T00:00"), at("2020-06-28T08:00")

    cold = await client.history(start, end)
    warm = await client.history(start, end)

    assert cold.last["rows"] == 8 * 60 - 3 * 60
    np.testing.assert_array_equal(warm.rows, cold.rows)
    assert states(cold) == ["held"]
    assert simulator.calls.by_endpoint["klines"] == 1


async def test_asked_and_empty_is_remembered_with_its_date(client, simulator):
    start, end = at("2020-06-28T02:30"), at("2020-06-28T04:00")

    cold = await client.history(start, end)
    simulator.calls.reset()
    warm = await client.history(start, end)

    assert simulator.calls.total == 0
    for reply in (cold, warm):
        [gap] = reply.last["gaps"]
        assert (gap["start_time"], gap["end_time"], gap["state"]) == (ms(start), ms(end), "empty")
        assert gap["asks"] == 1
        assert gap["asked_at"] > ms(at("2024-01-01"))
        assert (reply.last["rows"], reply.last["chunks"]) == (0, 0)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(StatusFault(503), id="503"),
        pytest.param(StatusFault(429, headers={"Retry-After": "1"}), id="429"),
        pytest.param(StatusFault(418), id="418"),
        pytest.param(BodyFault("<html>Sorry</html>"), id="HTML with status 200"),
        pytest.param(BodyFault('[[1704067200000,"42'), id="JSON cut in the middle"),
        pytest.param(BodyFault(""), id="nothing with status 200"),
    ],
)
async def test_an_error_is_a_gap_with_its_reason_and_never_an_absence(client, simulator, fault):
    simulator.inject(fault, endpoint="klines", times=None)
    failed = await client.history(*DAY)
    simulator.clear_faults()
    repaired = await client.history_when_back(*DAY)

    assert {gap["state"] for gap in failed.last["gaps"]} == {"failed"}
    assert all(gap["reason"] for gap in failed.last["gaps"])
    assert failed.last["rows"] == 0
    np.testing.assert_array_equal(repaired.rows, simulator.candles("BTC/USDT", "1m", *DAY))
    assert repaired.last["gaps"] == []


async def test_a_fault_that_passes_is_tried_again_and_leaves_no_trace(client, simulator):
    simulator.inject(StatusFault(503), endpoint="klines", times=2)

    reply = await client.history(*DAY)

    np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *DAY))
    assert reply.last["gaps"] == []
    assert reply.last["exchange_calls"] == simulator.calls.by_endpoint["klines"] == 2 + 2


async def test_one_failing_page_leaves_the_others_alone(client, simulator):
    days = at("2024-01-01"), at("2024-01-04")
    broken = ms(at("2024-01-02T09:20")), ms(at("2024-01-03T02:00"))  # the third page
    simulator.inject(RowsFault(lambda rows: {"status": 1} if rows[0][0] == broken[0] else rows), times=None)

    reply = await client.history(*days)

    truth = simulator.candles("BTC/USDT", "1m", *days)
    kept = (truth["timestamp"] < broken[0]) | (truth["timestamp"] >= broken[1])
    np.testing.assert_array_equal(reply.rows, truth[kept])
    assert [(gap["start_time"], gap["end_time"], gap["state"]) for gap in reply.last["gaps"]] == [(*broken, "failed")]
    assert reply.last["exchange_calls"] == 4 + 5


async def test_impossible_rows_are_neither_sent_nor_taken_for_an_absence(client, simulator):
    def spoil(rows):
        for row in rows:
            if row[0] == ms(at("2024-01-01T00:10")):
                row[2], row[3] = row[3], row[2]  # high and low swapped
            if row[0] == ms(at("2024-01-01T00:20")):
                row[1] = None
        return rows

    simulator.inject(RowsFault(spoil), endpoint="klines", times=5)
    spoiled = await client.history(at("2024-01-01"), at("2024-01-01T01:00"))
    repaired = await client.history(at("2024-01-01"), at("2024-01-01T01:00"))

    assert spoiled.last["rows"] == 58
    assert [(gap["start_time"] - ms(DAY[0])) // 60_000 for gap in spoiled.last["gaps"]] == [10, 20]
    assert {gap["state"] for gap in spoiled.last["gaps"]} == {"failed"}
    assert repaired.last["rows"] == 60


async def test_a_page_shortened_by_a_duplicate_loses_nothing(client, simulator):
    def duplicate(rows):
        return [rows[0], *rows]

    simulator.inject(RowsFault(duplicate), endpoint="klines", times=1)

    reply = await client.history(at("2024-01-01"), at("2024-01-01T16:00"))

    np.testing.assert_array_equal(
        reply.rows, simulator.candles("BTC/USDT", "1m", at("2024-01-01"), at("2024-01-01T16:00"))
    )


async def test_the_open_bar_is_neither_sent_nor_stored_and_the_end_is_clipped_to_the_exchanges_clock(tmp_path):
    clock = ManualClock(at("2024-06-01T12:00:30"))
    async with (
        ExchangeSimulator(clock=clock).serve() as simulator,
        running_service(tmp_path, simulator.base_url) as service,
        service.client() as client,
    ):
        reply = await client.history(at("2024-06-01T11:00"), at("2024-06-01T18:00"))
        current = await client.ask(
            {"type": "request_current_timestamp", "exchange": "binance", "symbol": "BTC/USDT", "timeframe": "1m"}
        )

        assert reply.start["end_time"] == ms(at("2024-06-01T12:00"))
        assert reply.rows["timestamp"][-1] == ms(at("2024-06-01T11:59"))
        assert current["timestamp"] == ms(at("2024-06-01T11:59"))
        assert current["closed_until"] == ms(at("2024-06-01T12:00"))


async def test_a_quiet_minute_of_today_is_empty_not_held(tmp_path):
    clock = ManualClock(at("2024-06-01T12:00:30"))
    async with (
        ExchangeSimulator(clock=clock).serve() as simulator,
        running_service(tmp_path, simulator.base_url) as service,
        service.client() as client,
    ):
        simulator.inject(RowsFault(lambda rows: rows[:5] + rows[6:]), endpoint="klines", times=1)
        reply = await client.history(at("2024-06-01T11:00"), at("2024-06-01T12:00"))

        assert [(gap["start_time"], gap["state"]) for gap in reply.last["gaps"]] == [
            (ms(at("2024-06-01T11:05")), "empty")
        ]


async def test_an_answer_at_the_edge_of_now_is_settled_after_a_restart_without_any_call(simulator, tmp_path):
    """The newest closed day: neither the clock nor the markets may be asked for again."""
    start, end = at("2025-01-01"), at("2099-01-01")
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        first = await client.history(start, end, timeframe="1w")
    simulator.calls.reset()

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        second = await client.history(start, end, timeframe="1w")

    assert simulator.calls.total == 0
    np.testing.assert_array_equal(second.rows, first.rows)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda rows: {"status": 1, "msg": "maintenance"}, id="an object"),
        pytest.param(lambda rows: {}, id="an empty object"),
        pytest.param(lambda rows: {"code": "x"}, id="an error with a code that is none"),
        pytest.param(lambda rows: [[1e300, *row[1:]] for row in rows], id="times beyond all measure"),
        pytest.param(lambda rows: [None], id="a list of nothing"),
        pytest.param(lambda rows: [[]] * len(rows), id="empty rows"),
        pytest.param(lambda rows: [{"openTime": row[0]} for row in rows], id="rows of another form"),
        pytest.param(lambda rows: [["soon", *row[1:]] for row in rows], id="times that are words"),
        pytest.param(
            lambda rows: [row if number % 2 else None for number, row in enumerate(rows)], id="every other row"
        ),
        pytest.param(lambda rows: [[row[0] * 1000, *row[1:]] for row in rows], id="microseconds"),
        pytest.param(lambda rows: [[row[0] + 1, *row[1:]] for row in rows], id="times off the grid"),
    ],
)
async def test_a_broken_answer_with_status_200_is_never_an_absence(client, simulator, change):
    simulator.inject(RowsFault(change), endpoint="klines", times=None)
    broken = await client.history(*DAY)
    simulator.clear_faults()
    repaired = await client.history_when_back(*DAY)

    assert set(states(broken)) == {"failed"}
    assert broken.last["rows"] == 0
    np.testing.assert_array_equal(repaired.rows, simulator.candles("BTC/USDT", "1m", *DAY))


async def test_a_listing_that_cannot_be_looked_up_costs_only_its_own_page(client, simulator):
    """The first page is empty, the probe fails: a gap, not an error, and not for ever."""
    start, end = at("2020-08-10"), at("2020-08-12")
    simulator.inject(RowsFault(lambda rows: []), endpoint="klines", times=1)
    simulator.inject(StatusFault(503), endpoint="klines", times=5)
    first = await client.history(start, end, symbol="SOL/USDT")
    second = await client.history_when_back(start, end, symbol="SOL/USDT")

    assert first.last["type"] == "historical_data_complete"
    assert first.last["gaps"][0]["state"] == "failed"
    np.testing.assert_array_equal(second.rows, simulator.candles("SOL/USDT", "1m", start, end))
    assert states(second) == ["unlisted", "held"]


async def test_a_listing_that_cannot_be_true_is_not_believed(client, simulator):
    simulator.inject(RowsFault(lambda rows: []), endpoint="klines", times=1)
    simulator.inject(RowsFault(lambda rows: [[ms(at("2190-01-01")), *rows[0][1:]]]), endpoint="klines", times=1)
    first = await client.history(*DAY)
    second = await client.history(*DAY)

    assert states(first)[0] == "failed"
    np.testing.assert_array_equal(second.rows, simulator.candles("BTC/USDT", "1m", *DAY))


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(lambda rows: [], id="no bar at all"),
        pytest.param(lambda rows: [[ms(at("2024-05-01")), *rows[0][1:]]], id="later than a stored one"),
    ],
)
async def test_a_listing_that_contradicts_what_is_stored_hides_none_of_it(client, simulator, probe):
    april, march = (at("2024-04-01"), at("2024-04-02")), (at("2024-03-01"), at("2024-03-02"))
    await client.history(*april)
    simulator.inject(RowsFault(lambda rows: []), endpoint="klines", times=1)
    simulator.inject(RowsFault(probe), endpoint="klines", times=1)
    await client.history(*march)

    for day in (april, march):
        reply = await client.history(*day)
        np.testing.assert_array_equal(reply.rows, simulator.candles("BTC/USDT", "1m", *day))


async def test_two_empty_answers_do_not_blind_the_rest_of_a_series(client, simulator):
    simulator.inject(RowsFault(lambda rows: []), endpoint="klines", times=2)  # the first page, and the probe
    await client.history(*DAY)

    other = await client.history(at("2024-02-01"), at("2024-02-02"))
    refreshed = await client.history(*DAY, refresh=True)

    assert other.last["rows"] == refreshed.last["rows"] == 1440


async def test_a_range_before_listing_is_settled_after_a_restart_without_any_call(simulator, tmp_path):
    start, end = at("2019-01-01"), at("2019-02-01")
    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        await client.history(start, end, symbol="SOL/USDT")
    simulator.calls.reset()

    async with running_service(tmp_path, simulator.base_url) as service, service.client() as client:
        reply = await client.history(start, end, symbol="SOL/USDT")

    assert states(reply) == ["unlisted"]
    assert simulator.calls.total == 0


async def test_a_refresh_that_fails_says_so_although_rows_are_held(client, simulator):
    await client.history(*DAY)
    simulator.inject(StatusFault(503), endpoint="klines", times=None)

    reply = await client.history(*DAY, refresh=True)

    assert reply.last["rows"] == 1440
    assert {gap["state"] for gap in reply.last["gaps"]} == {"failed"}
    assert reply.last["exchange_calls"] == simulator.calls.by_endpoint["klines"] - 2


async def test_a_reason_holds_no_address(tmp_path):
    async with (
        ExchangeSimulator().serve() as simulator,
        running_service(tmp_path, simulator.base_url) as service,
        service.client() as client,
    ):
        simulator.inject(StatusFault(503), endpoint="klines", times=None)
        reply = await client.history(*DAY)

        assert all("127.0.0.1" not in gap["reason"] for gap in reply.last["gaps"])


async def test_a_clock_that_answers_late_closes_no_bar_early(tmp_path):
    """The exchange reads its clock, and its answer takes four seconds: more than the settle margin."""
    clock = ManualClock(at("2024-06-01T12:00:58"))
    async with (
        ExchangeSimulator(clock=clock).serve() as simulator,
        running_service(tmp_path, simulator.base_url) as service,
        service.client() as client,
    ):

        def slowly(answer):
            clock.set(at("2024-06-01T12:01:02"))
            return {"serverTime": ms(at("2024-06-01T12:00:58"))}

        simulator.inject(RowsFault(slowly), endpoint="time", times=1)
        reply = await client.history(at("2024-06-01T11:59"), at("2024-06-01T12:05"))

        assert reply.rows["timestamp"].tolist() == [ms(at("2024-06-01T11:59"))]
