"""`cb-trade token`: the tokens that clients show to the service."""

from __future__ import annotations

import typer

from cb_trade_data.commands.token.create import create
from cb_trade_data.commands.token.inspect import inspect

token = typer.Typer(help="Make the tokens that clients show to the service, and look into them.", no_args_is_help=True)
token.command("create")(create)
token.command("inspect")(inspect)
