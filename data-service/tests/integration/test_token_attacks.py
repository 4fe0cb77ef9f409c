"""Attacks on the door, over a real socket: none of them opens it, and none of them shows in the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

import aiohttp
import jwt
import pytest
import websockets
from forgery import Signer, forged, part
from key_server import KeyServer, jwk
from pydantic import HttpUrl
from service_harness import SECRET, RunningService, running_service
from signing_keys import p256_key, public_pem, rsa_key
from websockets.asyncio.client import ClientConnection

from cb_trade_data.auth.published_keys import FRESH_SECS, READ_AGAIN_SECS, TRY_AGAIN_SECS
from cb_trade_data.config import AuthSettings
from cb_trade_data.exchange_source.stopwatch import Stopwatch
from cb_trade_data.server import configure_log

AUDIENCE, ISSUER = "api://cb-trade", "https://login.example/tenant/v2.0"
LEEWAY_SECS = 10
KEY, ATTACKERS_KEY = rsa_key("first"), rsa_key("attacker's")
NOW = 1_700_000_000
CLAIMS: dict[str, Any] = {
    "sub": "me",
    "exp": NOW + 3600,
    "scope": "data:read",
    "aud": AUDIENCE,
    "iss": ISSUER,
}


class Clock:
    """What key sets age by; a test sets it."""

    secs = 1_000_000.0

    def now_secs(self) -> float:
        return self.secs


@dataclass
class Door:
    """A service, whoever signs its tokens, and what an attacker has.

    Attributes:
        good: A token that opens the door.
        key: What signs those.
        header: Of those.
        attacker: A server of the attacker's, whose address tokens name.
    """

    service: RunningService
    header: dict[str, Any]
    key: Signer
    attacker: KeyServer
    provider: KeyServer
    clock: Clock

    @property
    def good(self) -> str:
        return forged(self.header, CLAIMS, self.key)

    async def status(self, bearer: str, place: str = "header") -> tuple[int, str]:
        """Return with what a handshake with *bearer* is answered: 101 for an open door, and the code of a refusal."""
        try:
            async with await self._connect(bearer, place) as connection:
                if place != "subprotocol":
                    return 101, ""
                await connection.send("{}")
                await connection.recv()  # an answer, or why it was closed
                return 101, ""
        except websockets.InvalidStatus as refused:
            return refused.response.status_code, json.loads(refused.response.body)["code"]
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code, closed.rcvd.reason

    async def _connect(self, bearer: str, place: str) -> Any:
        url, options = self.service.socket_url, {}
        match place:
            case "header":
                options["additional_headers"] = {"Authorization": f"Bearer {bearer}"}
            case "query":
                url += f"?token={bearer}"
            case "subprotocol":
                options["subprotocols"] = ["cb-trade.v1", f"cb-trade.bearer.{bearer}"]
        return await websockets.connect(url, **options)


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are looked at in one and the same second, however long a test takes."""

    class FixedTime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromtimestamp(NOW, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", FixedTime)
    monkeypatch.setattr("cb_trade_data.main.utc_now", lambda: datetime.fromisoformat("2023-11-14T22:13:20Z"))


@pytest.fixture(params=["secret", "public key", "key set"])
async def door(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Door]:
    """A door of each kind in turn; a test that is about one says so with a parameter."""
    common = {"audience": AUDIENCE, "issuer": ISSUER, "leeway_secs": LEEWAY_SECS}
    clock = Clock()
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(KeyServer(jwk(KEY, "k1"), jwk(p256_key(), "e1")).running())
        attacker = await stack.enter_async_context(KeyServer(jwk(ATTACKERS_KEY, "k1")).running())
        auth, header, key = {
            "secret": (AuthSettings(secret=SECRET, **common), {"alg": "HS256"}, SECRET.encode()),
            "public key": (AuthSettings(public_key=public_pem(KEY), **common), {"alg": "RS256"}, KEY),
            "key set": (AuthSettings(jwks_url=HttpUrl(provider.url), **common), {"alg": "RS256", "kid": "k1"}, KEY),
        }[request.param]
        service = await stack.enter_async_context(
            running_service(tmp_path / "data", {}, auth=auth, stopwatch=Stopwatch(clock.now_secs))
        )
        yield Door(service, header, key, attacker, provider, clock)


only_a_key_set = pytest.mark.parametrize("door", ["key set"], indirect=True)
REFUSED = {(401, "token_invalid"), (4401, "token_invalid")}


# --- The signature ---------------------------------------------------------------------------------------------------


def unsigned() -> Iterator[str]:
    for spelling in ("none", "None", "NONE", "nOnE", "", None, 0, False, [], ["none"], {"alg": "none"}):
        yield forged({"alg": spelling}, CLAIMS, None)
        yield forged({"alg": spelling, "kid": "k1"}, CLAIMS, b"")
        yield forged({"alg": spelling, "kid": "k1"}, CLAIMS, KEY)
    yield forged(b'{"alg":"none","alg":"HS256"}', CLAIMS, None)
    yield forged(b'{"alg":"HS256","alg":"none"}', CLAIMS, None)
    yield f"{part(b'{}')}.{part(json.dumps(CLAIMS).encode())}."


def confused() -> Iterator[str]:
    """Yield tokens signed by HMAC with what everybody knows: the public key, as it may be written."""
    pem = public_pem(KEY)
    document = json.dumps({"keys": [jwk(KEY, "k1")]})
    for known in (pem, pem.strip(), pem.replace("\n", "\\n"), document, json.dumps(jwk(KEY, "k1")), jwk(KEY)["n"], ""):
        for algorithm in ("HS256", "RS256", "hs256", "HS384", "HS512"):
            yield forged({"alg": algorithm}, CLAIMS, known.encode())
            yield forged({"alg": algorithm, "kid": "k1"}, CLAIMS, known.encode())


def of_others(door: Door) -> Iterator[str]:
    """Yield tokens signed with a key that the attacker brings along, or says where to find."""
    url, own = door.attacker.url, jwk(ATTACKERS_KEY, "k1")
    for field, value in {
        "jwk": own,
        "jku": url,
        "x5u": url,
        "x5c": [part(b"certificate")],
        "kid": url,
        "iss": url,
        "jwks": {"keys": [own]},
    }.items():
        for algorithm in ("RS256", "HS256"):
            yield forged({"alg": algorithm, "kid": "k1", field: value}, CLAIMS, ATTACKERS_KEY)
            yield forged({"alg": algorithm, field: value}, CLAIMS, b"")
    yield forged(door.header, CLAIMS | {"iss": url, "jku": url}, ATTACKERS_KEY)


@pytest.mark.parametrize("place", ["header", "query", "subprotocol"])
async def test_a_good_token_opens_the_door(door, place):
    assert await door.status(door.good, place) == (101, "")


async def test_an_unsigned_token_opens_no_door_however_it_spells_that(door):
    for bearer in unsigned():
        assert await door.status(bearer) in REFUSED, bearer


async def test_a_signature_made_with_a_public_key_as_secret_opens_no_door(door):
    for bearer in confused():
        assert await door.status(bearer) in REFUSED, bearer


async def test_a_key_that_comes_with_the_token_opens_no_door_and_nobody_is_asked_for_one(door):
    for bearer in of_others(door):
        assert await door.status(bearer) in REFUSED, bearer
    assert door.attacker.calls == []


async def test_a_good_token_with_such_fields_in_its_header_is_judged_by_our_key_alone(door):
    url = door.attacker.url
    header = {**door.header, "jku": url, "x5u": url, "jwk": jwk(ATTACKERS_KEY, "k1")}

    assert await door.status(forged(header, CLAIMS, door.key)) == (101, "")
    assert door.attacker.calls == []


async def test_a_token_that_was_changed_opens_no_door(door):
    header, claims, signature = door.good.split(".")
    admin = part(json.dumps(CLAIMS | {"scope": "admin:read"}).encode())
    swapped = signature[:-4] + signature[-4:].swapcase()

    for bearer in (
        f"{header}.{admin}.{signature}",
        f"{header}.{claims}.{swapped}",
        f"{header}.{claims}.",
        door.good[:-9],
    ):
        assert await door.status(bearer) in REFUSED, bearer


# --- The name of the key ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["header", "query", "subprotocol"])
async def test_a_key_name_is_no_path_no_address_and_no_command(door, place):
    names = ["../../../../dev/null", "/dev/null", "/etc/passwd", "file:///dev/null", door.attacker.url, "k1\x00", "K1"]
    names += ["' OR 1=1 --", "$(id)", "", " ", "k1 ", "__class__", "\ud800", "x" * 4000]
    for kid in [*names, None, 1, 1.5, True, ["k1"], {"k1": "k1"}, [[]]]:
        for signer in (b"", b"\x00", ATTACKERS_KEY):
            bearer = forged({"alg": door.header["alg"], "kid": kid}, CLAIMS, signer)
            assert await door.status(bearer, place) in REFUSED, kid
    assert door.attacker.calls == []
    assert len(door.provider.calls) <= 1


# --- The claims ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": NOW - LEEWAY_SECS + 1}, None),
        ({"exp": NOW - LEEWAY_SECS - 1}, "token_expired"),
        ({"nbf": NOW + LEEWAY_SECS - 1}, None),
        ({"nbf": NOW + LEEWAY_SECS + 1}, "token_invalid"),
        ({"iat": NOW + LEEWAY_SECS - 1}, None),
        ({"iat": NOW + LEEWAY_SECS + 1}, "token_invalid"),
        ({"aud": "api://other"}, "token_invalid"),
        ({"aud": AUDIENCE + "/"}, "token_invalid"),
        ({"aud": [AUDIENCE, "api://other"]}, None),
        ({"aud": []}, "token_invalid"),
        ({"aud": None}, "token_invalid"),
        ({"iss": "https://login.example/other/v2.0"}, "token_invalid"),
        ({"iss": ISSUER + "/"}, "token_invalid"),
        ({"iss": None}, "token_invalid"),
        ({"sub": None}, "token_invalid"),
        ({"sub": ""}, "token_invalid"),
        ({"sub": "x" * 129}, "token_invalid"),
        ({"exp": None}, "token_invalid"),
        ({"exp": str(NOW + 3600)}, "token_invalid"),
        ({"exp": 10**30}, "token_invalid"),
    ],
)
async def test_a_claim_is_what_it_has_to_be_to_the_second(door, claims, code):
    bearer = forged(door.header, CLAIMS | claims, door.key)

    assert await door.status(bearer) == ((101, "") if code is None else (401, code))


