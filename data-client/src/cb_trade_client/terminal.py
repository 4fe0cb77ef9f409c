"""What people read while a command runs: short lines on stderr, so that stdout stays clean data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Tone = Literal["plain", "warning", "error"]

_STYLES = {"plain": "none", "warning": "yellow", "error": "red"}


def say(text: str, tone: Tone = "plain") -> None:
    """Print one line on stderr, coloured by *tone* where stderr is a terminal."""
    # Imported here: it takes longer to load than a command that says nothing may wait.
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(text, style=_STYLES[tone], soft_wrap=True)


@contextmanager
def status_line(text: str) -> Iterator[Callable[[str], None]]:
    """Show *text* on stderr until the end, nothing where that is no terminal; yield what to call with newer text."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(Text(text)) as status:
        yield lambda newer: status.update(Text(newer))
