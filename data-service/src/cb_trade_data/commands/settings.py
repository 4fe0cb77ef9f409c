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
    from cb_trade_data.config import load_settings

    with _telling_problems():
        return load_settings(overrides, known_exchanges=_known_exchanges())


def storage_settings() -> StorageSettings:
    """Return which storage the service has; needs none of its other settings, and raises as they do."""
    from cb_trade_data.config import load_storage_settings

    with _telling_problems():
        return load_storage_settings(known_exchanges=_known_exchanges())


def _known_exchanges() -> list[str]:
    from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES

    return [facts.id for facts in EXCHANGES]


@contextmanager
def _telling_problems() -> Iterator[None]:
    from cb_trade_data.errors import InvalidSettingsError

    try:
        yield
    except InvalidSettingsError as error:
        typer.echo(f"{error.code}: the settings need attention", err=True)
        for problem in error.problems:
            typer.echo(f"  - {problem}", err=True)
        typer.echo(f"looked in the environment, {' and '.join(error.files)}", err=True)
        raise typer.Exit(_EXIT_BAD_SETTINGS) from error
