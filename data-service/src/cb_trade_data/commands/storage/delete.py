"""`cb-trade storage delete`: rows and what is known about them."""

from __future__ import annotations

import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cb_trade_data.commands.opened_storage import run_with_storage
from cb_trade_data.commands.options import parse_scope, parse_time
from cb_trade_data.commands.terminal import counted, print_table, size_text

if TYPE_CHECKING:
    from cb_trade_data.models.series import Series
    from cb_trade_data.storage.housekeeping.deletion import Deletion
    from cb_trade_data.storage.housekeeping.scope import Scope
    from cb_trade_data.storage.object_storage import ObjectStorage

_EXIT_FAILURE: Final = 1


def delete(
    series: Annotated[
        tuple[str, str, str] | None,
        typer.Option(
            "--series",
            metavar="EXCHANGE SYMBOL TIMEFRAME",
            help="Only this series; of what has no bars, trades, funding_rate or order_book is the last word.",
            show_default=False,
        ),
    ] = None,
    exchange: Annotated[
        str | None, typer.Option(metavar="EXCHANGE", help="Only this exchange.", show_default=False)
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_time,
            metavar="TIME",
            help="Only what opens or happens before this: 2024-01-01, 2024-01-01T12:00 or ISO 8601 with a zone; "
            "without a zone UTC is meant.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted; delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete rows and what is known about them: whoever asks for them next has them fetched again.

    Shows what it is about, and asks. At least one of --series, --exchange and --before is needed.

    Example: cb-trade storage delete --series binance BTC/USDT 1m --before 2023-01-01
    """
    scope = _scope(series, exchange, before)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise typer.BadParameter("there is nobody to ask: --yes deletes without asking, --dry-run shows what it would")
    planned = _Deleted()
    _, name = run_with_storage(partial(_delete, into=planned, scope=scope, before=before, dry_run=True))
    planned.print(err=not dry_run)
    if dry_run or not planned.series:
        _tell(planned, name, "would be deleted")
        return
    question = f"{name}: delete {counted(planned.rows, 'row')} and what is known about their time?"
    if not yes and not typer.confirm(question, err=True):
        typer.echo("nothing was deleted", err=True)
        raise typer.Exit(_EXIT_FAILURE)
    done = _Deleted()
    try:
        run_with_storage(partial(_delete, into=done, scope=scope, before=before, dry_run=False))
    except typer.Exit:
        typer.echo(f"{name}: {done.summary('deleted before that, perhaps more')}; delete again for the rest", err=True)
        raise
    _tell(done, name, "deleted")


def _tell(deleted: _Deleted, name: str, what_happened: str) -> None:
    """Print the outcome. Raises typer.Exit where something could not be deleted."""
    summary = deleted.summary(what_happened) if deleted.series else "there is nothing to delete"
    typer.echo(f"{name}: {summary}")
    for problem in deleted.problems:
        typer.echo(f"not deleted: {problem}", err=True)
    if deleted.problems:
        raise typer.Exit(_EXIT_FAILURE)


def _scope(series: tuple[str, str, str] | None, exchange: str | None, before: datetime | None) -> Scope:
    from cb_trade_data.models.partition import EVER

    if series is None and exchange is None and before is None:
        raise typer.BadParameter("say what to delete: --series or --exchange, --before, or both")
    if series is not None and exchange is not None:
        raise typer.BadParameter("--series names its exchange: leave --exchange out")
    if before is not None and not EVER.start < before <= EVER.end:
        raise typer.BadParameter(f"--before is a time after {EVER.start:%Y} and up to {EVER.end:%Y}")
    return parse_scope(*series) if series is not None else parse_scope(exchange)


@dataclass
class _Total:
    """What is deleted of one series."""

    rows: int = 0
    size_bytes: int = 0
    whole_partitions: int = 0
    cut_partitions: int = 0


@dataclass
class _Deleted:
    """What is deleted of each series, and what could not be deleted."""

    series: dict[Series, _Total] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(total.rows for total in self.series.values())

    def add(self, deletion: Deletion) -> None:
        if deletion.problem is not None:
            self.problems.append(f"{deletion.partition}: {deletion.problem}")
            return
        total = self.series.setdefault(deletion.partition.series, _Total())
        total.rows += deletion.rows
        total.size_bytes += deletion.size_bytes
        total.whole_partitions += deletion.is_whole
        total.cut_partitions += not deletion.is_whole

    def print(self, *, err: bool) -> None:
        rows = [
            (
                str(series),
                f"{total.rows:,}",
                size_text(total.size_bytes),
                f"{total.whole_partitions:,}",
                f"{total.cut_partitions:,}",
            )
            for series, total in self.series.items()
        ]
        numbers = ("rows", "size", "whole partitions", "cut partitions")
        print_table(("series", *numbers), rows, numbers=numbers, err=err)

    def summary(self, what_happened: str) -> str:
        # Of a partition that is cut, only the rows' share in its size is known.
        about = "about " if any(total.cut_partitions for total in self.series.values()) else ""
        size = size_text(sum(total.size_bytes for total in self.series.values()))
        return f"{counted(self.rows, 'row')} of {len(self.series):,} series, {about}{size}: {what_happened}"


async def _delete(
    storage: ObjectStorage, *, into: _Deleted, scope: Scope, before: datetime | None, dry_run: bool
) -> None:
    """Delete, and add to *into* what is deleted: whoever waits for the end may never see it."""
    from cb_trade_data.storage.housekeeping.deletion import delete as delete_rows

    async with aclosing(delete_rows(storage, scope, before, dry_run=dry_run)) as deletions:
        async for deletion in deletions:
            into.add(deletion)
