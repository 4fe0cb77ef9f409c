"""What is asked over HTTP outlasts what passes: refusals for now, a restart, a token that ends."""

import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from quality_pages import PAGES, day, page

from cb_trade_client import (
    CbTradeError,
    DataClient,
    ForbiddenError,
    ProtocolError,
    QuotaExceededError,
    ServiceUnavailableError,
    TokenExpiredError,
)

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1h")
SPAN = ("2020-06-27T00:00:00Z", "2020-06-30T00:00:00Z")
BUSY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    {"code": "quota_exceeded", "message": "slower", "retryable": True, "retry_after_ms": 250, "details": {}},
)
EXPIRED = (HTTPStatus.UNAUTHORIZED, {"code": "token_expired", "message": "it ended"})
THREE_PAGES = [
    page("2020-06-27", "2020-06-28", [day("2020-06-27")], following="2020-06-28"),
    page("2020-06-28", "2020-06-29", [day("2020-06-28")], following="2020-06-29"),
    page("2020-06-29", "2020-06-30", [day("2020-06-29")]),
]


@pytest.fixture
def waits(monkeypatch):
    """Take what happens after each try that may be worth another one; what each was to wait for is kept, unwaited."""
    tries = []

    def expect(event=lambda number: None):
        def no_wait(error, number):
            tries.append((error.code, error.retry_after_ms))
            event(number)
            return 0

        monkeypatch.setattr("cb_trade_client.retrying._secs_after", no_wait)
        return tries

    return expect


@pytest.fixture
def hour():
    """An hour of bars, compared with trades."""
    first = int(datetime(2020, 6, 27, tzinfo=UTC).timestamp() * 1000)
    counts = dict.fromkeys(("bars_compared", "bars_that_differ", "without_trades_ms", "without_bars_ms"), 0)
    return {
        "start_time": first,
        "end_time": first + 3_600_000,
        **counts,
        "differences": [],
        "next_start_time": None,
    }


