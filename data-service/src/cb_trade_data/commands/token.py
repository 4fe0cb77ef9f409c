"""`cb-trade token`: the tokens that clients show to the service."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from cb_trade_data.commands.settings import settings_of_the_service

token = typer.Typer(help="Make the tokens that clients show to the service.", no_args_is_help=True)


@token.command("create")
def create(
    subject: Annotated[str, typer.Option(help="Who the token is for: a name that appears in the log.")] = "me",
    scope: Annotated[
        list[str] | None, typer.Option(help="A right: data:read (the default), data:refresh, admin:read. Repeatable.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.001, max=3650.0, help="How long the token is good.")] = 30.0,
) -> None:
    """Print a token signed with the service's own secret.

    For example: export CB_TRADE_CLIENT__TOKEN=$(cb-trade token create)
    """
    settings = settings_of_the_service()
    from cb_trade_data.auth.module import create_token
    from cb_trade_data.models.instants import utc_now

    if settings.auth.secret is None:
        typer.echo("the service only checks tokens that somebody else signs: get one there", err=True)
        raise typer.Exit(1)
    typer.echo(
        create_token(
            settings.auth.secret.get_secret_value(),
            subject=subject,
            scopes=scope or ["data:read"],
            lifetime=timedelta(days=days),
            now=utc_now(),
            audience=settings.auth.audience,
            issuer=settings.auth.issuer,
        )
    )


@token.callback()
def _token() -> None:
    """Keep `create` a subcommand although it is the only one."""
