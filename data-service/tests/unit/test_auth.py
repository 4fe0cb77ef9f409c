from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_builders import quick

from cb_trade_data.auth.interfaces import Principal
from cb_trade_data.auth.keys import Key, OneKey
from cb_trade_data.auth.module import AuthenticationModuleImpl, create_token
from cb_trade_data.errors import (
    AuthenticationError,
    ForbiddenError,
    TokenExpiredError,
    TokenInvalidError,
    TokenMissingError,
)

KEY = "a key for tests that is long enough for HS512, too: 0123456789abcdef"
OTHER_KEY = KEY[::-1]
FAR = 4_102_444_800  # 2100-01-01
NOW = int(datetime.now(UTC).timestamp())
GOOD: dict[str, Any] = {"sub": "me", "exp": FAR, "scope": "data:read data:refresh"}

AUTH = AuthenticationModuleImpl(OneKey(Key.of_secret(KEY)))


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes | dict[str, Any], header: bytes = b'{"alg":"HS256","typ":"JWT"}', key: str = KEY) -> str:
    """Return a token signed by hand, so that it may hold anything."""
    if isinstance(payload, dict):
        payload = json.dumps(payload).encode()
    text = f"{part(header)}.{part(payload)}"
    return f"{text}.{part(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest())}"


def whose(token: str | None, auth: AuthenticationModuleImpl = AUTH) -> Principal:
    return asyncio.run(auth.authenticate(token))


def refusal(token: str | None, auth: AuthenticationModuleImpl = AUTH) -> str:
    with pytest.raises(TokenInvalidError) as caught:
        whose(token, auth)
    return str(caught.value)


# --- Good ones -------------------------------------------------------------------------------------------------------


def test_a_good_token_tells_who_is_asking_what_it_may_and_until_when():
    end = datetime(2100, 1, 1, tzinfo=UTC)

    assert whose(signed(GOOD)) == Principal("me", frozenset({"data:read", "data:refresh"}), end, end)


def test_a_token_of_ours_is_accepted():
    now = datetime.now(UTC).replace(microsecond=0)

    token = create_token(KEY, subject="me", scopes=["data:read"], lifetime=timedelta(hours=1), now=now)

    in_an_hour = now + timedelta(hours=1)
    assert whose(token) == Principal("me", frozenset({"data:read"}), in_an_hour, in_an_hour)


@pytest.mark.parametrize(("scope", "scopes"), [("", set()), (" a  b ", {"a", "b"}), ("a a", {"a"})])
def test_scopes_are_words_between_spaces(scope, scopes):
    assert whose(signed(GOOD | {"scope": scope})).scopes == scopes


def test_a_token_without_a_scope_may_do_nothing():
    principal = whose(signed({"sub": "me", "exp": FAR}))

    assert principal.scopes == frozenset()
    with pytest.raises(ForbiddenError) as caught:
        principal.require("data:read")
    assert caught.value.details == {"scope": "data:read"}


def test_a_scope_is_had_whole_or_not_at_all():
    principal = whose(signed(GOOD | {"scope": "data:reads xdata:read data:"}))

    with pytest.raises(ForbiddenError):
        principal.require("data:read")
    principal.require("data:reads")


def test_unknown_claims_are_passed_over():
    whose(signed(GOOD | {"name": "Me", "roles": ["x"]}))


# --- Signature and algorithm -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_is_a_missing_token(token):
    with pytest.raises(TokenMissingError):
        whose(token)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE"])
def test_an_unsigned_token_is_refused_whatever_it_says(algorithm):
    header, payload = part(json.dumps({"alg": algorithm}).encode()), part(json.dumps(GOOD).encode())

    refusal(f"{header}.{payload}.")
    refusal(f"{header}.{payload}")
    refusal(signed(GOOD, json.dumps({"alg": algorithm}).encode()))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_algorithm_is_ours_to_choose(algorithm):
    """Signed with the right key, and still not what was agreed."""
    refusal(jwt.encode(GOOD, KEY, algorithm=algorithm))


@pytest.mark.parametrize("header", [b"{}", b'{"alg":null}', b'{"alg":5}', b'{"alg":["HS256"]}', b"[]", b"null", b"{"])
def test_a_header_without_our_algorithm_is_refused(header):
    refusal(signed(GOOD, header))


