"""A connection outlives the token that opened it, if it is given a newer one in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from bad_tokens import BAD_TOKENS
from service_harness import SECRET, at, historical, token

from cb_trade_data.server import configure_log


def renewal(bearer: str, **fields: object) -> dict[str, object]:
    return {"type": "authenticate", "token": bearer, "request_id": "renewal"} | fields


async def test_a_newer_token_takes_the_place_of_the_one_that_opened_the_connection(service):
    short = token(lifetime=timedelta(seconds=3))
    newer = token(lifetime=timedelta(hours=2))

    async with service.client(short) as client:
        answer = await client.ask(renewal(newer))
        expires_at_ms = jwt.decode(newer, options={"verify_signature": False})["exp"] * 1000
        assert answer == {"type": "authenticated", "request_id": "renewal", "expires_at": expires_at_ms}

        renewed_until = await client.ask(renewal(short))
        assert renewed_until["expires_at"] < expires_at_ms
        assert await client.close_code() == 4401


async def test_a_connection_lives_past_the_end_of_its_first_token(service):
    """The second connection, which is not renewed, tells when that end has come."""
    short = token(lifetime=timedelta(seconds=2))

    async with service.client(short) as renewed, service.client(short) as other:
        await renewed.ask(renewal(token()))
        assert await other.close_code() == 4401

        assert (await renewed.history(at("2024-01-01"), at("2024-01-02"))).last["rows"] == 1440


async def test_requests_run_on_while_the_token_is_renewed(service, simulator):
    simulator.hold("klines")
    async with service.client(token()) as client:
        await client.send(historical(at("2024-01-01"), at("2024-01-02"), request_id="r1"))
        assert (await client.receive())["type"] == "historical_data_start"
        assert (await client.ask(renewal(token())))["type"] == "authenticated"
        simulator.release("klines")

        assert (await client.rest()).last["rows"] == 1440


@pytest.mark.parametrize(("bearer", "status"), [case for case in BAD_TOKENS if case.values[0] is not None])
async def test_a_token_that_would_open_no_connection_renews_none_and_ends_none(service, bearer, status):
    async with service.client(token()) as client:
        refusal = await client.ask(renewal(bearer))

        assert (refusal["type"], refusal["request_id"]) == ("error_response", "renewal")
        assert refusal["code"] in ({"token_invalid", "token_expired"} if status == 401 else {"forbidden"})
        assert bearer not in str(refusal)
        assert (await client.history(at("2024-01-01"), at("2024-01-02"))).last["rows"] == 1440


async def test_somebody_elses_token_renews_nothing(service):
    async with service.client(token(lifetime=timedelta(seconds=3))) as client:
        refusal = await client.ask(renewal(token(subject="somebody else", lifetime=timedelta(hours=9))))

        assert refusal["code"] == "forbidden"
        assert await client.close_code() == 4401


async def test_new_requests_may_what_the_newer_token_allows(service):
    async with service.client(token(scopes=["data:read"])) as client:
        refresh = historical(at("2024-01-01"), at("2024-01-02"), refresh=True)
        assert (await client.ask(refresh))["code"] == "forbidden"

        await client.ask(renewal(token(scopes=["data:read", "data:refresh"], exchanges=["binance"])))

        assert (await client.history(at("2024-01-01"), at("2024-01-02"), refresh=True)).last["rows"] == 1440
        assert (await client.ask(historical(at("2024-01-01"), at("2024-01-02"), exchange="kraken")))[
            "code"
        ] == "forbidden"


async def test_the_id_of_an_open_request_names_no_renewal(service, simulator):
    simulator.hold("klines")
    async with service.client(token()) as client:
        await client.send(historical(at("2024-01-01"), at("2024-01-02"), request_id="r1"))
        assert (await client.receive())["type"] == "historical_data_start"

        refusal = await client.ask(renewal(token(), request_id="r1"))

        assert (refusal["request_id"], refusal["code"]) == (None, "duplicate_request_id")
        simulator.release("klines")


@pytest.mark.parametrize("fields", [{"token": 5}, {"token": None}, {"token": ""}, {"token": ["x"]}, {"tokens": "x"}])
async def test_a_renewal_that_is_no_message_is_told_so_without_showing_it(service, fields):
    async with service.client(token()) as client:
        refusal = await client.ask(renewal("hunter2", **fields))

        assert refusal["code"] in {"invalid_value", "unknown_field"}
        assert "hunter2" not in str(refusal)


async def test_a_renewal_without_an_id_is_answered_without_one(service):
    async with service.client(token()) as client:
        message = renewal(token())
        del message["request_id"]

        assert (await client.ask(message))["request_id"] is None


async def test_no_token_of_a_renewal_reaches_the_log(service, capsys):
    configure_log("debug")
    good, expired = token(subject="test"), token(now=datetime.now(UTC) - timedelta(hours=2))
    bad = jwt.encode({"sub": "hunter2", "exp": 4e9}, SECRET[::-1])

    async with service.client(token()) as client:
        for bearer in (good, expired, bad, "hunter2"):
            await client.ask(renewal(bearer))

    logged = capsys.readouterr().err
    assert "connection.renewed" in logged
    assert not [part for bearer in (good, expired, bad) for part in bearer.split(".")[1:] if part in logged]
    assert "hunter2" not in logged
