"""Which keys, algorithms and origins the service starts with, and what it says of those it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from signing_keys import p256_key, private_pem, public_pem, rsa_key

from cb_trade_data.config import AuthSettings

SECRET = "a secret for tests that is long enough"
KEY_SET = {"JWKS_URL": "https://login.example/keys", "AUDIENCE": "cb-trade", "ISSUER": "https://login.example"}


@pytest.fixture
def auth_of(load) -> Callable[..., AuthSettings]:
    """Return what is set of authentication, given all there is of it."""
    return lambda **settings: load(**in_full(settings)).auth


@pytest.fixture
def auth_problems_of(problems_of) -> Callable[..., list[str]]:
    """Return what is wrong with it, beside a port that is wrong in any case: no problem may hide another."""

    def auth_problems_of(**settings: str) -> list[str]:
        problems = problems_of(PORT="http", **in_full(settings))
        others = [problem for problem in problems if not problem.startswith("CB_TRADE_PORT")]
        assert len(others) == len(problems) - 1
        return others

    return auth_problems_of


def in_full(settings: dict[str, str]) -> dict[str, str | None]:
    """Return *settings* by their names among all, with no secret but theirs."""
    return {"AUTH__SECRET": None} | {f"AUTH__{name}": value for name, value in settings.items()}


@pytest.mark.parametrize(
    ("settings", "algorithms"),
    [
        ({"SECRET": SECRET}, ("HS256",)),
        ({"PUBLIC_KEY": public_pem(rsa_key())}, ("RS256",)),
        ({"PUBLIC_KEY": public_pem(rsa_key()).replace("\n", "\\n")}, ("RS256",)),
        ({"PUBLIC_KEY": public_pem(p256_key())}, ("ES256",)),
        (KEY_SET, ("RS256",)),
        (KEY_SET | {"ALGORITHMS": '["ES256"]'}, ("ES256",)),
        (KEY_SET | {"ALGORITHMS": '["ES256", "RS256"]'}, ("ES256", "RS256")),
        (KEY_SET | {"JWKS_URL": "http://127.0.0.1:8000/keys"}, ("RS256",)),
        (KEY_SET | {"JWKS_URL": "http://localhost/keys"}, ("RS256",)),
        (KEY_SET | {"JWKS_URL": "http://[::1]:8000/keys"}, ("RS256",)),
        ({"SECRET": SECRET, "ALGORITHMS": '["HS256"]'}, ("HS256",)),
        ({"SECRET": SECRET, "ALGORITHMS": "[]"}, ("HS256",)),
    ],
)
def test_the_key_says_which_algorithms_there_are(auth_of, settings, algorithms):
    assert auth_of(**settings).algorithms == algorithms


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (private_pem(rsa_key()), "private key"),
        (private_pem(p256_key()).replace("\n", "\\n"), "private key"),
        (public_pem(rsa_key("weak", 1024)), "1024 bits"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "secp384r1"),
        (public_pem(ec.generate_private_key(ec.SECP256K1())), "secp256k1"),
        (public_pem(ed25519.Ed25519PrivateKey.generate()), "another kind"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509"),
        ("-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----\n", "no public key"),
        ("hunter2", "no public key"),
    ],
)
def test_a_public_key_that_cannot_be_used_is_told_by_its_variable_and_not_shown(auth_problems_of, pem, said):
    (problem,) = auth_problems_of(PUBLIC_KEY=pem)

    assert problem.startswith("CB_TRADE_AUTH__PUBLIC_KEY: ")
    assert said in problem
    assert "hunter2" not in problem
    assert not any(line in problem for line in pem.splitlines() if len(line) > 40)


@pytest.mark.parametrize(
    "settings",
    [
        {"PUBLIC_KEY": public_pem(rsa_key()), "ALGORITHMS": '["HS256"]'},
        {"PUBLIC_KEY": public_pem(rsa_key()), "ALGORITHMS": '["RS256", "HS256"]'},
        {"PUBLIC_KEY": public_pem(rsa_key()), "ALGORITHMS": '["ES256"]'},
        {"PUBLIC_KEY": public_pem(p256_key()), "ALGORITHMS": '["RS256"]'},
        {"SECRET": SECRET, "ALGORITHMS": '["RS256"]'},
        KEY_SET | {"ALGORITHMS": '["HS256"]'},
        KEY_SET | {"ALGORITHMS": '["RS256", "HS256"]'},
    ],
)
def test_an_algorithm_that_the_key_is_not_for_stops_the_start(auth_problems_of, settings):
    (problem,) = auth_problems_of(**settings)

    assert problem.startswith("CB_TRADE_AUTH__ALGORITHMS: ")


@pytest.mark.parametrize("algorithms", ['["none"]', '["None"]', '["HS512"]', '["RS512"]', "RS256", '[""]'])
def test_no_other_algorithm_can_be_set(auth_problems_of, algorithms):
    assert all("ALGORITHMS" in problem for problem in auth_problems_of(SECRET=SECRET, ALGORITHMS=algorithms))


def test_a_key_set_needs_audience_and_issuer(auth_problems_of):
    told = auth_problems_of(JWKS_URL=KEY_SET["JWKS_URL"])

    assert [problem.split(":")[0] for problem in told] == ["CB_TRADE_AUTH__AUDIENCE", "CB_TRADE_AUTH__ISSUER"]


@pytest.mark.parametrize(
    "url",
    ["http://login.example/keys", "http://127.0.0.1.example/keys", "http://10.0.0.1/keys", "ftp://a/keys", "keys"],
)
def test_a_key_set_that_others_could_change_on_the_way_stops_the_start(auth_problems_of, url):
    (problem,) = auth_problems_of(**KEY_SET | {"JWKS_URL": url})

    assert problem.startswith("CB_TRADE_AUTH__JWKS_URL: ")


def test_there_is_one_source_of_keys(auth_problems_of):
    both = auth_problems_of(SECRET=SECRET, PUBLIC_KEY=public_pem(rsa_key()))

    assert "SECRET and PUBLIC_KEY are set, and keys come from one place" in both[0]


def test_a_public_key_is_no_secret(auth_problems_of):
    """Whoever has it, that is anybody, could sign tokens."""
    assert "AUTH__PUBLIC_KEY" in auth_problems_of(SECRET=public_pem(rsa_key()))[0]


@pytest.mark.parametrize(
    "origins", [["https://console.example.com"], ["http://127.0.0.1:8000", "https://a.example:8443"], []]
)
def test_origins_are_taken_as_browsers_write_them(auth_of, origins: list[str]):
    assert auth_of(SECRET=SECRET, ALLOWED_ORIGINS=str(origins).replace("'", '"')).allowed_origins == tuple(origins)


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example/",
        "https://A.example",
        "a.example",
        "https://a.example:443",
        "null",
        "*",
        "",
        "https://*.example",
    ],
)
def test_what_no_browser_writes_as_an_origin_stops_the_start(auth_problems_of, origin: Any):
    (problem,) = auth_problems_of(SECRET=SECRET, ALLOWED_ORIGINS=f'["{origin}"]')

    assert problem.startswith("CB_TRADE_AUTH__ALLOWED_ORIGINS: ")
