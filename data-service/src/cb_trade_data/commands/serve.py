"""`cb-trade serve`: the data service in the foreground."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from cb_trade_data.commands.settings import settings_of_the_service, telling_problems

_EXIT_FAILURE: Final = 1


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, in place of CB_TRADE_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, in place of CB_TRADE_PORT; 0 takes any free one.")
    ] = None,
) -> None:
    """Run the data service in the foreground.

    Settings come from the environment, secret files, .env.local and .env in the working folder. Prints one line,
    `listening on http://HOST:PORT`, once it accepts requests; logs to stderr.
    """
    settings = settings_of_the_service(
        {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    )
    from cb_trade_data.server import listening_socket, run

    try:
        listener = listening_socket(settings.host, settings.port)
    except OSError as error:
        typer.echo(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port", err=True
        )
        raise typer.Exit(_EXIT_FAILURE) from error
    with listener, telling_problems():
        run(settings, listener)
