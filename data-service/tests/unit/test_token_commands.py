"""`cb-trade token`: tokens that the service takes, and what is wrong with those that it does not."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from signing_keys import public_pem, rsa_key
from typer.testing import CliRunner, Result

from cb_trade_data.commands.token import token as token_command

SECRET = "a secret for tests that is long enough"
FAR = 4_102_444_800  # 2100-01-01


@pytest.fixture(autouse=True)
def _settings(monkeypatch, tmp_path) -> None:
    """No settings but a secret: a working folder without .env files, and no variable of this machine's."""
    for name in [name for name in os.environ if name.startswith("CB_TRADE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CB_TRADE_AUTH__SECRET", SECRET)


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(token_command, arguments, input=stdin)


def signed(secret: str = SECRET, **claims: Any) -> str:
    return jwt.encode({"sub": "me", "exp": FAR, "scope": "data:read"} | claims, secret, algorithm="HS256")


def created(*arguments: str) -> dict[str, Any]:
    """Return the claims of a token that is made with *arguments*."""
    made = run("create", *arguments)
    assert made.exit_code == 0, made.output
    claims: dict[str, Any] = jwt.decode(
        made.stdout.strip(), SECRET, algorithms=["HS256"], options={"verify_aud": False}
    )
    return claims


def test_a_token_is_for_reading_all_exchanges_for_a_month():
    claims = created()

    assert (claims["sub"], claims["scope"]) == ("me", "data:read")
    assert claims["exp"] - claims["iat"] == 30 * 86_400
    assert "exchanges" not in claims


def test_a_token_may_be_limited_to_exchanges_and_carries_what_the_settings_ask_for(monkeypatch):
    monkeypatch.setenv("CB_TRADE_AUTH__AUDIENCE", "cb-trade")
    monkeypatch.setenv("CB_TRADE_AUTH__ISSUER", "us")

    claims = created("--exchange", "binance", "--exchange", "kraken", "--scope", "data:refresh", "--subject", "you")

    assert claims["exchanges"] == ["binance", "kraken"]
    assert (claims["sub"], claims["scope"], claims["aud"], claims["iss"]) == ("you", "data:refresh", "cb-trade", "us")


def test_without_a_secret_no_token_can_be_made(monkeypatch):
    monkeypatch.delenv("CB_TRADE_AUTH__SECRET")
    monkeypatch.setenv("CB_TRADE_AUTH__PUBLIC_KEY", public_pem(rsa_key()))

    made = run("create")

    assert (made.exit_code, made.stdout) == (1, "")
    assert "CB_TRADE_AUTH__PUBLIC_KEY" in made.stderr


def test_a_token_that_was_made_is_accepted():
    inspected = run("inspect", run("create", "--exchange", "kraken", "--scope", "admin:read").stdout.strip())

    assert inspected.exit_code == 0
    assert '"alg": "HS256"' in inspected.stdout
    assert "scopes: admin:read\nexchanges: kraken\naccepted, until 2" in inspected.stdout


def test_a_token_is_read_from_stdin_so_that_no_process_list_shows_it():
    inspected = run("inspect", stdin=f"{signed()}\n")

    assert inspected.exit_code == 0
    assert inspected.stdout.endswith("exchanges: all\naccepted, until 2100-01-01T00:00:10Z\n")  # the leeway
    assert run("inspect", "-", stdin=signed()).stdout == inspected.stdout


def test_times_are_shown_for_people_too():
    shown = run("inspect", signed(nbf=0, iat=1.5, exp=FAR)).stdout

    assert '"exp": 4102444800  (2100-01-01T00:00:00Z)' in shown
    assert '"nbf": 0  (1970-01-01T00:00:00Z)' in shown
    assert '"iat": 1.5  (1970-01-01T00:00:01.500000Z)' in shown


@pytest.mark.parametrize(
    ("bearer", "why"),
    [
        (signed("another secret that is long enough, too"), "token_invalid: the token is not valid: Signature"),
        (signed(exp=1), "token_expired"),
        (signed(nbf=FAR), "not yet valid"),
        (signed(sub=""), "sub"),
        (signed(exchanges=5), "exchanges"),
        ("no.jwt.at all", "it is no JWT"),
        ("", "token_missing"),
    ],
)
def test_of_a_token_that_is_not_accepted_it_is_told_why(bearer, why):
    inspected = run("inspect", stdin=bearer)

    assert inspected.exit_code == 1
    assert inspected.stdout.splitlines()[-1].startswith("not accepted: ")
    assert why in inspected.stdout.splitlines()[-1]


def test_a_token_for_others_is_not_accepted(monkeypatch):
    monkeypatch.setenv("CB_TRADE_AUTH__AUDIENCE", "cb-trade")

    assert "Audience doesn't match" in run("inspect", signed(aud="others")).stdout


def test_what_a_token_holds_cannot_command_the_terminal():
    shown = run("inspect", signed(name="\x1b[2J\u202e", **{"\x1b]0;": 1})).stdout

    assert "\x1b" not in shown
    assert shown.isascii()
    assert json.dumps("\x1b[2J\u202e") in shown


def test_where_the_keys_cannot_be_read_nothing_but_that_is_told(monkeypatch):
    monkeypatch.delenv("CB_TRADE_AUTH__SECRET")
    for name, value in {"JWKS_URL": "http://127.0.0.1:1/keys", "AUDIENCE": "us", "ISSUER": "them"}.items():
        monkeypatch.setenv(f"CB_TRADE_AUTH__{name}", value)
    claims = {"sub": "me", "exp": datetime.now(UTC) + timedelta(hours=1)}

    inspected = run("inspect", jwt.encode(claims, rsa_key(), algorithm="RS256"))

    assert inspected.exit_code == 1
    assert inspected.stdout.splitlines()[-1].startswith("not accepted: auth_unavailable: ")
    assert inspected.stderr == ""
