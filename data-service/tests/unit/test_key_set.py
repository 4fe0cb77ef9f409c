"""Which keys of a published set tokens may be signed for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_server import jwk
from signing_keys import p256_key, rsa_key
from unit_builders import quick

from cb_trade_data.auth.key_set import keys_of
from cb_trade_data.auth.keys import Key

BOTH = ("RS256", "ES256")
GOOD = jwk(rsa_key(), "good")


def read(*keys: Any, algorithms: tuple[str, ...] = BOTH) -> dict[str | None, Key]:
    return keys_of(json.dumps({"keys": keys}).encode(), algorithms)


def test_each_key_is_found_by_its_name_and_is_for_one_algorithm():
    keys = read(jwk(rsa_key(), "r", use="sig", alg="RS256"), jwk(p256_key(), "e", key_ops=["verify"], x5c=["AAAA"]))

    assert keys == {
        "r": Key("RS256", rsa_key().public_key()),
        "e": Key("ES256", p256_key().public_key()),
    }


def test_keys_for_algorithms_that_are_not_accepted_are_passed_over():
    assert set(read(jwk(rsa_key(), "r"), jwk(p256_key(), "e"), algorithms=("ES256",))) == {"e", None}


def test_an_only_key_is_found_without_a_name_whatever_it_is_called():
    assert set(read(GOOD)) == {"good", None}
    assert set(read(jwk(rsa_key()))) == {None}


def test_of_two_keys_with_one_name_the_first_counts():
    keys = read(GOOD, jwk(rsa_key("second"), "good"), jwk(p256_key(), "e"))

    assert keys["good"].material == rsa_key().public_key()


@pytest.mark.parametrize(
    "other",
    [
        jwk(rsa_key(), "x", use="enc"),
        jwk(rsa_key(), "x", key_ops=["encrypt"]),
        jwk(rsa_key(), "x", key_ops="verify"),
        jwk(rsa_key(), "x", key_ops=5),
        jwk(rsa_key(), "x", alg="RS512"),
        jwk(rsa_key(), "x", alg="HS256"),
        jwk(rsa_key(), "x", alg="none"),
        jwk(rsa_key(), "x", d="AQAB"),
        jwk(rsa_key("weak", 1024), "x"),
        jwk(rsa_key(), "x", n=5),
        jwk(rsa_key(), "x", n=""),
        jwk(rsa_key(), "x", n="no base64!"),
        jwk(rsa_key(), "x", e="AA"),
        jwk(rsa_key(), "x", kty="EC"),
        jwk(p256_key(), "x", crv="P-384"),
        jwk(p256_key(), "x", crv="secp256k1"),
        jwk(p256_key(), "x", x="AAAA"),
        jwk(p256_key(), "x", y=jwk(p256_key())["x"]),
        {"kty": "oct", "kid": "x", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        {"kty": "OKP", "kid": "x", "crv": "Ed25519", "x": "AAAA"},
        {"kty": ["RSA"], "kid": "x"},
        {"kid": "x"},
        jwk(rsa_key()) | {"kid": 5},
        jwk(rsa_key()) | {"kid": None},
        jwk(rsa_key()) | {"kid": ["good"]},
        None,
        "x",
        [],
    ],
)
def test_a_key_for_something_else_or_a_broken_one_is_passed_over_and_hides_no_other(other):
    assert set(read(other, GOOD)) == {"good", None}
    with pytest.raises(ValueError, match="no key for ES256 or RS256"):
        read(other)


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"null", b"5", b'"keys"', b"{}", b'{"keys":{}}', b'{"keys":null}', b"\xff", b"<html>"],
)
def test_what_is_no_key_set_is_told_so(document):
    with pytest.raises(ValueError, match="it is no JSON object with a list of keys"):
        keys_of(document, BOTH)


def test_a_set_without_keys_is_taken_for_a_mistake():
    with pytest.raises(ValueError, match="no key"):
        read()


def test_a_set_of_more_than_a_hundred_keys_is_refused():
    assert len(read(*[jwk(rsa_key(), str(number)) for number in range(100)])) == 100
    with pytest.raises(ValueError, match="101 keys"):
        read(*[jwk(rsa_key(), str(number)) for number in range(101)])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["RSA", "EC", "P-256", "AQAB"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@quick(200)
@given(
    st.sampled_from([jwk(rsa_key()), jwk(p256_key())]),
    st.dictionaries(st.sampled_from([*"nedxy", "kty", "crv", "kid", "use", "key_ops", "alg"]), _VALUES),
)
def test_any_key_of_any_kind_is_taken_or_passed_over_and_nothing_worse(good, fields):
    assert "good" in read(good | fields, GOOD)
