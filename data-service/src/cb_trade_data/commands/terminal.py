"""What people see of a command: tables on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import typer

# Rich takes longer to load than `cb-trade --help` may wait: the functions import what they use of it.

# So that no cell is cut or wrapped where a program reads.
_WIDTH_OF_A_PIPE: Final = 10_000

_UNITS: Final = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("min", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
)


def print_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = (), err: bool = False
) -> None:
    """Print a table, nothing where there are no rows.

    Args:
        numbers: The headings over columns of numbers.
        err: On stderr, not on stdout.
    """
    if not rows:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    is_terminal = (sys.stderr if err else sys.stdout).isatty()
    console = Console(stderr=err, width=None if is_terminal else _WIDTH_OF_A_PIPE)
    console.print(table)


def print_json(document: Any) -> None:
    """Print *document*, indented."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def counted(number: int, noun: str) -> str:
    """Return how many there are of *noun*: `1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def instant_text(instant: datetime | None) -> str:
    """Return a UTC instant in ISO 8601 with Z; nothing for None."""
    return "" if instant is None else instant.isoformat().replace("+00:00", "Z")


def duration_text(duration: timedelta) -> str:
    """Return a length of time in its largest unit and the one below, cut there: `31 d 4 h`, `12 min`, `5 s 20 ms`."""
    for place, (name, unit) in enumerate(_UNITS):
        count, rest = divmod(duration, unit)
        if count:
            below = [f"{rest // each} {smaller}" for smaller, each in _UNITS[place + 1 : place + 2] if rest >= each]
            return " ".join([f"{count:,} {name}", *below])
    return "0 s"


def size_text(size_bytes: float) -> str:
    """Return a number of bytes for people, in powers of a thousand."""
    from rich.filesize import decimal

    return decimal(round(size_bytes))


def is_progress_seen() -> bool:
    """Tell whether there is somebody to draw a progress bar for."""
    return sys.stderr.isatty()


@contextmanager
def progress_bar(label: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each of *total* steps (None: nobody knows how many); draws where it is seen."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not is_progress_seen(), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda: progress.advance(task)
