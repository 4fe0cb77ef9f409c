"""`cb-trade config`: what the service in this folder and environment is set up with."""

from __future__ import annotations

import typer

from cb_trade_data.commands.options import Json
from cb_trade_data.commands.settings import settings_of_the_service, telling_problems
from cb_trade_data.commands.terminal import print_json, print_table

config = typer.Typer(help="See what the service is set up with, and whether it would start.", no_args_is_help=True)


@config.command("show")
def show(json: Json = False) -> None:
    """Print every setting, its value and where that comes from: a file, the environment, or the default.

    Secrets are not shown, nor what may be one: of an address, what follows the host; of an exchange's options, the
    values, but for a few that are known to be harmless.
    """
    settings = settings_of_the_service()
    from cb_trade_data.config.shown import shown
    from cb_trade_data.config.sources import look_around

    found = list(shown(settings, look_around()))
    if json:
        print_json([{"variable": each.variable, "value": each.value, "from": each.where} for each in found])
    else:
        print_table(("variable", "value", "from"), [(each.variable, _text(each.value), each.where) for each in found])


@config.command("check")
def check() -> None:
    """Tell whether the service would start with these settings; exit with 2 and list every problem if not.

    Opens no port, calls no exchange and touches no storage.
    """
    settings = settings_of_the_service()
    from cb_trade_data.main import create_app

    with telling_problems():
        create_app(settings)  # finds out what plugins have to say; opens nothing
    typer.echo(f"the settings are fine ({settings.mode})")


def _text(value: object) -> str:
    from json import dumps

    if value is None:
        return "-"
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)
