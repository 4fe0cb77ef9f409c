"""A progress bar on stderr for rows that arrive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text


@contextmanager
def progress_bar(label: str, estimated_rows: int | None, *, visible: bool = True) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more rows have arrived.

    Args:
        label: Shown in front of the bar.
        estimated_rows: How many rows to expect; None shows a bar without an end.
        visible: False draws nothing. Nothing is drawn either when stderr is no terminal.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(),
        _Rows(),
        _RowsPerSecond(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (visible and console.is_terminal)) as progress:
        task = progress.add_task(label, total=estimated_rows)
        yield lambda rows: progress.advance(task, rows)


class _Rows(ProgressColumn):
    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        of_total = "" if task.total is None else f" / {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{of_total} rows")


class _RowsPerSecond(ProgressColumn):
    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} rows/s", style="progress.data.speed")
