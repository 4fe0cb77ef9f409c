"""What there is: `exchanges`, `series` and `coverage`, asked over HTTP at the same address."""

import socket
from datetime import timedelta
from http import HTTPStatus

import pytest

from cb_trade_client import (
    AuthenticationError,
    CbTradeError,
    CoverageReport,
    CoverageSegment,
    DataClient,
    ExchangeCondition,
    ExchangeInfo,
    InternalServiceError,
    ProtocolError,
    RequestError,
    ServiceUnavailableError,
    StoredSeries,
)
from cb_trade_client.service_url import http_base

TOKEN = "good.token"
SERIES = ("binance", "BTC/USDT", "1m")


@pytest.fixture
def spans(start):
    """Make segments of ten minutes each, one after the other, of the given states."""

    def make(*states, **facts):
        first_ms, length_ms = int(start.timestamp()) * 1000, 600_000
        return [
            {
                "start_time": first_ms + number * length_ms,
                "end_time": first_ms + (number + 1) * length_ms,
                "state": state,
                "bars": 10,
                **facts,
            }
            for number, state in enumerate(states)
        ]

    return make


def stored(symbol):
    return {
        "exchange": "binance",
        "symbol": symbol,
        "kind": "ohlcv",
        "timeframe": "1m",
        "first_timestamp": 1704067200000,
        "last_timestamp": None,
        "listed_at": None,
        "listing_checked_at": None,
        "market_id": "BTCUSDT",
    }


async def test_exchanges_are_told_with_their_facts(run_service, binance):
    service = run_service(exchanges=[binance])

    answer = await DataClient(service.url, token=TOKEN).exchanges()

    assert answer == (
        ExchangeInfo(
            "binance",
            ("ohlcv",),
            ("1m", "1h"),
            1000,
            2000,
            "unused",
            ExchangeCondition("closed", 24.25, 48.5, 7, 2, 0.0),
        ),
    )
    assert service.request_paths == ["/v1/exchanges"]
    assert service.request_headers[0]["Authorization"] == "Bearer good.token"


async def test_series_of_all_pages_are_told(run_service, start):
    service = run_service(stored_series=[stored(symbol) for symbol in ("A/B", "C/D", "E/F")], page_size=2)

    answer = await DataClient(service.url, token=TOKEN).series("binance")

    assert answer[0] == StoredSeries("binance", "A/B", "ohlcv", "1m", start, None, None, None, "BTCUSDT")
    assert [each.symbol for each in answer] == ["A/B", "C/D", "E/F"]
    assert service.requests == [
        {"exchange": "binance", "limit": "100"},
        {"exchange": "binance", "limit": "100", "after": "2"},
    ]


async def test_coverage_tells_each_part_of_a_range_and_how_much_is_held(run_service, spans, start, end):
    service = run_service(segments=spans("held", "unknown"))

    answer = await DataClient(service.url, token=TOKEN).coverage(*SERIES, start, end)

    ten = timedelta(minutes=10)
    assert answer == CoverageReport(
        *("binance", "BTC/USDT", "ohlcv", "1m"),
        start=start,
        end=start + 2 * ten,
        segments=(
            CoverageSegment(start, start + ten, "held", None, bars=10),
            CoverageSegment(start + ten, start + 2 * ten, "unknown", None, bars=10),
        ),
        bars_expected=20,
        bars_held=10,
    )
    assert service.requests == [
        {
            "exchange": "binance",
            "symbol": "BTC/USDT",
            "kind": "ohlcv",
            "timeframe": "1m",
            "start_time": "2024-01-01T00:00:00Z",
            "end_time": "2024-01-02T00:00:00Z",
        }
    ]


async def test_without_a_range_the_service_chooses(run_service, spans):
    service = run_service(segments=spans("held"))

    await DataClient(service.url, token=TOKEN).coverage(*SERIES)

    assert service.requests == [{"exchange": "binance", "symbol": "BTC/USDT", "kind": "ohlcv", "timeframe": "1m"}]


async def test_pages_of_coverage_are_put_together_and_what_they_cut_is_whole_again(run_service, spans, start):
    service = run_service(segments=spans("held", "held", "held", "unknown", "held"), page_size=2)

    answer = await DataClient(service.url, token=TOKEN).coverage(*SERIES)

    assert [(each.state, each.bars) for each in answer.segments] == [("held", 30), ("unknown", 10), ("held", 10)]
    assert (answer.start, answer.end) == (start, start + timedelta(minutes=50))
    assert (answer.bars_expected, answer.bars_held) == (50, 40)
    assert len(service.requests) == 3


async def test_parts_with_other_facts_stay_apart(run_service, spans):
    first, second = spans("failed", "failed", asked_at=1704067200000, reason="timeout")
    service = run_service(segments=[first, {**second, "reason": "HTTP 503"}], page_size=1)

    answer = await DataClient(service.url, token=TOKEN).coverage(*SERIES)

    assert [each.reason for each in answer.segments] == ["timeout", "HTTP 503"]


async def test_coverage_of_nothing_is_empty(run_service):
    answer = await DataClient(run_service().url, token=TOKEN).coverage(*SERIES)

    assert (answer.start, answer.end, answer.segments, answer.bars_expected) == (None, None, (), 0)


