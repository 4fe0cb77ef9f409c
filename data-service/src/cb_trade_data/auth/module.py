"""JSON Web Tokens: whether one is good, and how ours are made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import jwt

from cb_trade_data.auth.claims import principal_of
from cb_trade_data.auth.interfaces import IAuthenticationModule, Principal
from cb_trade_data.auth.keys import HMAC_ALGORITHM, Key, KeySource
from cb_trade_data.errors import TokenExpiredError, TokenInvalidError, TokenMissingError
from cb_trade_data.models.component import Component

TOKEN_MAX_BYTES: Final = 16 * 1024


class AuthenticationModuleImpl(IAuthenticationModule):
    """Accepts tokens signed with a key of *keys*, by an algorithm that is theirs to choose, never the token's."""

    def __init__(
        self,
        keys: KeySource,
        *,
        audience: str | None = None,
        issuer: str | None = None,
        leeway: timedelta = timedelta(0),
    ) -> None:
        """*audience* and *issuer* are checked where they are set; *leeway*: by how much clocks may differ."""
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway

    async def authenticate(self, token: str | None) -> Principal:
        """See `IAuthenticationModule.authenticate`."""
        if not token:
            raise TokenMissingError
        # Before anything is made of it. Those of more than one byte a character are refused in any case.
        if len(token) > TOKEN_MAX_BYTES:
            raise TokenInvalidError(f"it has more than {TOKEN_MAX_BYTES} bytes")
        try:
            kid = self._key_name(token)
            key = await self._keys.find(kid)
            if key is None:
                raise TokenInvalidError("its header names a key (kid) that is not in the key set")
            return principal_of(self._claims(token, key), self._leeway)
        except jwt.ExpiredSignatureError as error:
            raise TokenExpiredError from error
        except jwt.PyJWTError as error:
            # Its texts name the claim that is wrong, and never what that holds.
            raise TokenInvalidError(str(error)) from error
        except (ValueError, OverflowError) as error:
            raise TokenInvalidError("a claim holds a number that is none, or no text that can be written") from error

    def condition(self) -> Component:
        """See `IAuthenticationModule.condition`."""
        return self._keys.condition()

    async def close(self) -> None:
        """See `IAuthenticationModule.close`."""
        await self._keys.close()

    def _key_name(self, token: str) -> str | None:
        """Return the name that the header has for its key. Where it can be no header of ours, no key is looked for."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            # Of what is in a header, whose sender is not known yet, nothing is told on.
            raise TokenInvalidError("it is no JWT, or its header asks for what we do not know") from error
        if header.get("alg") not in tuple(self._keys.algorithms):  # whatever its type
            raise TokenInvalidError(f"it is not signed with {' or '.join(sorted(self._keys.algorithms))}")
        kid: str | None = header.get("kid")
        return kid

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway,
            options={"require": ["sub", "exp"], "verify_aud": self._audience is not None},
        )


def create_token(
    secret: str,
    *,
    subject: str,
    scopes: Sequence[str],
    lifetime: timedelta,
    now: datetime,
    audience: str | None = None,
    issuer: str | None = None,
    exchanges: Sequence[str] | None = None,
) -> str:
    """Return a token that `AuthenticationModuleImpl` with the same secret, audience and issuer accepts.

    Args:
        exchanges: Those that it is limited to; None for all.
    """
    claims: dict[str, object] = {"sub": subject, "scope": " ".join(scopes), "iat": now, "exp": now + lifetime}
    if audience is not None:
        claims["aud"] = audience
    if issuer is not None:
        claims["iss"] = issuer
    if exchanges is not None:
        claims["exchanges"] = list(exchanges)
    return jwt.encode(claims, secret, algorithm=HMAC_ALGORITHM)
