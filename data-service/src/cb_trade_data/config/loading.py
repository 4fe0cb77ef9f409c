"""The settings of this process, or everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cb_trade_data.config import HOW_TO_MAKE_ONE, HousekeepingSettings, Settings, StorageSettings
from cb_trade_data.config.sources import PREFIX, SECRETS_VARIABLE, THE_ENVIRONMENT, Sources, look_around
from cb_trade_data.errors import InvalidSettingsError

_SECTIONS = frozenset({"STORAGE", "AUTH", "LIMITS", "TLS", "EXCHANGES"})

_Settings = TypeVar("_Settings", bound=HousekeepingSettings)


@dataclass(frozen=True)
class _ExchangeNames:
    """The names that may be configured under `exchanges`."""

    served: Sequence[str]
    servable: Sequence[str]

    def __contains__(self, name: object) -> bool:
        return name in self.served or name in self.servable

    def none_is_called(self, name: str) -> str:
        """Return the sentence that says so, with the names that are, or may have been meant."""
        close = get_close_matches(name, [*self.served, *self.servable])
        meant = f"; did you mean {' or '.join(close)}?" if close else ""
        others = f", and {len(self.servable)} more by their CCXT ids" if self.servable else ""
        return f"no exchange is called {name!r}; known: {', '.join(self.served)}{others}{meant}"


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    known_exchanges: Sequence[str],
    servable_exchanges: Sequence[str] = (),
) -> Settings:
    """Return the settings of this process.

    Args:
        overrides: Top-level values that beat every other source (the command line).
        known_exchanges: The names under `exchanges` that are served in any case.
        servable_exchanges: Those that are served if they are named there.

    Raises:
        InvalidSettingsError: With every problem there is, not only the first.
    """
    return _loaded(Settings, overrides or {}, _ExchangeNames(known_exchanges, servable_exchanges))


def load_storage_settings(*, known_exchanges: Sequence[str], servable_exchanges: Sequence[str] = ()) -> StorageSettings:
    """Return where this process finds the rows: what else is set may be missing or wrong, but not misspelled.

    Arguments and errors are those of `load_settings`.
    """
    return _loaded(HousekeepingSettings, {}, _ExchangeNames(known_exchanges, servable_exchanges)).storage


def _loaded(kind: type[_Settings], overrides: Mapping[str, Any], exchanges: _ExchangeNames) -> _Settings:
    sources = look_around()
    problems = [*sources.problems, *_misspelled(sources, exchanges)]
    settings = None
    try:
        settings = kind(_secrets_dir=sources.secrets_folder, **overrides)
    except ValidationError as error:
        problems += [problem for details in error.errors() for problem in _described(details, sources)]
        raise InvalidSettingsError(problems, list(sources.files)) from error
    if isinstance(settings, Settings):
        problems += _unknown_exchanges_in_json(settings, sources, exchanges)
    if problems:
        raise InvalidSettingsError(problems, list(sources.files))
    return settings


def _misspelled(sources: Sources, exchanges: _ExchangeNames) -> Iterator[str]:
    """Yield a problem for each variable with our prefix that no setting will read; deeper parts are pydantic's task."""
    settings = {name.upper() for name in Settings.model_fields}
    for variable in sorted({found.variable for found in sources.found}):
        places = {found.where: None for found in sources.found if found.variable == variable}
        where = f" (set in {' and '.join(places)})"
        parts = variable.removeprefix(PREFIX).split("__")
        if variable == SECRETS_VARIABLE:
            if files := [place for place in places if place != THE_ENVIRONMENT]:
                yield f"{variable} is read from the environment only: remove it from {' and '.join(files)}"
        elif parts[0] not in settings or (len(parts) > 1 and parts[0] not in _SECTIONS):
            yield f"{variable} is no setting of cb-trade: remove it, or correct its spelling{where}"
        elif parts[0] == "EXCHANGES" and len(parts) > 1 and (exchange := parts[1].lower()) not in exchanges:
            yield f"{variable}: {exchanges.none_is_called(exchange)}{where}"


def _unknown_exchanges_in_json(settings: Settings, sources: Sources, exchanges: _ExchangeNames) -> Iterator[str]:
    named = {found.variable.split("__")[1].lower() for found in sources.found if "EXCHANGES__" in found.variable}
    for name in settings.exchanges:
        if name not in exchanges and name not in named:  # those with a variable of their own are told of already
            yield f"{PREFIX}EXCHANGES: {exchanges.none_is_called(name)}"


def _described(details: ErrorDetails, sources: Sources) -> Iterator[str]:
    """Yield one sentence, or several, for a problem that pydantic found: which variable, what is wrong, what to do."""
    variable = PREFIX + "__".join(str(part) for part in details["loc"]).upper()
    origin = sources.origin([str(part) for part in details["loc"]])
    where = "" if origin is None else f" (set in {origin.where})"
    match details["type"]:
        case "key_missing" | "missing" if details["loc"] == ("auth",):
            yield f"{PREFIX}AUTH__SECRET is missing, and so are AUTH__PUBLIC_KEY and AUTH__JWKS_URL: {HOW_TO_MAKE_ONE}"
        case "missing":
            yield f"{variable} is missing: set it"
        case "extra_forbidden":
            yield f"{variable} is no setting of cb-trade: remove it, or correct its spelling{where}"
        case "contradictory":
            section = f"{variable}__" if details["loc"] else PREFIX
            yield from (f"{section}{name} {problem}" for name, problem in details["ctx"]["problems"].items())
        case "unfit_for_production":
            yield from (f"{problem} ({PREFIX}MODE is production)" for problem in details["ctx"]["problems"])
        case _:
            # Pydantic's message tells the rule that was broken, not the value, which may be a secret.
            yield f"{variable}: {details['msg'].removeprefix('Value error, ')}{where}"
