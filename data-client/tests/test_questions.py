"""The small questions: `latest`, `plan` and `wait_until`, all on one connection."""

import asyncio
from datetime import timedelta

import pytest

from cb_trade_client import (
    ConnectionLostError,
    DataClient,
    LatestBar,
    PlanResult,
    ProtocolError,
    ServiceUnavailableError,
    TimeSpan,
)
from cb_trade_client.retrying import _secs_after
from cb_trade_client.waiting import RETRIES_WHILE_AWAY, WAIT_MAX_SECS, WAIT_MIN_SECS, secs_until_next_question

TOKEN = "good.token"


@pytest.fixture
async def ask(run_service):
    """Make a client of a service with some fields; it is closed after the test."""
    clients = []

    def connect(retries=5, **fields):
        service = run_service(**fields)
        clients.append(DataClient(service.url, token=TOKEN, retries=retries))
        return service, clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
def waits(monkeypatch):
    """Take what happens after a try that may be worth another one, a function of its number; no time passes."""
    tries = []

    def expect(event=lambda number: None):
        def no_wait(error, number):
            tries.append(number)
            event(number)
            return 0

        monkeypatch.setattr("cb_trade_client.retrying._secs_after", no_wait)
        return tries

    return expect


QUESTIONS = {
    "latest": lambda client, start, end: client.latest("binance", "BTC/USDT", "1m"),
    "plan": lambda client, start, end: client.plan("binance", "BTC/USDT", "1m", start, end),
    "history": lambda client, start, end: client.history("binance", "BTC/USDT", "1m", start, end),
    "wait_until": lambda client, start, end: client.wait_until("binance", "BTC/USDT", "1m", end),
}


async def test_latest_tells_the_newest_stored_bar_and_how_far_bars_have_closed(ask, minute_bars, start):
    service, client = ask(series=minute_bars(10))

    answer = await client.latest("binance", "BTC/USDT", "1m")

    assert answer == LatestBar(
        timestamp=start + timedelta(minutes=9), closed_until=start + timedelta(days=1), exchange="binance"
    )
    request = service.requests[0]
    del request["request_id"]
    assert request == {
        "type": "request_current_timestamp",
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "timeframe": "1m",
    }


async def test_latest_has_no_timestamp_when_nothing_is_stored(ask):
    _, client = ask(series=[])

    assert (await client.latest("binance", "BTC/USDT", "1m")).timestamp is None


def untold(message):
    return [{name: value for name, value in message.items() if name != "exchange"}]


@pytest.mark.parametrize("question", ["latest", "plan", "wait_until"])
async def test_an_exchange_that_was_asked_for_by_its_name_need_not_be_told(ask, question, start, end):
    _, client = ask(edit=untold)

    assert (await QUESTIONS[question](client, start, end)).exchange == "binance"


@pytest.mark.parametrize("asked", ["any", ["binance", "kraken"]])
async def test_an_exchange_that_was_chosen_must_be_told(ask, asked, start, end):
    _, client = ask(edit=untold)

    for question in (client.latest(asked, "BTC/USDT", "1m"), client.plan(asked, "BTC/USDT", "1m", start, end)):
        with pytest.raises(ProtocolError):
            await question


async def test_plan_tells_what_would_be_read_and_fetched(ask, start, end):
    service, client = ask()

    answer = await client.plan("binance", "BTC/USDT", "1m", start, end)

    assert answer == PlanResult(
        exchange="binance",
        rows_in_storage=7,
        missing=(TimeSpan(start, end),),
        missing_truncated=False,
        exchange_calls=2,
    )
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


async def test_questions_share_one_connection_and_each_gets_its_own_answer(ask, start, end):
    service, client = ask()

    *reaches, plan = await asyncio.gather(
        *(client.latest("binance", "BTC/USDT", "1m") for _ in range(5)),
        client.plan("binance", "BTC/USDT", "1m", start, end),
    )

    assert {reach.closed_until for reach in reaches} == {end}
    assert plan.rows_in_storage == 7
    assert service.request_paths == ["/ws/data"]


