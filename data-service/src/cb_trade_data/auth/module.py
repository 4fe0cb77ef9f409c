"""JSON Web Tokens signed with a shared secret (HS256)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import jwt

from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.errors import TokenExpiredError, TokenInvalidError, TokenMissingError
from cb_trade_data.models.instants import EPOCH

_ALGORITHM: Final = "HS256"
_SUBJECT_MAX_CHARACTERS: Final = 128


class AuthenticationModuleImpl(IAuthenticationModule):
    """Accepts tokens signed with our secret; the algorithm is ours to choose, never the token's."""

    def __init__(self, secret: str, *, audience: str | None = None, issuer: str | None = None) -> None:
        """*audience* and *issuer* are checked where they are set."""
        self._secret = secret
        self._audience = audience
        self._issuer = issuer

    def authenticate(self, token: str | None) -> Principal:
        """See `IAuthenticationModule.authenticate`."""
        if not token:
            raise TokenMissingError
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["sub", "exp"], "verify_aud": self._audience is not None},
            )
            scope = claims.get("scope", "")
            if not isinstance(scope, str):
                raise TokenInvalidError("the scope claim must be a space-separated list in one string")
            if len(claims["sub"]) > _SUBJECT_MAX_CHARACTERS:
                raise TokenInvalidError(f"the sub claim has more than {_SUBJECT_MAX_CHARACTERS} characters")
            if not isinstance(claims["exp"], int | float):
                raise TokenInvalidError("the exp claim must be a number of seconds")
            # Not by way of the platform's calendar, each of which ends elsewhere, with an error of its own.
            expires_at = EPOCH + timedelta(seconds=claims["exp"])
            return Principal(claims["sub"], frozenset(scope.split()), expires_at)
        except jwt.ExpiredSignatureError as error:
            raise TokenExpiredError from error
        except jwt.InvalidTokenError as error:
            # PyJWT's texts name the claim that is wrong and never hold the token.
            raise TokenInvalidError(str(error)) from error
        except (ValueError, OverflowError) as error:
            raise TokenInvalidError("the exp claim is no instant of the calendar") from error


def create_token(
    secret: str,
    *,
    subject: str,
    scopes: list[str],
    lifetime: timedelta,
    now: datetime,
    audience: str | None = None,
    issuer: str | None = None,
) -> str:
    """Return a token that `AuthenticationModuleImpl` with the same secret, audience and issuer accepts."""
    claims: dict[str, object] = {"sub": subject, "scope": " ".join(scopes), "iat": now, "exp": now + lifetime}
    if audience is not None:
        claims["aud"] = audience
    if issuer is not None:
        claims["iss"] = issuer
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)