def test_a_token_signed_with_another_key_is_refused():
    refusal(signed(GOOD, key=OTHER_KEY))
    refusal(signed(GOOD, key=""))


def test_changed_claims_are_refused():
    header, _, signature = signed(GOOD).split(".")

    refusal(f"{header}.{part(json.dumps(GOOD | {'scope': 'admin:read'}).encode())}.{signature}")


# --- Claims ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["sub", "exp"])
def test_a_claim_that_is_required_must_be_there(claim):
    assert claim in refusal(signed({name: value for name, value in GOOD.items() if name != claim}))
    refusal(signed(GOOD | {claim: None}))


@pytest.mark.parametrize("ago", [0, 1, 86_400, NOW], ids=["now", "a second ago", "a day ago", "in 1970"])
def test_a_token_past_its_end_has_expired(ago):
    with pytest.raises(TokenExpiredError):
        whose(signed(GOOD | {"exp": NOW - ago}))


def test_a_token_is_not_accepted_before_its_time():
    refusal(signed(GOOD | {"nbf": NOW + 3600}))
    whose(signed(GOOD | {"nbf": NOW - 1}))


@pytest.mark.parametrize("subject", [5, True, ["me"], {"name": "me"}, 1.5])
def test_a_subject_that_is_no_text_is_refused(subject):
    refusal(signed(GOOD | {"sub": subject}))


@pytest.mark.parametrize("subject", ["", " ", "\t", "a\nb", "a\x1b[2Jb", "\u2028", "x" * 129])
def test_a_subject_that_nobody_could_read_in_a_log_is_refused(subject):
    assert "sub" in refusal(signed(GOOD | {"sub": subject}))
    whose(signed(GOOD | {"sub": "x" * 128}))


@pytest.mark.parametrize("claim", ["scope", "scp", "roles", "exchanges"])
@pytest.mark.parametrize("words", [5, True, None, [5], ["data:read", None], {"data:read": True}])
def test_a_list_of_words_that_is_none_is_refused(claim, words):
    assert claim in refusal(signed(GOOD | {claim: words}))


def test_scopes_are_those_of_all_three_claims_together():
    """Entra ID says `scp` for people and `roles` for programs, Okta writes `scp` as a list."""
    principal = whose(signed(GOOD | {"scope": "a b", "scp": ["c"], "roles": ["d d", "e"]}))

    assert principal.scopes == {"a", "b", "c", "d d", "e"}


@pytest.mark.parametrize("exchanges", ["binance kraken", ["binance", "kraken"]])
def test_a_token_may_be_limited_to_some_exchanges(exchanges):
    principal = whose(signed(GOOD | {"exchanges": exchanges}))

    principal.require_exchange("kraken")
    with pytest.raises(ForbiddenError) as caught:
        principal.require_exchange("okx")
    assert caught.value.details == {"exchange": "okx"}


def test_a_token_for_no_exchange_is_for_none_and_one_that_does_not_say_is_for_all():
    assert not whose(signed(GOOD | {"exchanges": []})).may_use("binance")
    assert whose(signed(GOOD)).may_use("binance")


@pytest.mark.parametrize(
    "exp", ["soon", "", [], [FAR], {}, "4102444800", "1e10", 10**20, 10**400, 2**63, 1e300, 6.77680361916768e16]
)
def test_an_end_that_no_calendar_holds_is_refused(exp):
    refusal(signed(GOOD | {"exp": exp}))


@pytest.mark.parametrize("number", [b"Infinity", b"-Infinity", b"NaN", b"1e999"])
def test_an_end_that_is_no_number_is_refused(number):
    with pytest.raises(AuthenticationError):
        whose(signed(b'{"sub":"me","exp":' + number + b"}"))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", [], {}, None])
def test_other_times_that_are_none_are_refused(claim, value):
    refusal(signed(GOOD | {claim: value}))


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"5", b'"text"', b"{", b"\xff", b"[" * 5000])
def test_claims_that_are_no_object_are_refused(payload):
    refusal(signed(payload))