QUESTIONS = {
    "exchanges": lambda client: client.exchanges(),
    "series": lambda client: client.series(),
    "coverage": lambda client: client.coverage(*SERIES),
    "compare": lambda client: client.compare(*SERIES, *SPAN),
    "quality": lambda client: client.quality(*SERIES),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_refusal_for_now_is_waited_out(run_service, waits, hour, question):
    service = run_service(comparisons=[hour], quality_pages=PAGES[1:], refusals=[BUSY, BUSY])
    tries = waits()

    await question(DataClient(service.url, token=TOKEN))

    assert tries == [("quota_exceeded", 250)] * 2
    assert len(service.requests) == 3


async def test_refusals_between_pages_lose_no_page_and_repeat_none(run_service, waits):
    service = run_service(quality_pages=THREE_PAGES)
    tries = waits()

    def refuse_the_next(message):
        service.refusals += [BUSY, (HTTPStatus.SERVICE_UNAVAILABLE, BUSY[1] | {"code": "storage_unavailable"})]
        return [message]

    service.edit = refuse_the_next
    report = await DataClient(service.url, token=TOKEN).quality(*SERIES)

    assert [each.start.day for each in report.days] == [27, 28, 29]
    assert [code for code, _ in tries] == ["quota_exceeded", "storage_unavailable"] * 2


async def test_a_refusal_that_stays_is_told_after_as_many_tries_as_asked_for(run_service, waits):
    service = run_service(error=BUSY[1])
    waits()

    with pytest.raises(QuotaExceededError):
        await DataClient(service.url, token=TOKEN, retries=3).quality(*SERIES)

    assert len(service.requests) == 4


async def test_without_retries_a_refusal_is_told_at_once(run_service, waits):
    service = run_service(refusals=[BUSY])
    tries = waits()

    with pytest.raises(QuotaExceededError):
        await DataClient(service.url, token=TOKEN, retries=0).exchanges()

    assert tries == []


async def test_what_does_not_pass_is_told_at_once(run_service, waits):
    service = run_service(error={"code": "unknown_symbol", "message": "no", "retryable": False})
    tries = waits()

    with pytest.raises(CbTradeError, match="unknown_symbol"):
        await DataClient(service.url, token=TOKEN).quality(*SERIES)

    assert (len(service.requests), tries) == (1, [])


async def test_a_restart_between_pages_loses_none(run_service, waits):
    service = run_service(quality_pages=THREE_PAGES)
    pages = DataClient(service.url, token=TOKEN).quality_pages(*SERIES)
    first = await anext(pages)
    await asyncio.to_thread(service.leave)
    tries = waits(lambda number: len(tries) == 3 and run_service(port=service.port, quality_pages=THREE_PAGES))

    rest = [each async for each in pages]

    assert [each.start.day for each in (first, *rest)] == [27, 28, 29]
    assert {code for code, _ in tries} == {"service_unreachable"}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_service_that_never_was_there_is_told_at_once(waits, question):
    tries = waits()

    with pytest.raises(ServiceUnavailableError, match="connection refused"):
        await question(DataClient("ws://127.0.0.1:1/ws/data", token=TOKEN))

    assert tries == []


async def test_a_service_that_was_there_before_is_worth_another_try(run_service, waits, binance):
    service = run_service()
    client = DataClient(service.url, token=TOKEN)
    await client.series()
    await asyncio.to_thread(service.leave)
    waits(lambda number: len(service.requests) == 1 and run_service(port=service.port, exchanges=[binance]))

    assert [each.name for each in await client.exchanges()] == ["binance"]


async def test_tokens_that_end_between_pages_are_replaced_once_each(run_service):
    service = run_service(quality_pages=THREE_PAGES, good_tokens=("one", "two", "three"))

    def end_the_token(message):
        service.refusals.append(EXPIRED)
        return [message]

    service.edit = end_the_token
    tokens = iter(service.good_tokens)
    report = await DataClient(service.url, token=lambda: next(tokens), retries=0).quality(*SERIES)

    assert len(report.days) == 3
    told = [headers["Authorization"].removeprefix("Bearer ") for headers in service.request_headers]
    assert told == ["one", "one", "two", "two", "three"]


async def test_a_token_that_ends_while_the_service_is_busy_is_replaced(run_service, waits):
    service = run_service(quality_pages=PAGES[1:], good_tokens=("one", "two"), refusals=[BUSY, EXPIRED, BUSY])
    tokens = iter(service.good_tokens)
    tries = waits()

    await DataClient(service.url, token=lambda: next(tokens)).quality(*SERIES)

    assert [code for code, _ in tries] == ["quota_exceeded"] * 2


@pytest.mark.parametrize("token", [TOKEN, lambda: TOKEN], ids=["text", "function"])
async def test_a_token_that_ended_and_has_no_successor_is_told(run_service, token):
    service = run_service(refusals=[EXPIRED] * 9)

    with pytest.raises(TokenExpiredError):
        await DataClient(service.url, token=token).exchanges()

    assert len(service.requests) == 1


async def test_a_successor_that_has_ended_too_is_told(run_service):
    service = run_service(refusals=[EXPIRED] * 9, good_tokens=("one", "two"))
    tokens = iter(service.good_tokens)

    with pytest.raises(TokenExpiredError):
        await DataClient(service.url, token=lambda: next(tokens)).exchanges()

    assert len(service.requests) == 2


async def test_a_token_that_is_not_good_enough_is_not_asked_for_again(run_service):
    service = run_service(refusals=[(HTTPStatus.FORBIDDEN, {"code": "forbidden", "message": "no"})])
    tokens = iter([TOKEN])

    with pytest.raises(ForbiddenError):
        await DataClient(service.url, token=lambda: next(tokens)).exchanges()


async def test_who_is_told_that_the_service_ends_asks_its_successor_on_a_new_connection(waits):
    """The one that ends keeps the socket open for what is under way there, and refuses each question on it."""
    sockets, tries = [], waits()

    async def answer(request):
        if request.transport not in sockets:
            sockets.append(request.transport)
        elif request.transport is sockets[0]:
            ends = {"code": "shutting_down", "message": "it ends", "retryable": True, "retry_after_ms": 1000}
            return web.json_response(ends, status=503)
        after = request.query.get("after")
        return web.json_response({"series": [], "next": None if after else "1"})

    service = web.Application()
    service.router.add_get("/v1/series", answer)
    async with TestServer(service) as server:
        await DataClient(f"ws://127.0.0.1:{server.port}/ws/data", token=TOKEN).series()

    assert (len(sockets), [code for code, _ in tries]) == (2, ["shutting_down"])


@pytest.mark.parametrize("number", [1, 2], ids=["the first", "the second"])
async def test_pages_that_lead_in_a_circle_are_a_broken_contract_and_none_comes_twice(run_answers, number):
    """As from a proxy that drops the query: it would go on for ever."""
    asked = []
    series = dict(zip(("exchange", "symbol", "timeframe"), SERIES, strict=True))

    async def answer(request):
        asked.append(request)
        return web.json_response(series | THREE_PAGES[min(len(asked), number) - 1])

    pages = DataClient(await run_answers(answer), token=TOKEN).quality_pages(*SERIES)
    came = [(await anext(pages)).start.day for _ in range(number)]

    with pytest.raises(ProtocolError, match="does not lead on"):
        await anext(pages)
    assert came == [27, 28][:number]
    assert len(asked) == number + 1


async def test_a_report_left_early_asks_no_more(run_service):
    service = run_service(quality_pages=THREE_PAGES)
    pages = DataClient(service.url, token=TOKEN).quality_pages(*SERIES)

    first = await anext(pages)
    await pages.aclose()

    assert first.end - first.start == timedelta(days=1)
    assert len(service.requests) == 1


@pytest.fixture
async def run_answers():
    """Let the given functions answer one question after the other, the last one all others; return the URL."""
    servers = []

    async def run(*answers):
        left = list(answers)

        async def answer(request):
            return await (left.pop(0) if len(left) > 1 else left[0])(request)

        service = web.Application()
        service.router.add_get("/v1/{question}", answer)
        servers.append(TestServer(service))
        await servers[-1].start_server()
        return f"ws://127.0.0.1:{servers[-1].port}/ws/data"

    yield run
    for server in servers:
        await server.close()


async def no_exchange(_):
    return web.json_response({"exchanges": []})


@pytest.mark.parametrize("is_begun", [False, True], ids=["no word", "half an answer"])
async def test_an_answer_that_takes_too_long_is_told_and_not_asked_for_again(run_answers, waits, monkeypatch, is_begun):
    """The service does not notice that nobody waits any more: it would work on each of them at once."""
    asked, is_over, tries = [], asyncio.Event(), waits()

    async def never_end(request):
        asked.append(request)
        response = web.StreamResponse()
        if is_begun:
            await response.prepare(request)
            await response.write(b"{")
        await is_over.wait()
        return response

    client = DataClient(await run_answers(no_exchange, never_end), token=TOKEN)
    await client.exchanges()
    monkeypatch.setattr("cb_trade_client.questions.ANSWER_TIMEOUT_SECS", 0.2)

    try:
        with pytest.raises(ServiceUnavailableError, match=r"did not answer within 0\.2 s") as caught:
            await client.exchanges()
    finally:
        is_over.set()

    assert (caught.value.code, caught.value.retryable) == ("no_answer", False)
    assert (len(asked), tries) == (1, [])


@pytest.mark.parametrize("status", [429, 502, 503])
async def test_what_a_proxy_says_of_a_service_that_is_away_is_worth_another_try_from_the_first_question_on(
    run_answers, waits, status
):
    async def refuse(_):
        return web.Response(status=status, headers={"Retry-After": "1"})

    tries = waits()

    assert await DataClient(await run_answers(refuse, no_exchange), token=TOKEN).exchanges() == ()

    assert tries == [("service_unreachable", 1000)]


async def test_a_first_answer_that_is_cut_is_asked_for_again(run_answers, waits):
    async def cut(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        request.transport.close()
        return response

    tries = waits()

    assert await DataClient(await run_answers(cut, no_exchange), token=TOKEN).exchanges() == ()

    assert len(tries) == 1


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_a_client_that_was_closed_asks_nothing_any_more(run_service, question):
    service, tokens = run_service(), iter([TOKEN])
    client = DataClient(service.url, token=lambda: next(tokens))
    await client.aclose()

    with pytest.raises(RuntimeError, match="the client is closed"):
        await question(client)

    assert (service.request_paths, list(tokens)) == ([], [TOKEN])


async def test_a_client_that_is_closed_while_a_token_is_made_asks_nothing(run_service):
    service = run_service()

    async def close_and_return():
        await client.aclose()
        return TOKEN

    client = DataClient(service.url, token=close_and_return)

    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.exchanges()

    assert service.request_paths == []


async def test_a_client_that_is_closed_while_the_service_is_busy_asks_no_more(run_service, monkeypatch):
    service = run_service(refusals=[BUSY])
    client = DataClient(service.url, token=TOKEN)

    def close(error, number):
        client._connector.close()
        return 0

    monkeypatch.setattr("cb_trade_client.retrying._secs_after", close)

    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.exchanges()

    assert len(service.requests) == 1


async def test_a_report_asks_for_no_page_once_its_client_is_closed(run_service):
    service = run_service(quality_pages=THREE_PAGES)
    client = DataClient(service.url, token=TOKEN)
    pages = client.quality_pages(*SERIES)
    await anext(pages)
    await client.aclose()

    with pytest.raises(RuntimeError, match="the client is closed"):
        await anext(pages)

    assert len(service.requests) == 1