async def test_a_token_that_is_accepted_late_opens_the_door_for_the_rest_of_the_leeway_only(door):
    bearer = forged(door.header, CLAIMS | {"exp": NOW - LEEWAY_SECS + 1}, door.key)

    async with websockets.connect(
        door.service.socket_url, additional_headers={"Authorization": f"Bearer {bearer}"}
    ) as late:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await late.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "token_expired")


# --- Size ------------------------------------------------------------------------------------------------------------


async def raw_answer(port: int, *pieces: bytes) -> bytes:
    """Return what a server answers to *pieces*, until it closes; it may do so before it has read them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("size", [10_000_000, 100_000])
@pytest.mark.parametrize(
    "line",
    [
        "GET /ws/data HTTP/1.1\r\nAuthorization: Bearer {token}",
        "GET /ws/data?token={token} HTTP/1.1",
        "GET /ws/data HTTP/1.1\r\nSec-WebSocket-Protocol: cb-trade.v1, cb-trade.bearer.{token}",
        "GET /v1/exchanges HTTP/1.1\r\nAuthorization: Bearer {token}",
    ],
)
@pytest.mark.parametrize("door", ["secret"], indirect=True)
async def test_a_huge_token_is_not_even_read_to_its_end(door, line, size):
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += "Sec-WebSocket-Key: Y2ItdHJhZGUgYXNrcyBhZ2Fpbg=="
    request = f"{line.format(token='x' * size)}\r\nHost: 127.0.0.1\r\nConnection: close\r\n{upgrade}\r\n\r\n"

    answer = await raw_answer(door.service.port, request.encode())

    assert answer[:12] in {b"", b"HTTP/1.1 400", b"HTTP/1.1 431"}
    assert await door.status(door.good) == (101, "")


async def ask(connection: ClientConnection, bearer: str) -> dict[str, Any]:
    """Return the answer to a renewal with *bearer*."""
    await connection.send(json.dumps({"type": "authenticate", "token": bearer}))
    answer: dict[str, Any] = json.loads(await connection.recv())
    return answer


@pytest.mark.parametrize("door", ["secret"], indirect=True)
async def test_a_large_token_in_a_message_is_refused_before_it_is_parsed_and_a_huge_one_ends_the_connection(door):
    headers = {"Authorization": f"Bearer {door.good}"}
    async with websockets.connect(door.service.socket_url, additional_headers=headers) as connection:
        padded = forged(door.header, CLAIMS | {"padding": "x" * 16_384}, door.key)
        refusal = await ask(connection, padded)
        assert (refusal["code"], refusal["details"]) == ("token_invalid", {"reason": "it has more than 16384 bytes"})

        with pytest.raises(websockets.ConnectionClosed) as closed:
            await ask(connection, "x" * 10_000_000)
    assert closed.value.rcvd.code == 1009


# --- Keys that change, and a provider that is away -------------------------------------------------------------------


def signed_by(kid: str, name: str) -> str:
    return jwt.encode(CLAIMS, rsa_key(name), algorithm="RS256", headers={"kid": kid})


@only_a_key_set
async def test_a_new_key_opens_the_door_and_the_one_it_replaces_no_longer_does(door):
    old, new = signed_by("k1", "first"), signed_by("k2", "second")
    assert await door.status(old) == (101, "")
    assert await door.status(new) == (401, "token_invalid")

    door.provider.keys = [jwk(rsa_key("second"), "k2")]
    door.clock.secs += READ_AGAIN_SECS

    assert await door.status(new) == (101, "")
    assert await door.status(old) == (401, "token_invalid")


@only_a_key_set
async def test_an_elliptic_key_of_the_set_opens_no_door_where_its_algorithm_is_not_accepted(door):
    """The set has keys of both kinds, and the settings name RS256 only."""
    assert await door.status(jwt.encode(CLAIMS, p256_key(), algorithm="ES256", headers={"kid": "e1"})) in REFUSED


@only_a_key_set
async def test_tokens_are_judged_on_while_the_provider_is_away(door):
    assert await door.status(door.good) == (101, "")
    door.provider.status = 503
    door.clock.secs += 12 * FRESH_SECS

    assert await door.status(door.good) == (101, "")
    assert await door.status(forged(door.header, CLAIMS, ATTACKERS_KEY)) in REFUSED


@only_a_key_set
async def test_a_provider_that_is_away_from_the_start_keeps_good_tokens_out_until_it_is_back(door):
    door.provider.status = 503

    assert await door.status(door.good) == (503, "auth_unavailable")
    assert await door.status(door.good, "subprotocol") == (1013, "auth_unavailable")
    headers = {"Authorization": f"Bearer {door.good}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{door.service.http_url}/v1/exchanges") as response,
    ):
        refusal = await response.json()
        assert (response.status, refusal["code"], refusal["retryable"]) == (503, "auth_unavailable", True)
        assert int(response.headers["Retry-After"]) == TRY_AGAIN_SECS
    assert await door.status("no token") in REFUSED
    assert len(door.provider.calls) == 1

    door.provider.status = 200
    door.clock.secs += TRY_AGAIN_SECS

    assert await door.status(door.good) == (101, "")


# --- Silence ---------------------------------------------------------------------------------------------------------


async def test_no_part_of_any_token_reaches_the_log(door, capsys):
    configure_log("debug")
    bad: list[Callable[[], Iterator[str]]] = [unsigned, confused, lambda: of_others(door)]
    tokens = [door.good, *(bearer for kind in bad for bearer in list(kind())[:8])]
    for place in ("header", "query", "subprotocol"):
        for bearer in tokens:
            await door.status(bearer, place)

    logged = capsys.readouterr().err
    assert "connection.opened" in logged
    assert "connection.refused" in logged
    assert not [piece for bearer in tokens for piece in bearer.split(".") if len(piece) > 8 and piece in logged]
