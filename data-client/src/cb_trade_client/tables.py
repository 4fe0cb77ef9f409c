"""Tables and text on stdout: with lines and colours on a terminal, plain and unwrapped into a pipe or a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

# Wider than any line, so that nothing is wrapped where nobody looks at a screen.
_ENDLESS = 100_000

# A word of prose that is longer may be broken.
_LONGEST_WHOLE_WORD = 12


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, whether numbers stand in it, and whether it may take several lines."""

    heading: str
    is_number: bool = False
    is_prose: bool = False


class StandardOutput:
    """What a command shows."""

    def __init__(self) -> None:
        # Made when needed: stdout may have been replaced since this was imported.
        console = Console(highlight=False, markup=False, emoji=False)
        self._is_terminal = console.is_terminal
        self._console = (
            console
            if self._is_terminal
            else Console(highlight=False, markup=False, emoji=False, width=_ENDLESS, no_color=True)
        )

    def line(self, text: str = "", style: str = "") -> None:
        """Show one line."""
        self._show(Text(text, style=style))

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """Show a table. Where the screen is too narrow, prose takes several lines, then rows do: nothing is cut."""
        cells = [[column.heading for column in columns], *rows]
        shown = Table(
            box=box.SIMPLE_HEAD if self._is_terminal else None,
            pad_edge=False,
            show_edge=False,
            padding=(0, 2, 0, 0),
            header_style="bold" if self._is_terminal else "",
        )
        for column, *texts in zip(columns, *cells, strict=True):
            justify: JustifyMethod = "right" if column.is_number else "left"
            least = _least_width(texts, is_prose=column.is_prose)
            shown.add_column(column.heading, justify=justify, no_wrap=not column.is_prose, min_width=least)
        for row in cells[1:]:
            shown.add_row(*map(Text, row))
        least = self._console.measure(shown, options=self._console.options.update(width=_ENDLESS)).minimum
        if least > self._console.width:
            shown.width = least
        self._show(shown)

    def _show(self, content: RenderableType) -> None:
        if self._is_terminal:
            self._console.print(content, crop=False)
            return
        with self._console.capture() as captured:
            self._console.print(content)
        for line in captured.get().splitlines():
            typer.echo(line.rstrip())


def _least_width(texts: Iterable[str], *, is_prose: bool) -> int:
    if not is_prose:
        return max(map(cell_len, texts))
    return min(max((cell_len(word) for text in texts for word in text.split()), default=1), _LONGEST_WHOLE_WORD)
