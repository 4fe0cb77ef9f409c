"""The settings of a command, or what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from cb_trade_data.config import Settings

_EXIT_BAD_SETTINGS: Final = 2


def settings_of_the_service(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings that the service in this folder and environment has.

    Args:
        overrides: Top-level values from the command line, which beat every other source.

    Raises:
        typer.Exit: They need attention; every problem has been printed.
    """
    from cb_trade_data.config import load_settings
    from cb_trade_data.errors import InvalidSettingsError
    from cb_trade_data.exchange_source.plugins.exchanges import EXCHANGES

    try:
        return load_settings(overrides, known_exchanges=[facts.id for facts in EXCHANGES])
    except InvalidSettingsError as error:
        typer.echo(f"{error.code}: the settings need attention", err=True)
        for problem in error.problems:
            typer.echo(f"  - {problem}", err=True)
        typer.echo(f"looked in the environment, {' and '.join(error.files)}", err=True)
        raise typer.Exit(_EXIT_BAD_SETTINGS) from error