async def test_closing_the_client_ends_the_shared_connection(ask):
    service, client = ask()
    await client.latest("binance", "BTC/USDT", "1m")

    await client.aclose()

    assert await asyncio.to_thread(service.connection_ended.wait, 5)


async def test_after_a_drop_the_connection_is_opened_again_and_the_question_repeated(ask):
    service, client = ask(drop_answers=1)

    assert (await client.latest("binance", "BTC/USDT", "1m")).timestamp is None
    assert len(service.request_paths) == 2


async def test_without_retries_a_drop_is_told(ask):
    _, client = ask(retries=0, drop_answers=1)

    with pytest.raises(ConnectionLostError):
        await client.latest("binance", "BTC/USDT", "1m")
    assert (await client.latest("binance", "BTC/USDT", "1m")).timestamp is None


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_restart_while_the_client_is_idle_is_not_noticed(ask, run_service, waits, start, end, question):
    service, client = ask()
    await client.latest("binance", "BTC/USDT", "1m")
    await asyncio.to_thread(service.leave)
    tries = waits(lambda number: number == 3 and run_service(port=service.port))

    assert await question(client, start, end) is not None
    assert tries == [1, 2, 3]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_service_that_never_was_there_is_told_at_once(waits, start, end, question):
    tries = waits()

    with pytest.raises(ServiceUnavailableError, match="connection refused"):
        await question(DataClient("ws://127.0.0.1:1/ws/data", token=TOKEN), start, end)

    assert tries == []


@pytest.mark.parametrize(
    ("retries", "tries_while_asking", "tries_while_waiting"), [(5, 6, 1 + RETRIES_WHILE_AWAY), (0, 0, 0)]
)
async def test_who_waits_for_a_bar_has_more_patience_but_not_for_ever(
    ask, waits, end, retries, tries_while_asking, tries_while_waiting
):
    service, client = ask(retries=retries)
    await client.latest("binance", "BTC/USDT", "1m")
    await asyncio.to_thread(service.leave)
    tries = waits()

    with pytest.raises(ServiceUnavailableError, match="connection refused"):
        await client.latest("binance", "BTC/USDT", "1m")
    assert len(tries) == tries_while_asking

    tries.clear()
    with pytest.raises(ServiceUnavailableError, match="connection refused"):
        await client.wait_until("binance", "BTC/USDT", "1m", end)
    assert len(tries) == tries_while_waiting


async def test_wait_until_outlasts_an_exchange_that_is_away(ask, waits, end):
    away = {"code": "exchange_unavailable", "message": "down", "retryable": True, "retry_after_ms": None, "details": {}}
    service, client = ask(edit=lambda message: [away | {"type": "error_response", "request_id": message["request_id"]}])

    def come_back(number):
        if number == 7:
            service.edit = lambda message: [message]

    tries = waits(come_back)
    with pytest.raises(ServiceUnavailableError, match="down"):
        await client.latest("binance", "BTC/USDT", "1m")
    assert tries == []

    assert (await client.wait_until("binance", "BTC/USDT", "1m", end)).closed_until == end
    assert len(tries) == 7


async def test_a_token_that_expires_while_a_question_is_asked_is_replaced(ask):
    service, _ = ask()
    tokens = iter([TOKEN, TOKEN])

    def expire_once(message):
        service.edit = lambda message: [message]
        service.sockets[0].close(4401, "token_expired")
        return []

    service.edit = expire_once
    async with DataClient(service.url, token=lambda: next(tokens)) as client:
        await client.latest("binance", "BTC/USDT", "1m")

    assert list(tokens) == []


async def test_a_question_that_a_service_begins_no_more_is_asked_on_a_new_connection(ask, waits):
    """It ends, and its socket stays open only for what is under way there: the next one finds its successor."""
    ending = {"code": "shutting_down", "message": "ends", "retryable": True, "retry_after_ms": 1000, "details": {}}
    service, client = ask()

    def end_once(message):
        service.edit = lambda message: [message]
        return [ending | {"type": "error_response", "request_id": message["request_id"]}]

    service.edit = end_once
    tries = waits()
    await client.latest("binance", "BTC/USDT", "1m")

    assert tries == [1]
    assert len(service.sockets) == 2
    assert await asyncio.to_thread(service.connection_ended.wait, 5)  # nobody waited for anything on the first


