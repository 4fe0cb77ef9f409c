"""The `cb-trade` command: our subcommands and those that other packages add.

Arrow and the WebSocket library are imported by the functions that use them, so that `cb-trade --help` is quick.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer

from cb_trade_client.commands.compare import compare
from cb_trade_client.commands.coverage import coverage
from cb_trade_client.commands.exchanges import exchanges
from cb_trade_client.commands.fetch import fetch
from cb_trade_client.commands.latest import latest
from cb_trade_client.commands.plan import plan
from cb_trade_client.commands.quality import quality
from cb_trade_client.commands.series import series
from cb_trade_client.plugins import GROUP, add_plugins

_EPILOG = """Data goes to stdout or into a file, everything else to stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

CB_TRADE_CLIENT__URL and CB_TRADE_CLIENT__TOKEN set the service and the token for all commands that talk to it."""


_COMMANDS: Mapping[str, Callable[..., None]] = {
    "fetch": fetch,
    "latest": latest,
    "plan": plan,
    "coverage": coverage,
    "compare": compare,
    "quality": quality,
    "series": series,
    "exchanges": exchanges,
}


def main() -> None:
    """Run the command with this process's arguments and every installed plugin."""
    build_app(entry_points(group=GROUP))()


def build_app(plugins: Iterable[EntryPoint]) -> typer.Typer:
    """Return the command with our subcommands and those of *plugins*."""
    app = typer.Typer(
        name="cb-trade",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,  # its frames would print local variables, the token among them
    )
    app.callback()(_root)
    for name, command in _COMMANDS.items():
        app.command(name)(command)
    add_plugins(app, plugins, taken=_COMMANDS)
    return app


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"cb-trade {version('cb-trade-client')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Crypto market history you can trust: every candle that exists, none that does not, and the reason for each gap.

    Ask a running data service for a series and a range; it streams what it has stored and fetches only what is missing.
    """


if __name__ == "__main__":
    main()
