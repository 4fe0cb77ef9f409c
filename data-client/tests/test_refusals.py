"""How each way of saying no becomes an exception that tells a handler what to do."""

import socket
from http import HTTPStatus

import pytest

from cb_trade_client import (
    AuthenticationError,
    CbTradeError,
    ConnectionLostError,
    DataClient,
    ForbiddenError,
    InternalServiceError,
    QuotaExceededError,
    RequestError,
    ServiceUnavailableError,
)

TOKEN = "good.token"


async def ask(url, token=TOKEN):
    async with DataClient(url, token=token) as client:
        await client.latest("binance", "BTC/USDT", "1m")


async def fetch_all(service, start, end):
    await DataClient(service.url, token=TOKEN, retries=0).history("binance", "BTC/USDT", "1m", start, end)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("bad_json", RequestError),
        ("bad_message", RequestError),
        ("unknown_type", RequestError),
        ("missing_field", RequestError),
        ("unknown_field", RequestError),
        ("invalid_value", RequestError),
        ("duplicate_request_id", RequestError),
        ("message_too_large", RequestError),
        ("unknown_exchange", RequestError),
        ("unknown_symbol", RequestError),
        ("unknown_timeframe", RequestError),
        ("unsupported_kind", RequestError),
        ("empty_range", RequestError),
        ("range_in_future", RequestError),
        ("range_too_large", RequestError),
        ("unknown_path", RequestError),
        ("method_not_allowed", RequestError),
        ("token_missing", AuthenticationError),
        ("token_invalid", AuthenticationError),
        ("token_expired", AuthenticationError),
        ("forbidden", ForbiddenError),
        ("too_many_requests", ServiceUnavailableError),
        ("quota_exceeded", ServiceUnavailableError),
        ("overloaded", ServiceUnavailableError),
        ("shutting_down", ServiceUnavailableError),
        ("auth_unavailable", ServiceUnavailableError),
        ("exchange_unavailable", ServiceUnavailableError),
        ("storage_unavailable", ServiceUnavailableError),
        ("corrupt_object", InternalServiceError),
        ("newer_format", InternalServiceError),
        ("internal_error", InternalServiceError),
        ("a_code_of_tomorrow", CbTradeError),
    ],
)
async def test_each_code_of_the_contract_has_a_class_of_its_group(run_service, start, end, code, expected):
    service = run_service(error={"code": code, "message": "no", "retryable": False, "details": {"symbol": "X"}})

    with pytest.raises(CbTradeError) as caught:
        await fetch_all(service, start, end)

    assert isinstance(caught.value, expected)
    assert type(caught.value).default_code == code or code == "a_code_of_tomorrow"
    assert caught.value.code == code
    assert caught.value.details == {"symbol": "X"}
    assert str(caught.value) == f"no [{code}]"


async def test_a_newer_code_that_is_retryable_means_wait(run_service, start, end):
    service = run_service(error={"code": "moon_phase", "message": "later", "retryable": True, "retry_after_ms": 40})

    with pytest.raises(ServiceUnavailableError) as caught:
        await fetch_all(service, start, end)

    assert (caught.value.retryable, caught.value.retry_after_ms) == (True, 40)


async def test_an_error_without_request_id_fails_the_only_pending_request(run_service, start, end):
    error = {"code": "bad_json", "message": "cannot read that", "request_id": None}
    service = run_service(error=error)

    with pytest.raises(RequestError, match="cannot read that"):
        await fetch_all(service, start, end)


async def test_a_request_cancelled_by_the_service_is_no_success(run_service, minute_bars, start, end):
    def cancel(message):
        if message["type"] == "historical_data_complete":
            return [{"type": "request_cancelled", "request_id": message["request_id"], "was_running": True}]
        return [message]

    service = run_service(series=minute_bars(3), edit=cancel)

    with pytest.raises(ServiceUnavailableError) as caught:
        await fetch_all(service, start, end)

    assert caught.value.code == "request_cancelled"


async def test_a_wrong_token_is_an_authentication_error_that_says_how_to_get_one(run_service):
    service = run_service()

    with pytest.raises(AuthenticationError, match="create one with: cb-trade token create"):
        await ask(service.url, token="wrong")


@pytest.mark.parametrize("token", ["", "  ", "two words", "tökén", "line\nbreak"])
async def test_what_can_be_no_token_is_refused_before_any_call(run_service, token):
    service = run_service()

    with pytest.raises(AuthenticationError, match="cb-trade token create"):
        await ask(service.url, token=token)

    assert service.request_paths == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (HTTPStatus.UNAUTHORIZED, AuthenticationError),
        (HTTPStatus.FORBIDDEN, ForbiddenError),
        (HTTPStatus.TOO_MANY_REQUESTS, ServiceUnavailableError),
        (HTTPStatus.SERVICE_UNAVAILABLE, ServiceUnavailableError),
        (HTTPStatus.NOT_FOUND, RequestError),
    ],
)
async def test_a_refused_handshake_quotes_the_services_code_and_reason(run_service, status, expected):
    service = run_service(refuse_handshake=status)

    with pytest.raises(expected, match="the token expired yesterday") as caught:
        await ask(service.url)

    assert caught.value.code == "token_expired"


async def test_a_handshake_that_is_refused_for_now_says_when_to_come_again(run_service):
    service = run_service(
        refuse_handshake=HTTPStatus.TOO_MANY_REQUESTS,
        refusal={"code": "quota_exceeded", "retry_after_ms": 40, "details": {"quota": "connections", "limit": 1}},
    )

    with pytest.raises(QuotaExceededError) as caught:
        await ask(service.url)

    assert (caught.value.retryable, caught.value.retry_after_ms) == (True, 40)
    assert caught.value.details["limit"] == 1


async def test_a_service_that_is_not_there_says_how_to_start_it():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/ws/data"

        with pytest.raises(ServiceUnavailableError, match=r"\./platform\.sh start or cb-trade serve") as caught:
            await ask(url)

    assert url in str(caught.value)
    assert caught.value.retryable


async def test_the_url_in_an_error_holds_no_secret():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        with pytest.raises(ServiceUnavailableError) as caught:
            await ask(f"ws://me:secret@127.0.0.1:{unused.getsockname()[1]}/ws/data?token=secret")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8700/ws/data", "127.0.0.1:8700", "", "ws://127.0.0.1:port/ws"])
async def test_an_address_of_the_wrong_kind_is_a_request_error(url):
    with pytest.raises(RequestError) as caught:
        await ask(url)

    assert caught.value.code == "invalid_url"


@pytest.mark.parametrize(
    ("close_code", "reason", "expected", "code"),
    [
        (4401, "token_expired", AuthenticationError, "token_expired"),
        (4403, "forbidden", ForbiddenError, "forbidden"),
        (4408, "send timeout", ConnectionLostError, "reader_too_slow"),
        (1012, "", ConnectionLostError, "service_restarting"),
        (1011, "oops", ConnectionLostError, "connection_lost"),
        (1000, "", ConnectionLostError, "connection_lost"),
    ],
)
async def test_each_way_of_closing_has_its_class(
    run_service, minute_bars, start, end, close_code, reason, expected, code
):
    service = run_service(series=minute_bars(300), close_after_chunks=(1, close_code, reason))

    with pytest.raises(expected) as caught:
        await fetch_all(service, start, end)

    assert caught.value.code == code
    assert caught.value.resume_from is not None
