"""From the claims of a token that is known to be good to whom it speaks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from cb_trade_data.auth.interfaces import Principal
from cb_trade_data.errors import TokenInvalidError
from cb_trade_data.models.instants import EPOCH

# How OAuth, Entra ID's users and Entra ID's programs say it: each a text with spaces, or a list.
_SCOPE_CLAIMS: Final = ("scope", "scp", "roles")
_EXCHANGES_CLAIM: Final = "exchanges"
_SUBJECT_MAX_CHARACTERS: Final = 128


def principal_of(claims: Mapping[str, Any], leeway: timedelta) -> Principal:
    """Return whom *claims* speak for; connections may last *leeway* longer than the token.

    Raises:
        TokenInvalidError: A claim is not what it has to be; says which, and nothing of what it holds.
    """
    subject = claims["sub"]
    if not subject.strip() or len(subject) > _SUBJECT_MAX_CHARACTERS or not subject.isprintable():
        raise TokenInvalidError(f"the sub claim must be 1 to {_SUBJECT_MAX_CHARACTERS} printable characters")
    if not isinstance(claims["exp"], int | float):
        raise TokenInvalidError("the exp claim must be a number of seconds")
    try:
        # Not by way of the platform's calendar, each of which ends elsewhere, with an error of its own.
        expires_at = EPOCH + timedelta(seconds=claims["exp"])
        ends_at = expires_at + leeway
    except (ValueError, OverflowError) as error:
        raise TokenInvalidError("the exp claim is no instant of the calendar") from error
    scopes = frozenset[str]().union(*(_words(claims, name) for name in _SCOPE_CLAIMS if name in claims))
    exchanges = _words(claims, _EXCHANGES_CLAIM) if _EXCHANGES_CLAIM in claims else None
    return Principal(subject, scopes, expires_at, ends_at, exchanges)


def _words(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    value = claims[name]
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return frozenset(value)
    raise TokenInvalidError(f"the {name} claim must be a list of texts, or one text with spaces between them")
