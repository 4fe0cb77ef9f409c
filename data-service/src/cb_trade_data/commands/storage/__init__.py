"""`cb-trade storage`: the housekeeping of the storage that the settings name, beside running services or without."""

from __future__ import annotations

import typer

from cb_trade_data.commands.storage.delete import delete
from cb_trade_data.commands.storage.stats import stats
from cb_trade_data.commands.storage.verify import verify

storage = typer.Typer(
    help="Look after what the service has stored. Never calls an exchange; a service may run meanwhile.",
    no_args_is_help=True,
)
storage.command("verify")(verify)
storage.command("stats")(stats)
storage.command("delete")(delete)