# --- Audience and issuer ---------------------------------------------------------------------------------------------

STRICT = AuthenticationModuleImpl(OneKey(Key.of_secret(KEY)), audience="cb-trade", issuer="us")


@pytest.mark.parametrize("audience", ["cb-trade", ["other", "cb-trade"]])
def test_a_token_for_us_by_our_issuer_is_accepted(audience):
    whose(signed(GOOD | {"aud": audience, "iss": "us"}), STRICT)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": "cb-trade"},
        {"iss": "us"},
        {"aud": "other", "iss": "us"},
        {"aud": [], "iss": "us"},
        {"aud": "cb-trade", "iss": "them"},
        {"aud": "cb-trade", "iss": ["us"]},
        {"aud": 5, "iss": "us"},
        {"aud": "CB-TRADE", "iss": "us"},
    ],
)
def test_a_token_for_others_or_by_others_is_refused(claims):
    refusal(signed(GOOD | claims), STRICT)


@pytest.mark.parametrize("claims", [{"aud": "other"}, {"iss": "them"}, {"aud": ["a", "b"], "iss": "them"}])
def test_audience_and_issuer_do_not_matter_where_none_is_set(claims):
    whose(signed(GOOD | claims))


def test_a_token_of_ours_carries_the_audience_and_issuer_it_was_made_for():
    token = create_token(
        KEY,
        subject="me",
        scopes=[],
        lifetime=timedelta(hours=1),
        now=datetime.now(UTC),
        audience="cb-trade",
        issuer="us",
    )

    assert whose(token, STRICT).subject == "me"


# --- Garbage, and silence about it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [
        " ",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        "\x00",
        "Bearer x",
        "\udcff.\udcff.\udcff",
        part(b'{"alg":' + b"[" * 20_000) + ".e30.AAAA",
        part(b'{"alg":' + b"9" * 5000 + b"}") + ".e30.AAAA",
        signed(GOOD)[:-5],
        "x" * 100_000,
    ],
)
def test_garbage_is_no_token(token):
    refusal(token)


@quick(200)
@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda data: f"{part(data)}.{part(data)}.{part(data)}"))
def test_any_garbage_is_refused_and_nothing_worse(garbage):
    with pytest.raises(AuthenticationError):
        whose(garbage)


@quick(150)
@given(
    st.sampled_from(["exp", "nbf", "iat", "sub", "scope", "scp", "roles", "exchanges", "aud", "iss", "jti"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=3,
    ),
    st.sampled_from([AUTH, STRICT]),
)
def test_any_claim_of_any_kind_is_accepted_or_refused_and_nothing_worse(claim, value, auth):
    try:
        principal = whose(signed(GOOD | {claim: value}), auth)
    except AuthenticationError:
        return
    assert isinstance(principal.subject, str)
    assert principal.expires_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "token",
    [
        signed(GOOD, key=OTHER_KEY),
        signed(GOOD | {"exp": 1}),
        signed(GOOD | {"exp": "soon-hunter2"}),
        signed(GOOD | {"aud": "hunter2-audience", "iss": "us"}),
        signed(GOOD | {"aud": "cb-trade", "iss": "hunter2-issuer"}),
        signed(GOOD | {"sub": 5, "hunter2": "hunter2"}),
        signed(GOOD | {"scope": {"hunter2": 1}, "aud": "cb-trade", "iss": "us"}),
        signed(b"hunter2hunter2"),
        signed(GOOD, b"hunter2hunter2"),
        "hunter2-hunter2-hunter2",
        "hunter2.hunter2.hunter2",
        "hunter2\x00.hunter2.hunter2",
        "\udcffhunter2.a.b",
        signed(GOOD, b'{"alg":"HS256","crit":["hunter2"],"hunter2":1}'),
        signed(GOOD, b'{"alg":"hunter2"}'),
    ],
)
def test_no_refusal_shows_any_part_of_the_token(token):
    with pytest.raises(AuthenticationError) as caught:
        whose(token, STRICT)

    shown = f"{caught.value} {caught.value.details}"
    assert "hunter2" not in shown
    assert all(piece not in shown for piece in token.split(".") if len(piece) > 3)