async def test_what_was_asked_when_and_when_again_is_told(run_service, spans, start):
    facts = {"asked_at": 1704067200000, "asks": 2, "ask_again_at": 1704067200000 + 60_000}
    service = run_service(segments=spans("empty", **facts))

    [segment] = (await DataClient(service.url, token=TOKEN).coverage(*SERIES)).segments

    assert (segment.asked_at, segment.asks, segment.ask_again_at) == (start, 2, start + timedelta(minutes=1))


async def test_a_backward_range_is_refused_before_any_call(run_service, start, end):
    service = run_service()

    with pytest.raises(RequestError) as caught:
        await DataClient(service.url, token=TOKEN).coverage(*SERIES, end, start)

    assert caught.value.code == "empty_range"
    assert service.requests == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "unknown_exchange", "message": "no"}, RequestError),
        ({"code": "storage_unavailable", "message": "no", "retryable": True}, ServiceUnavailableError),
        ({"code": "internal_error", "message": "no"}, InternalServiceError),
        ({"code": "a_code_of_tomorrow", "message": "no", "details": {"a": 1}}, CbTradeError),
    ],
)
async def test_a_refusal_keeps_the_services_code(run_service, error, expected):
    with pytest.raises(CbTradeError) as caught:
        await DataClient(run_service(error=error).url, token=TOKEN).exchanges()

    assert isinstance(caught.value, expected)
    assert (caught.value.code, caught.value.message) == (error["code"], "no")
    assert (caught.value.retryable, caught.value.details) == (error.get("retryable", False), error.get("details", {}))


async def test_a_bad_token_is_told_in_the_services_words(run_service):
    service = run_service(refuse_handshake=HTTPStatus.UNAUTHORIZED)

    with pytest.raises(AuthenticationError, match="expired yesterday") as caught:
        await DataClient(service.url, token=TOKEN).exchanges()

    assert caught.value.code == "token_expired"


@pytest.mark.parametrize("token", ["", "white space", "línea"])
async def test_what_cannot_be_a_token_is_not_sent(run_service, token):
    service = run_service()

    with pytest.raises(AuthenticationError):
        await DataClient(service.url, token=token).exchanges()

    assert service.request_paths == []


async def test_a_service_that_knows_no_such_question_is_told_as_such(run_service):
    service = run_service()
    elsewhere = service.url.replace("/ws/data", "/older/ws/data")

    with pytest.raises(RequestError, match="older than this SDK") as caught:
        await DataClient(elsewhere, token=TOKEN).exchanges()

    assert caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    "body", ["<html>", "[]", "1", '{"exchanges": {}}', '{"exchanges": [1]}', '{"exchanges": [{}]}']
)
async def test_an_answer_of_another_form_is_a_broken_contract(run_service, body):
    with pytest.raises(ProtocolError):
        await DataClient(run_service(edit=lambda message: [body]).url, token=TOKEN).exchanges()


async def test_pages_that_do_not_go_on_are_a_broken_contract(run_service, spans):
    """Not an endless loop."""
    stuck = {"next_start_time": spans("held")[0]["start_time"]}
    service = run_service(segments=spans("held"), edit=lambda message: [{**message, **stuck}])

    with pytest.raises(ProtocolError, match="does not lead on"):
        await DataClient(service.url, token=TOKEN).coverage(*SERIES)


async def test_pages_of_series_that_do_not_go_on_are_a_broken_contract(run_service):
    service = run_service(edit=lambda message: [{**message, "next": "0"}])

    with pytest.raises(ProtocolError, match="the same again"):
        await DataClient(service.url, token=TOKEN).series()


async def test_where_nobody_listens_it_is_told_how_to_start_the_service():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/ws/data"

        with pytest.raises(ServiceUnavailableError, match=r"connection refused.*platform\.sh start") as caught:
            await DataClient(url, token=TOKEN).exchanges()

    assert caught.value.retryable


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("ws://127.0.0.1:8700/ws/data", "http://127.0.0.1:8700"),
        ("wss://history.example/ws/data", "https://history.example"),
        ("wss://history.example/cb-trade/ws/data/", "https://history.example/cb-trade"),
        ("ws://[::1]:8700/ws/data?token=secret", "http://[::1]:8700"),
        ("ws://user:secret@history.example/ws/data", "http://history.example"),
    ],
)
def test_the_http_address_follows_from_that_of_the_socket(url, base):
    assert http_base(url) == base


@pytest.mark.parametrize(
    "url", ["http://history.example/ws/data", "ws://history.example", "ws://history.example/socket"]
)
def test_from_another_address_none_follows(url):
    with pytest.raises(RequestError) as caught:
        http_base(url)

    assert caught.value.code == "invalid_url"


async def test_a_redirect_is_not_followed_with_the_token(run_service, binance):
    elsewhere = run_service(exchanges=[binance])
    service = run_service(redirect_to=elsewhere.url.replace("ws://", "http://"))

    with pytest.raises(RequestError):
        await DataClient(service.url, token=TOKEN).exchanges()

    assert elsewhere.request_paths == []
