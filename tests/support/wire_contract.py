"""The wire contract as `docs/asyncapi.yaml` words it: the suites hold each message against it that they send or get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import yaml
from jsonschema_rs import Draft202012Validator

DOCS: Final = Path(__file__).parents[2] / "docs"
ASYNCAPI: Final[dict[str, Any]] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
REQUESTS: Final = frozenset(
    message["$ref"].rpartition("/")[2]
    for operation in ASYNCAPI["operations"].values()
    for message in operation["messages"]
)


def request_problem(message: Any) -> str | None:
    """Return what the contract has against *message* from a client, as text or as the object it holds."""
    if isinstance(message, bytes):
        return "it is binary"
    if isinstance(message, str):
        try:
            message = orjson.loads(message)
        except orjson.JSONDecodeError:
            return "it is no JSON"
    return _problem(message, _REQUESTS) or _unsaid_problem(message)


def answer_problem(message: Any) -> str | None:
    """Return what the contract has against *message* from a service, in which every field must be described."""
    return _problem(message, _ANSWERS)


def _unsaid_problem(message: Mapping[str, Any]) -> str | None:
    """Return what the contract has against *message* in words only: JSON Schema cannot say it."""
    symbol = message.get("symbol", message.get("coin_symbol", "symbol"))
    if len(symbol.encode()) > 64 or not symbol.isprintable():
        return "the symbol has over 64 bytes or characters that cannot be seen"
    if any(isinstance(value, float) for value in message.values()):
        return "whole numbers have no decimal point"
    return None


def _problem(message: Any, validators: Mapping[str, list[Draft202012Validator]]) -> str | None:
    if not isinstance(message, dict):
        return "it is no object"
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in validators:
        return f"no message is of type {kind!r}"
    # Several messages go by one name: chunks of each format.
    if any(validator.is_valid(message) for validator in validators[kind]):
        return None
    errors = [next(validator.iter_errors(message)) for validator in validators[kind]]
    return "; or ".join(f"{kind}: {'.'.join(map(str, each.instance_path))}: {each.message[:500]}" for each in errors)


def _closed(schema: Any) -> Any:
    """Return *schema* with no room for fields that it does not describe."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def _validators(keys: Iterable[str]) -> dict[str, list[Draft202012Validator]]:
    """Return what each type of message is held against."""
    schemas = {"schemas": _closed(ASYNCAPI["components"]["schemas"])}
    found: dict[str, list[Draft202012Validator]] = {}
    for key in keys:
        message = ASYNCAPI["components"]["messages"][key]
        if message.get("contentType", ASYNCAPI["defaultContentType"]) == "application/json":
            schema = message["payload"] | {"components": schemas}
            found.setdefault(message["name"], []).append(Draft202012Validator(schema, validate_formats=True))
    return found


_REQUESTS: Final = _validators(sorted(REQUESTS))
_ANSWERS: Final = _validators(key for key in ASYNCAPI["components"]["messages"] if key not in REQUESTS)
