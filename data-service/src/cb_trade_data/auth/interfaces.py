"""Authentication as the API sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime

from cb_trade_data.errors import ForbiddenError


@dataclass(frozen=True)
class Principal:
    """Whoever a token speaks for.

    Attributes:
        expires_at: When the token ends, and with it every connection opened with it.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: datetime

    def require(self, scope: str) -> None:
        """Raise `ForbiddenError` unless the token carries *scope*."""
        if scope not in self.scopes:
            raise ForbiddenError(scope)


class IAuthenticationModule(ABC):
    """Tells who a token speaks for."""

    @abstractmethod
    def authenticate(self, token: str | None) -> Principal:
        """Return whoever *token* speaks for.

        Raises:
            TokenMissingError: There is no token.
            TokenExpiredError: It was good once.
            TokenInvalidError: It is not one of ours.
        """
