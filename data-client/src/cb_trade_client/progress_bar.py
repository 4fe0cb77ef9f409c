"""A progress bar on stderr for rows that arrive."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from cb_trade_client.progress import OnProgress, Progress


@contextmanager
def progress_bar(label: str, *, visible: bool = True) -> Iterator[OnProgress]:
    """Yield what to give as `on_progress`.

    Args:
        label: Shown in front of the bar.
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
    with Bar(*columns, console=console, disable=not (visible and console.is_terminal)) as bar:
        task = bar.add_task(label, total=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.rows, total=progress.estimated_rows)

        yield show


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
