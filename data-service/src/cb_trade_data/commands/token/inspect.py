"""`cb-trade token inspect`: what a token says, and whether the service would take it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cb_trade_data.commands.settings import settings_of_the_service
from cb_trade_data.commands.terminal import instant_text

if TYPE_CHECKING:
    from cb_trade_data.auth.interfaces import Principal
    from cb_trade_data.config import AuthSettings

_STDIN: Final = "-"
_EXIT_NOT_ACCEPTED: Final = 1
_TIMES: Final = frozenset({"exp", "nbf", "iat", "auth_time"})


def inspect(
    token: Annotated[
        str, typer.Argument(help="The token; - reads it from stdin, which keeps it out of the process list.")
    ] = _STDIN,
) -> None:
    """Show what a token says, and whether the service would take it as it is set up in this folder.

    Exits with 0 if it would, 1 if not. For example: cb-trade token inspect - <<< "$CB_TRADE_CLIENT__TOKEN"
    """
    settings = settings_of_the_service().auth
    import structlog

    from cb_trade_data.errors import CbTradeError

    # What goes wrong is told below, once.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    text = (sys.stdin.read() if token == _STDIN else token).strip()
    _print_contents(text)
    try:
        principal = asyncio.run(_authenticated(text, settings))
    except CbTradeError as error:
        typer.echo(f"not accepted: {error.code}: {error}")
        raise typer.Exit(_EXIT_NOT_ACCEPTED) from None
    typer.echo(f"scopes: {' '.join(sorted(principal.scopes)) or 'none'}")
    exchanges = principal.exchanges
    typer.echo(f"exchanges: {'all' if exchanges is None else ' '.join(sorted(exchanges)) or 'none'}")
    typer.echo(f"accepted, until {instant_text(principal.ends_at)}")


def _print_contents(text: str) -> None:
    """Print header and claims, which need not be true; nothing where there are none."""
    import jwt

    try:
        parts = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError):
        return
    for name, fields in (("header", parts["header"]), ("claims", parts["payload"])):
        typer.echo(f"{name}:")
        for field, value in fields.items():
            # As JSON, which is ASCII here: no terminal takes a value for a command.
            typer.echo(f"  {json.dumps(field)}: {json.dumps(value)}{_time_text(field, value)}")


def _time_text(name: str, value: object) -> str:
    from cb_trade_data.models.instants import EPOCH

    if name not in _TIMES or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        return f"  ({instant_text(EPOCH + timedelta(seconds=value))})"
    except (OverflowError, ValueError):
        return ""


async def _authenticated(token: str, settings: AuthSettings) -> Principal:
    from cb_trade_data.main import create_authentication

    auth = create_authentication(settings)
    try:
        return await auth.authenticate(token)
    finally:
        await auth.close()
