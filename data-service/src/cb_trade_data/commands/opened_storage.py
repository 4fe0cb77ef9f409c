"""The storage that the settings name, for as long as a command needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import typer

from cb_trade_data.commands.settings import storage_settings

if TYPE_CHECKING:
    from cb_trade_data.config import StorageSettings
    from cb_trade_data.storage.object_storage import ObjectStorage

_EXIT_FAILURE: Final = 1
_EXIT_INTERRUPTED: Final = 130

T = TypeVar("T")


def run_with_storage(work: Callable[[ObjectStorage], Awaitable[T]]) -> tuple[T, str]:
    """Run *work* with a storage that is there and has read nothing yet, and close it.

    Returns:
        What *work* returned, and what people call the storage.

    Raises:
        typer.Exit: The settings need attention (2), storage failed (1), or somebody pressed Ctrl-C (130).
    """
    settings = storage_settings()
    from cb_trade_data.errors import CbTradeError
    from cb_trade_data.main import create_storage
    from cb_trade_data.server import configure_log

    configure_log("warning")

    async def opened() -> T:
        storage = create_storage(settings)
        try:
            # A typo, or a disk that is not mounted: whatever keeps house must not take that for an empty storage.
            await storage.check_exists()
            return await work(storage)
        finally:
            await storage.close()

    try:
        return asyncio.run(opened()), _name(settings)
    except CbTradeError as error:
        typer.echo(f"error: {error.code}: {error}\nin {_name(settings)}", err=True)
        raise typer.Exit(_EXIT_FAILURE) from error
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(_EXIT_INTERRUPTED) from None


def _name(settings: StorageSettings) -> str:
    place = settings.root.absolute() if settings.backend == "local" else f"container {settings.azure.container}"
    return f"{place} ({settings.backend}, {settings.layout})"
