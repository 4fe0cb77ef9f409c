"""`cb-trade token create`: a token signed with the service's own secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

import typer

from cb_trade_data.commands.settings import settings_of_the_service

_EXIT_FAILURE: Final = 1


def create(
    subject: Annotated[str, typer.Option(help="Who the token is for: a name that appears in the log.")] = "me",
    scope: Annotated[
        list[str] | None, typer.Option(help="A right: data:read (the default), data:refresh, admin:read. Repeatable.")
    ] = None,
    exchange: Annotated[
        list[str] | None, typer.Option(help="Limit the token to this exchange. Repeatable. All, by default.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.001, max=3650.0, help="How long the token is good.")] = 30.0,
) -> None:
    """Print a token signed with the service's own secret.

    For example: export CB_TRADE_CLIENT__TOKEN=$(cb-trade token create)
    """
    settings = settings_of_the_service().auth
    from cb_trade_data.auth.module import create_token
    from cb_trade_data.models.instants import utc_now

    if settings.secret is None:
        source = "CB_TRADE_AUTH__PUBLIC_KEY" if settings.jwks_url is None else "CB_TRADE_AUTH__JWKS_URL"
        typer.echo(
            f"error: only who has the private key can sign tokens for this service ({source} is set): get one there",
            err=True,
        )
        raise typer.Exit(_EXIT_FAILURE)
    typer.echo(
        create_token(
            settings.secret.get_secret_value(),
            subject=subject,
            scopes=scope or ["data:read"],
            exchanges=exchange or None,
            lifetime=timedelta(days=days),
            now=utc_now(),
            audience=settings.audience,
            issuer=settings.issuer,
        )
    )
