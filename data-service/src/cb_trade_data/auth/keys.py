"""The keys that tokens are checked with, wherever they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from cb_trade_data.models.component import Component
from cb_trade_data.models.public_key import PublicKey

HMAC_ALGORITHM: Final = "HS256"


@dataclass(frozen=True)
class Key:
    """A key, and the one algorithm that signatures are checked by with it."""

    algorithm: str
    material: str | RSAPublicKey | EllipticCurvePublicKey

    @classmethod
    def of_secret(cls, secret: str) -> Key:
        """Return the key of those who share *secret*."""
        return cls(HMAC_ALGORITHM, secret)

    @classmethod
    def of_public_key(cls, key: PublicKey) -> Key:
        """Return the key that checks what the owner of its private half has signed."""
        return cls(key.algorithm, key.key)


class KeySource(ABC):
    """Where keys come from.

    Attributes:
        algorithms: Those that a signature may have. No token has a say in that.
    """

    algorithms: frozenset[str]

    @abstractmethod
    async def find(self, kid: str | None) -> Key | None:
        """Return the key that a token names by *kid*, which is a name and nothing else; None where there is none.

        Raises:
            AuthenticationUnavailableError: That cannot be told now.
        """

    @abstractmethod
    def condition(self) -> Component:
        """Return how the source is doing; asks nobody."""

    @abstractmethod
    async def close(self) -> None:
        """End what is under way."""


class OneKey(KeySource):
    """A key of the settings: all tokens are signed for it, by whatever name they call it."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self.algorithms = frozenset({key.algorithm})

    async def find(self, kid: str | None) -> Key:  # noqa: ARG002 - there is but one
        """See `KeySource.find`."""
        return self._key

    def condition(self) -> Component:
        """See `KeySource.condition`."""
        return Component()

    async def close(self) -> None:
        """See `KeySource.close`."""
