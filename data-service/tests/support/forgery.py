"""Tokens signed by hand, so that they may hold anything: libraries refuse to make what attackers do."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

Signer = bytes | rsa.RSAPrivateKey | None


def part(data: bytes) -> str:
    """Return *data* as a part of a token."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: dict[str, Any] | bytes, claims: dict[str, Any], signer: Signer) -> str:
    """Return a token with that header, whatever the signature is: HMAC for bytes, RSA for a key, empty for None."""
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    text = f"{part(written)}.{part(json.dumps(claims).encode())}"
    match signer:
        case None:
            signature = b""
        case bytes():
            signature = hmac.new(signer, text.encode(), hashlib.sha256).digest()
        case _:
            signature = signer.sign(text.encode(), padding.PKCS1v15(), SHA256())
    return f"{text}.{part(signature)}"
