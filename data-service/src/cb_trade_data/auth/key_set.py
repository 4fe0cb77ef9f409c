"""A JSON Web Key Set (RFC 7517), read: which of its keys tokens may be signed for. Pure."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final

import jwt
import orjson
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cb_trade_data.auth.keys import Key
from cb_trade_data.models.public_key import PublicKey

KEYS_MAX: Final = 100

# What each kind of key is made of; all of it is text.
_FIELDS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}
_PRIVATE_FIELD: Final = "d"


def keys_of(document: bytes, algorithms: Collection[str]) -> dict[str | None, Key]:
    """Return the keys in *document* by their names, those for *algorithms*.

    Keys for anything else, and such as cannot be read, are passed over: a set may serve others, too. A key without a
    name is found without one (None), and so is an only key, whatever it is called.

    Raises:
        ValueError: It is no key set, too large a one, or holds no key that is of use.
    """
    entries = _entries(document)
    if len(entries) > KEYS_MAX:
        raise ValueError(f"it holds {len(entries)} keys, and {KEYS_MAX} are the most")
    keys: dict[str | None, Key] = {}
    for entry in entries:
        key = _key_of(entry)
        if key is not None and key.algorithm in algorithms:
            keys.setdefault(entry.get("kid"), key)
    if not keys:
        raise ValueError(f"it holds no key for {' or '.join(sorted(algorithms))}")
    if len(keys) == 1:
        keys.setdefault(None, *keys.values())
    return keys


def _entries(document: bytes) -> list[Any]:
    with suppress(orjson.JSONDecodeError):
        match orjson.loads(document):
            case {"keys": list(entries)}:
                return entries
    raise ValueError("it is no JSON object with a list of keys")


def _key_of(entry: Any) -> Key | None:
    """Return the key that checks signatures as *entry* has it, or None where it is for something else, or broken."""
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("kid", ""), str)
        or not isinstance(entry.get("key_ops", []), list)
    ):
        return None
    fields = _FIELDS.get(str(entry.get("kty")), ())
    if not fields or not all(isinstance(entry.get(field), str) for field in fields):
        return None
    # A private key that is published is known to all; and one for encryption signs nothing.
    if _PRIVATE_FIELD in entry or entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        return None
    try:
        read = RSAAlgorithm.from_jwk(entry) if entry["kty"] == "RSA" else ECAlgorithm.from_jwk(entry)
        key = Key.of_public_key(PublicKey.of(read))
    except (jwt.PyJWTError, ValueError):
        return None
    return key if entry.get("alg", key.algorithm) == key.algorithm else None
