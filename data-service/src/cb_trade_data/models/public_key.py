"""Public keys that tokens may be signed for: which kinds there are, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

RSA_MIN_BITS: Final = 2048

SigningAlgorithm = Literal["RS256", "ES256"]


@dataclass(frozen=True)
class PublicKey:
    """A public key, and the one algorithm whose signatures it checks.

    Raises ValueError, with what is wrong in words that hold no part of the key, where it is made of something else.
    """

    key: RSAPublicKey | EllipticCurvePublicKey
    algorithm: SigningAlgorithm

    @classmethod
    def of(cls, key: object) -> PublicKey:
        """Return *key*, whose kind says what it is good for: RS256 for RSA, ES256 for the curve P-256."""
        match key:
            case RSAPublicKey() if key.key_size < RSA_MIN_BITS:
                raise ValueError(f"is an RSA key of {key.key_size} bits, and needs {RSA_MIN_BITS}")
            case RSAPublicKey():
                return cls(key, "RS256")
            case EllipticCurvePublicKey() if not isinstance(key.curve, SECP256R1):
                raise ValueError(f"is a key on the curve {key.curve.name}, and must be on P-256 (secp256r1)")
            case EllipticCurvePublicKey():
                return cls(key, "ES256")
        raise ValueError("is a key of another kind than RSA (RS256) and P-256 (ES256)")

    @classmethod
    def from_pem(cls, text: str) -> PublicKey:
        r"""Return the key in *text*, whose lines may also be separated by a written-out `\n`."""
        if "PRIVATE KEY-----" in text:
            raise ValueError(
                "is a private key: that stays with whoever signs; `openssl pkey -pubout -in FILE` prints the public one"
            )
        if "BEGIN CERTIFICATE-----" in text:
            raise ValueError("is a certificate: `openssl x509 -pubkey -noout -in FILE` prints its public key")
        try:
            key = load_pem_public_key(text.replace("\\n", "\n").encode())
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("is no public key in PEM: it begins with -----BEGIN PUBLIC KEY-----") from None
        return cls.of(key)
