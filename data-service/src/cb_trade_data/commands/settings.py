"""The settings of a command, or what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from cb_trade_data.config import Settings, StorageSettings

_EXIT_BAD_SETTINGS: Final = 2


def settings_of_the_service(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings that the service in this folder and environment has.

    Args:
        overrides: Top-level values from the command line, which beat every other source.

    Raises:
        typer.Exit: They need attention; every problem has been printed.
    """
    from cb_trade_data.config.loading import load_settings

    with telling_problems():
        return load_settings(overrides, **_exchange_names())


def storage_settings() -> StorageSettings:
    """Return which storage the service has; needs none of its other settings, and raises as they do."""
    from cb_trade_data.config.loading import load_storage_settings

    with telling_problems():
        return load_storage_settings(**_exchange_names())


def _exchange_names() -> dict[str, list[str]]:
    from cb_trade_data.exchange_source.discovery import offered
    from cb_trade_data.exchange_source.plugins.generic import ccxt_ids

    known = {entry_point.name for entry_point in offered()}
    return {"known_exchanges": sorted(known), "servable_exchanges": [name for name in ccxt_ids() if name not in known]}


@contextmanager
def telling_problems() -> Iterator[None]:
    """Print what is wrong with the settings, and exit, where that is what ends the block."""
    from cb_trade_data.errors import InvalidSettingsError

    try:
        yield
    except InvalidSettingsError as error:
        typer.echo(f"{error.code}: the settings need attention", err=True)
        for problem in error.problems:
            typer.echo(f"  - {_with_code(problem)}", err=True)
        if error.files:
            *others, last = error.files
            typer.echo(f"looked in {', '.join(['the environment', *others])} and {last}", err=True)
        raise typer.Exit(_EXIT_BAD_SETTINGS) from error


def _with_code(problem: str) -> str:
    """Return *problem*, after the code for that where its sentence begins with a setting that is missing."""
    from cb_trade_data.quality.codes import DataCode

    is_missing = problem.partition(" ")[2].startswith("is missing")
    return f"{DataCode.CONFIGURATION_MISSING}: {problem}" if is_missing else problem
