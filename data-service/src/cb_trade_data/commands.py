"""What the service adds to the `cb-trade` command: `serve` and `token`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

# `cb-trade --help` loads this file: everything heavier is imported where it is needed.
if TYPE_CHECKING:
    from cb_trade_data.config import Settings

_EXIT_FAILURE: Final = 1
_EXIT_BAD_SETTINGS: Final = 2


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, in place of CB_TRADE_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, in place of CB_TRADE_PORT; 0 takes any free one.")
    ] = None,
) -> None:
    """Run the data service in the foreground.

    Settings come from the environment, then .env.local, then .env in the working folder. Prints one line,
    `listening on http://HOST:PORT`, once it accepts requests; logs to stderr.
    """
    settings = _settings({name: value for name, value in (("host", host), ("port", port)) if value is not None})
    from cb_trade_data.server import listening_socket, run

    try:
        listener = listening_socket(settings.host, settings.port)
    except OSError as error:
        typer.echo(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port", err=True
        )
        raise typer.Exit(_EXIT_FAILURE) from error
    with listener:
        run(settings, listener)


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
    settings = _settings({})
    from cb_trade_data.auth.module import create_token
    from cb_trade_data.models.instants import utc_now

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


def _settings(overrides: dict[str, Any]) -> Settings:
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
