"""The settings as an operator may see them: each value, without what is secret, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import AnyUrl, SecretStr

from cb_trade_data.config import Settings
from cb_trade_data.config.leaves import Leaf, leaves
from cb_trade_data.config.sources import Sources

HIDDEN: Final = "********"
THE_DEFAULT: Final = "default"

# Of an address, what follows the host: a path may be a secret as well as a user or a query.
ELLIPSIS: Final = "…"

# Any other option may be a secret: CCXT and plugins may give it any name.
_HARMLESS_OPTIONS: Final = frozenset({"defaultSubType", "defaultType", "recvWindow", "types"})


@dataclass(frozen=True)
class ShownSetting:
    """One setting: its variable, its value as JSON has it, and the place that set it."""

    variable: str
    value: Any
    where: str


def shown(settings: Settings, sources: Sources) -> Iterator[ShownSetting]:
    """Yield every setting of *settings*, which *sources* had; of the exchanges, those that are named there."""
    for leaf in leaves(sorted(settings.exchanges)):
        origin = sources.origin(leaf.path)
        where = THE_DEFAULT if origin is None else origin.where
        if leaf.path[:2] == ("storage", "azure") and settings.storage.backend != "azure" and origin is not None:
            where += f", ignored: the backend is {settings.storage.backend}"
        yield ShownSetting(leaf.variable, _without_secrets(leaf, _value(settings, leaf)), where)


def _value(settings: Settings, leaf: Leaf) -> Any:
    value: Any = settings
    for name in leaf.path:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def _without_secrets(leaf: Leaf, value: Any) -> Any:
    match value:
        case SecretStr():
            return HIDDEN
        case AnyUrl():
            return _url_without_secrets(value)
        case dict():
            return {name: _option_without_secrets(name, option) for name, option in value.items()}
        case tuple():
            return list(value)
        case None | bool() | int() | float():
            return value
    text = str(value)
    # Not secret, and many lines; but somebody may have set the wrong half of a pair.
    return f"(PEM, {len(text)} characters)" if leaf.path == ("auth", "public_key") else text


def _url_without_secrets(url: AnyUrl) -> str:
    """Return where *url* leads: how, to which host, and an ellipsis for all the rest, if there is any."""
    port = "" if url.port is None or f":{url.port}" not in str(url) else f":{url.port}"
    rest = (url.username, url.password, (url.path or "").strip("/"), url.query, url.fragment)
    return f"{url.scheme}://{url.host}{port}/{ELLIPSIS if any(rest) else ''}"


def _option_without_secrets(name: str, option: Any) -> Any:
    match option:
        case None | bool():
            return option
        case dict():
            return {inner: _option_without_secrets(inner, value) for inner, value in option.items()}
        case list():
            return [_option_without_secrets(name, each) for each in option]
    return option if name in _HARMLESS_OPTIONS else HIDDEN
