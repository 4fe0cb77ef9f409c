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

    The bar shows how many of the rows have come; where nobody knows how many there are, how far in time they have come.

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
        task = bar.add_task(label, total=None, progress=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=_completed(progress), total=_total(progress), progress=progress)

        yield show


def rows_text(progress: Progress) -> str:
    """Return how far an answer has come: `3,000 / 8,928 rows`, or `3,000 rows until 2024-01-05 12:30`."""
    if progress.estimated_rows is not None:
        return f"{progress.rows:,} / {progress.estimated_rows:,} rows"
    return f"{progress.rows:,} rows until {progress.until:%Y-%m-%d %H:%M}"


def _completed(progress: Progress) -> float:
    is_counted = progress.estimated_rows is not None
    return progress.rows if is_counted else (progress.until - progress.start).total_seconds()


def _total(progress: Progress) -> float:
    estimated = progress.estimated_rows
    return (progress.end - progress.start).total_seconds() if estimated is None else estimated


class _Rows(ProgressColumn):
    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        progress: Progress | None = task.fields["progress"]
        return Text("0 rows" if progress is None else rows_text(progress))


class _RowsPerSecond(ProgressColumn):
    def get_table_column(self) -> Column:
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        progress: Progress | None = task.fields["progress"]
        speed = task.finished_speed or task.speed
        if progress is None or speed is None or not task.completed:
            return Text()
        rows_per_sec = speed * progress.rows / task.completed  # a step is a row, or a second of the range
        return Text(f"{rows_per_sec:,.0f} rows/s", style="progress.data.speed")
