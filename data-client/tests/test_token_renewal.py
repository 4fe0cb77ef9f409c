"""When a token is renewed."""

from base64 import urlsafe_b64encode

import pytest

from cb_trade_client.token_renewal import secs_until_renewal

NOW = 1_700_000_000


def token_with(claims: str) -> str:
    return f"e30.{urlsafe_b64encode(claims.encode()).rstrip(b'=').decode()}.c2ln"


@pytest.mark.parametrize(
    ("rest_secs", "wait_secs"), [(3600, 3540), (300, 240), (240, 180), (100, 75), (4, 3), (1, 0.75), (10**15, 86_400)]
)
def test_a_token_is_renewed_a_minute_before_it_ends_or_when_a_quarter_of_it_is_left(rest_secs, wait_secs):
    assert secs_until_renewal(token_with(f'{{"exp":{NOW + rest_secs}}}'), NOW) == wait_secs


@pytest.mark.parametrize("rest_secs", [0.9, 0, -1, -NOW])
def test_a_token_that_ends_now_is_renewed_no_more(rest_secs):
    assert secs_until_renewal(token_with(f'{{"exp":{NOW + rest_secs}}}'), NOW) is None


@pytest.mark.parametrize(
    "token", ["", "good.token", "a", "a..c", "a.é.c", token_with("{}"), token_with("[]"), token_with('{"exp":"x"}')]
)
def test_a_token_whose_end_cannot_be_read_is_not_renewed(token):
    """The service knows its end; when it comes, the connection is opened anew."""
    assert secs_until_renewal(token, NOW) is None