async def test_trying_again_is_silent(ask, capfd, caplog):
    """Whatever the program that uses the SDK has installed: its output is its own."""
    _, client = ask(drop_answers=2)

    await client.latest("binance", "BTC/USDT", "1m")

    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if not record.name.startswith("websockets")]


def test_waits_grow_are_bounded_and_heed_what_the_service_asks():
    error = ConnectionLostError("gone")
    waits = [[_secs_after(error, number) for _ in range(100)] for number in (1, 2, 5, 1000)]

    assert [max(each) for each in waits][::3] == [0, 10]
    assert 0.1 <= min(waits[1]) < max(waits[1]) <= 0.6
    assert 0.8 <= min(waits[2]) < max(waits[2]) <= 1.3
    assert _secs_after(ServiceUnavailableError("busy", retry_after_ms=3000), 1) == 3


async def test_an_answer_without_closed_until_is_a_protocol_error(ask):
    _, client = ask(edit=lambda message: [{**message, "closed_until": None}])

    with pytest.raises(ProtocolError, match="closed_until"):
        await client.latest("binance", "BTC/USDT", "1m")


async def test_wait_until_asks_until_the_bar_has_closed(ask, end, monkeypatch):
    closed_until = iter([end - timedelta(minutes=2), end - timedelta(minutes=1), end])
    service, client = ask(edit=lambda message: [{**message, "closed_until": next(closed_until).isoformat()}])
    monkeypatch.setattr("cb_trade_client.client.secs_until_next_question", lambda target, now: 0)

    reach = await client.wait_until("binance", "BTC/USDT", "1m", end)

    assert reach.closed_until == end
    assert len(service.requests) == 3


async def test_wait_until_stays_with_the_exchange_that_answered_first(ask, end, monkeypatch):
    closed_until = iter([end - timedelta(minutes=1), end])

    def edit(message):
        service.chosen = "kraken"
        return [{**message, "closed_until": next(closed_until).isoformat()}]

    service, client = ask(chosen="coinbase", edit=edit)
    monkeypatch.setattr("cb_trade_client.client.secs_until_next_question", lambda target, now: 0)

    reach = await client.wait_until("any", "BTC/USDT", "1m", end)

    assert reach.exchange == "coinbase"
    assert [each["exchange"] for each in service.requests] == ["any", "coinbase"]


@pytest.mark.parametrize(
    ("lead", "least_secs", "most_secs"),
    [
        (timedelta(seconds=-100), WAIT_MIN_SECS, 1.25 * WAIT_MIN_SECS),
        (timedelta(seconds=20), 20, 21),
        (timedelta(days=2), WAIT_MAX_SECS, WAIT_MAX_SECS + 1),
    ],
)
def test_the_next_question_comes_when_the_bar_can_have_closed_within_bounds(start, lead, least_secs, most_secs):
    waits = [secs_until_next_question(start + lead, start) for _ in range(100)]

    assert least_secs <= min(waits) < max(waits) <= most_secs


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_client_that_was_closed_opens_no_connection_any_more(ask, question, start, end):
    service, client = ask()
    await client.latest("binance", "BTC/USDT", "1m")
    await client.aclose()

    with pytest.raises(RuntimeError, match="the client is closed"):
        await QUESTIONS[question](client, start, end)

    assert len(service.sockets) == 1


async def test_a_question_that_is_open_when_the_client_is_closed_is_not_asked_again(ask):
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def say_nothing(_):
        loop.call_soon_threadsafe(asked.set)
        return []

    service, client = ask(edit=say_nothing)
    question = asyncio.create_task(client.latest("binance", "BTC/USDT", "1m"))
    await asked.wait()

    await client.aclose()

    with pytest.raises(RuntimeError, match="the client is closed"):
        await question
    assert len(service.sockets) == 1
