"""Subcommands that other packages add to `cb-trade`, through entry points of the group `cb_trade.commands`.

An entry point's name is the subcommand's name; its value is a function, or a `typer.Typer` with subcommands of its own.
"""

from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint

import typer

from cb_trade_client.terminal import say

GROUP = "cb_trade.commands"


def add_plugins(app: typer.Typer, entry_points: Iterable[EntryPoint], taken: Collection[str]) -> None:
    """Add every loadable entry point to *app*; the others are named in a warning and left out.

    Args:
        taken: Names that no plugin may have, because they are ours.
    """
    for entry_point in sorted(entry_points, key=lambda each: each.name):
        try:
            _add(app, entry_point, taken)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one plugin, the other commands must work
            reason = str(error) or type(error).__name__
            say(f"warning: command {entry_point.name!r} ({entry_point.value}) is left out: {reason}", "warning")


def _add(app: typer.Typer, entry_point: EntryPoint, taken: Collection[str]) -> None:
    if entry_point.name in taken:
        raise ValueError("the name is taken")
    plugin = entry_point.load()
    if isinstance(plugin, typer.Typer):
        _check(plugin)
        app.add_typer(plugin, name=entry_point.name)
    else:
        alone = typer.Typer()
        alone.command(entry_point.name)(plugin)
        _check(alone)
        app.command(entry_point.name)(plugin)


def _check(plugin: typer.Typer) -> None:
    # Typer reads signatures only when it runs; better now, while the fault can still be laid at the right door.
    typer.main.get_command(plugin)
