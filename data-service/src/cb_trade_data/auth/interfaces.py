"""Authentication as the API sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime

from cb_trade_data.errors import ExchangeForbiddenError, ScopeMissingError
from cb_trade_data.models.component import Component


@dataclass(frozen=True)
class Principal:
    """Whoever a token speaks for, and what it may.

    Attributes:
        expires_at: When the token ends, by its own word.
        ends_at: When every connection that was opened or renewed with it ends: later by what clocks may differ.
        exchanges: Those it may ask about; None for all.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: datetime
    ends_at: datetime
    exchanges: frozenset[str] | None = None

    def require(self, scope: str) -> None:
        """Raise `ScopeMissingError` unless the token carries *scope*."""
        if scope not in self.scopes:
            raise ScopeMissingError(scope)

    def may_use(self, exchange: str) -> bool:
        """Return whether the token is for *exchange*, too."""
        return self.exchanges is None or exchange in self.exchanges

    def require_exchange(self, exchange: str) -> None:
        """Raise `ExchangeForbiddenError` unless the token is for *exchange*, too; whether there is one is not told."""
        if not self.may_use(exchange):
            raise ExchangeForbiddenError(exchange)


class IAuthenticationModule(ABC):
    """Tells who a token speaks for."""

    @abstractmethod
    async def authenticate(self, token: str | None) -> Principal:
        """Return whoever *token* speaks for.

        Raises:
            TokenMissingError: There is no token.
            TokenExpiredError: It was good once.
            TokenInvalidError: It is not one of ours.
            AuthenticationUnavailableError: It may be good: there are no keys to find out.
        """

    @abstractmethod
    def condition(self) -> Component:
        """Return how the keys are doing that tokens are checked with; asks nobody."""

    @abstractmethod
    async def close(self) -> None:
        """End what is under way; nobody may ask any more."""
