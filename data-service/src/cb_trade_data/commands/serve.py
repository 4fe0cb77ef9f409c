"""`cb-trade serve`: the data service in the foreground."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import typer

from cb_trade_data.commands.settings import settings_of_the_service, telling_problems
from cb_trade_data.listening import listening_socket, say_where_it_listens

_EXIT_FAILURE: Final = 1


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, in place of CB_TRADE_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, in place of CB_TRADE_PORT; 0 takes any free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="How many processes answer, in place of CB_TRADE_WORKERS.")
    ] = None,
) -> None:
    """Run the data service in the foreground.

    Settings come from the environment, secret files, .env.local and .env in the working folder. Prints one line,
    `listening on http://HOST:PORT` (or https), once it accepts requests; logs to stderr.
    """
    options = {"host": host, "port": port, "workers": workers}
    settings = settings_of_the_service({name: value for name, value in options.items() if value is not None})

    try:
        listener = listening_socket(settings.host, settings.port)
    except OSError as error:
        typer.echo(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port", err=True
        )
        raise typer.Exit(_EXIT_FAILURE) from error
    with listener, telling_problems():
        tell_started = partial(say_where_it_listens, listener, is_secret=settings.tls.certificate_file is not None)
        if settings.workers == 1:
            from cb_trade_data.server import run

            run(settings, listener, tell_started)
        else:
            from cb_trade_data.workers import run_workers

            run_workers(settings, listener, tell_started)
